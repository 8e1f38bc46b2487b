"""`python -m train`: one run from nothing to weights, stage by stage."""
