"""The benchmark of gene embeddings."""

from infosem_jax.benchmark.embedding.runner import Grid, make_grid
from infosem_jax.benchmark.runner import run_grid

__all__ = ["Grid", "make_grid", "run_grid"]
