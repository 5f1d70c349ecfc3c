"""Benchmarks of data, training and serving."""
