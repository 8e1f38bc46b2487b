"""Editing of layered images (paper §4.4): what an edit is, and what it does to pixels and to kept latents."""
