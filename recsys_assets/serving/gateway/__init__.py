"""The HTTP server that applications and the demo page call."""
