"""Methods of predicting responses to perturbations compared on held-out perturbations."""

from infosem_jax.benchmark.perturbation.runner import Grid, make_grid
from infosem_jax.benchmark.runner import run_grid

__all__ = ["Grid", "make_grid", "run_grid"]
