"""Judges releases: evidence, checks and verdicts."""
