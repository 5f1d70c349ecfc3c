"""Tools of the repository that no installation needs."""
