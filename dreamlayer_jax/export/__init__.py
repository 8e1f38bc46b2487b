"""Writing layered images: the scene folder with its contact sheet, and files for image editors."""
