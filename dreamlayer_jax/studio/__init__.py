"""The studio: a page on this machine where layers are made, moved and harmonised again. See docs/studio.md."""
