"""Make OCI images without a container engine."""
