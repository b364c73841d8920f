"""Spacetime patches: what a transformer reads instead of words."""
