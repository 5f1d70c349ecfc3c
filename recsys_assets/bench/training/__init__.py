"""Bench of the training, and of NVTabular in the training environment."""
