"""Multi-layer scenes with exact truth: composing them, storing them, loading them. `python -m data --help` lists the commands."""
