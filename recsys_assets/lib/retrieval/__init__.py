"""Item vectors, the FAISS index and the tables beside it."""
