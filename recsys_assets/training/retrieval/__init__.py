"""Training steps of the two towers."""
