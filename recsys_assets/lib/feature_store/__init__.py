"""Offline and online feature store, with Feast."""
