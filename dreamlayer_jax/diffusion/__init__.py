"""The diffusion process: schedule, DDIM, guidance, losses, and the sampling loops."""
