"""Fits the sources of candidates, and chooses their blend by held-out clicks."""
