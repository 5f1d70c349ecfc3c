"""Chooses the rung of a release: popularity, item-to-item or the full models."""
