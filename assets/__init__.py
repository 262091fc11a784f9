"""Bundled files: weights and a sample clip. See README.md beside this file for what they are and where they come from."""
