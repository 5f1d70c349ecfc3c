"""What runs in the peers' environment; it imports the ground of this project alone."""
