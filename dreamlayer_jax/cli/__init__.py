"""The command line: `dreamlayer --help`."""
