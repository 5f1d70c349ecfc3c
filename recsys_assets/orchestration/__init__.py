"""Provide resources, compute profiles, Pipes and reporting to all assets."""
