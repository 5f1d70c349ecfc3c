"""Text and image embeddings of items."""
