"""Ingest of your own logs, catalogue, pictures and users into the landing zone."""
