"""Data: expression, networks, embeddings and gene texts, read safely and validated once."""

from infosem_jax.data.catalog import CATALOG, Entry, fetch
from infosem_jax.data.dataset import NORMALISATIONS, Dataset, Normalisation, dataset, normalise
from infosem_jax.data.gene_text import embed_genes, embed_text, read_gene_text
from infosem_jax.data.io import (
    Embedding,
    align_embedding,
    atomic_write,
    read_embedding,
    read_expression,
    read_groups,
    read_network,
    read_orthologues,
    read_regulators,
    write_embedding,
)

__all__ = [
    "CATALOG",
    "NORMALISATIONS",
    "Dataset",
    "Embedding",
    "Entry",
    "Normalisation",
    "align_embedding",
    "atomic_write",
    "dataset",
    "embed_genes",
    "embed_text",
    "fetch",
    "normalise",
    "read_embedding",
    "read_expression",
    "read_gene_text",
    "read_groups",
    "read_network",
    "read_orthologues",
    "read_regulators",
    "write_embedding",
]
