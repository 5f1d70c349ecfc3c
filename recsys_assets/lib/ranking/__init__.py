"""The order of the final list."""
