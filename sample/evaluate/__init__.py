"""`python -m sample evaluate`: what a model makes of held-out prompt sets, in figures with 95% intervals."""
