"""What a prior is worth: several of them on the same data and seeds, with and without a truth."""

from infosem_jax.compare.experiment import RECIPE, Plan, compare
from infosem_jax.compare.measures import edge_changes
from infosem_jax.compare.summary import Comparison

__all__ = ["RECIPE", "Comparison", "Plan", "compare", "edge_changes"]
