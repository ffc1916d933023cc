"""Every reader and writer of data, in one place."""

from infosem_jax.data._candidates import read_candidates, read_signed_edges
from infosem_jax.data._edge_table import edge_signs
from infosem_jax.data._embeddings import (
    Embedding,
    align_embedding,
    embedding,
    read_embedding,
    write_embedding,
)
from infosem_jax.data._expression import read_expression, read_groups
from infosem_jax.data._files import LIMITS, Limits, atomic_write, check_h5, check_npz, load_npz
from infosem_jax.data._networks import read_network, read_regulators
from infosem_jax.data._orthologues import read_orthologues
from infosem_jax.data._sources import Orientation

__all__ = [
    "LIMITS",
    "Embedding",
    "Limits",
    "Orientation",
    "align_embedding",
    "atomic_write",
    "check_h5",
    "check_npz",
    "edge_signs",
    "embedding",
    "load_npz",
    "read_candidates",
    "read_embedding",
    "read_expression",
    "read_groups",
    "read_network",
    "read_orthologues",
    "read_regulators",
    "read_signed_edges",
    "write_embedding",
]
