"""Training steps of the ranker (DLRM)."""
