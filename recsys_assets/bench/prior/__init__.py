"""Measure a net that other shops gave."""
