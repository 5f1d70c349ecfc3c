"""Test ``feature_repo``."""
