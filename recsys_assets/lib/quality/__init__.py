"""Contracts, profiles and drift of tables."""
