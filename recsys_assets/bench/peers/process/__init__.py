"""What runs in the peers' environment, which has no package of the platform."""
