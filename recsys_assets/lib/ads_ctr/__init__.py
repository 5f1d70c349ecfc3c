"""Reads, simulates and prepares ads logs in the form of Criteo's public click logs."""
