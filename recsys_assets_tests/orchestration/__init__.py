"""Test ``recsys_assets.orchestration``."""
