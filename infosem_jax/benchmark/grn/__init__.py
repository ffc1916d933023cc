"""How well a network agrees with known edges, and where the agreement comes from."""

from infosem_jax.benchmark.grn.controls import (
    CONTROLS,
    Control,
    embedding_cosine,
    random_embedding,
    symbol_embedding,
)
from infosem_jax.grn.metrics import evaluate_edges, score_matrix
from infosem_jax.grn.splits import (
    KINDS,
    Kind,
    Split,
    Universe,
    candidates,
    read_split,
    split,
    training_labels,
)

__all__ = [
    "CONTROLS",
    "KINDS",
    "Control",
    "Kind",
    "Split",
    "Universe",
    "candidates",
    "embedding_cosine",
    "evaluate_edges",
    "random_embedding",
    "read_split",
    "score_matrix",
    "split",
    "symbol_embedding",
    "training_labels",
]
