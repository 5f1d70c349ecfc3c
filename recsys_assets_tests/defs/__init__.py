"""Test ``recsys_assets.defs``."""
