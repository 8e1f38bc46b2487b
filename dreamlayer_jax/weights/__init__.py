"""Weights: names and layouts between PyTorch's files and our trees, strict loading, checkpoints."""
