"""Measure the loop from what was shown to what is learnt from it."""
