"""Test the shops of the bench."""
