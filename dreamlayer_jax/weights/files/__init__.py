"""Reading any file of tensors strictly: names and layouts between PyTorch's files and our trees, and what does not fit."""
