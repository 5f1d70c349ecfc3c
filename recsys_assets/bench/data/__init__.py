"""Bench of simulation, features and transforms."""
