"""A simulated shop with known click probabilities."""
