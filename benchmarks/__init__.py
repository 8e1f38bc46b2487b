"""Measurements and pictures of a trained model; nothing here is asserted in tests."""
