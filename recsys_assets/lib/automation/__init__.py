"""Searches hyper-parameters."""
