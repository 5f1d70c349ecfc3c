"""Carry visitors' events from the gateway into Valkey, Feast and the landing zone."""
