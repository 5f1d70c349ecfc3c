"""Read the files that a promotion publishes for the gateway."""
