"""The networks, in Stable Diffusion 1.5's shapes and at any size."""
