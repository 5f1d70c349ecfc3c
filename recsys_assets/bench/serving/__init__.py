"""Bench of the serving latency of a release."""
