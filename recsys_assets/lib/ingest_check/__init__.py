"""Check files before their ingest, and write what was understood as an HTML page."""
