"""Find drift: what was served against its clicks, and inputs against those of the training."""
