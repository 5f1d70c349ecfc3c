"""Compares the lists that a release serves with those that the evaluation judges."""
