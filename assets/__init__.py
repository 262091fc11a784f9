"""Bundled files: weights and a sample clip. README.md beside this file says what they are and where they come from."""
