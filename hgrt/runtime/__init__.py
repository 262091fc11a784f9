"""Runtimes: one small contract, one file each, opened by name."""
