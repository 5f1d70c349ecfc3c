"""Measure how soon the monitors of ad predictions find that the truth has changed."""
