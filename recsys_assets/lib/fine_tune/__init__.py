"""Prepares the daily fine-tune."""
