"""Serve stages as Triton models, and control Triton's replicas."""
