"""Processes and requests that the benchmarks and drills share."""
