"""Test what runs in the environment of the peers."""
