"""Finds candidates by clicks: sources, their union, and its order by the sources' ranks."""
