"""Figures of merit for layered images: pure NumPy functions of pictures."""
