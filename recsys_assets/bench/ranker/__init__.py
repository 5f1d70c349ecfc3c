"""Measure a ranker that is trained on candidates as served."""
