"""Samplers, each as the numbers of its steps; one linear step takes them all (`linear`)."""
