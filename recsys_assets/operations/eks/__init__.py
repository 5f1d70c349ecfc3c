"""Checks the charts on a cluster, and lists the resources of each asset's pod."""
