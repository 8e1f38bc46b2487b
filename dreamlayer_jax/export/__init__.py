"""Writing layered images: the scene folder and its contact sheet."""
