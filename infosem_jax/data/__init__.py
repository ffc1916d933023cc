"""Data: expression, networks, embeddings and gene texts, read safely and validated once."""

from infosem_jax.data import simulate
from infosem_jax.data.catalog import CATALOG, Entry, fetch
from infosem_jax.data.covariates import regress_out
from infosem_jax.data.dataset import NORMALISATIONS, Dataset, Normalisation, dataset, normalise
from infosem_jax.data.gene_sets import read_gene_sets, write_gmt
from infosem_jax.data.gene_text import embed_genes, embed_text, read_gene_text
from infosem_jax.data.io import (
    Embedding,
    align_embedding,
    atomic_write,
    read_candidates,
    read_embedding,
    read_expression,
    read_groups,
    read_network,
    read_orthologues,
    read_regulators,
    read_signed_edges,
    write_embedding,
)
from infosem_jax.data.joined import join
from infosem_jax.data.passes import held_out_cells, plan, prefetch
from infosem_jax.data.sparse_simulation import write_sparse_simulation
from infosem_jax.data.stream import (
    CellBlock,
    Stream,
    densify,
    open_stream,
    read_block,
)
from infosem_jax.data.text_vectors import text_vectors

__all__ = [
    "CATALOG",
    "NORMALISATIONS",
    "CellBlock",
    "Dataset",
    "Embedding",
    "Entry",
    "Normalisation",
    "Stream",
    "align_embedding",
    "atomic_write",
    "dataset",
    "densify",
    "embed_genes",
    "embed_text",
    "fetch",
    "held_out_cells",
    "join",
    "normalise",
    "open_stream",
    "plan",
    "prefetch",
    "read_block",
    "read_candidates",
    "read_embedding",
    "read_expression",
    "read_gene_sets",
    "read_gene_text",
    "read_groups",
    "read_network",
    "read_orthologues",
    "read_regulators",
    "read_signed_edges",
    "regress_out",
    "simulate",
    "text_vectors",
    "write_embedding",
    "write_gmt",
    "write_sparse_simulation",
]
