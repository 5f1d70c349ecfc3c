"""Training steps, which run in the training environment (Merlin, TensorFlow)."""
