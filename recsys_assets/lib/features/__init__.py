"""Point-in-time features, feature transforms and the checks on both."""
