"""One file a format: what a model, or a part of one, looks like on disk."""
