"""The 15 steps of an answer, each a class with declared tensors and files."""
