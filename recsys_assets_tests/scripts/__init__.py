"""Test ``scripts``."""
