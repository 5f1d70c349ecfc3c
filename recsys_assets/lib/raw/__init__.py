"""From landed files to checked raw artifacts."""
