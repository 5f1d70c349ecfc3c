"""Judges generations and baselines on held-out clicks."""
