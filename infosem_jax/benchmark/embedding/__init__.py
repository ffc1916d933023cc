"""The benchmark of gene embeddings."""
