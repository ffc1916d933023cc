"""How well a network agrees with known edges, and where the agreement comes from."""

from infosem_jax.benchmark.metrics import evaluate_edges, score_matrix

__all__ = ["evaluate_edges", "score_matrix"]
