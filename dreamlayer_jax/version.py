"""The version, which files on disk name; apart, so that writing one does not import the library's face."""

__version__ = "0.1.0"
