"""Sampling from the command line: `python -m sample --help`."""
