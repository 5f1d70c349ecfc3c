"""Read what changes while serving: features, seen items and availability."""
