"""Test the bench of the peers."""
