"""Make a release the champion on every replica, or not at all."""
