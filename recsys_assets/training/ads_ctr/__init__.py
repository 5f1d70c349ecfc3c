"""Trains the ads ranker."""
