"""Run a real two-node Kubernetes on this machine, without a container engine.

A cluster is one private set of mount, process and network namespaces. When its first process ends,
for whatever reason, the kernel ends all others and removes their interfaces and mounts.
"""
