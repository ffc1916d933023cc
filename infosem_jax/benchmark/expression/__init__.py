"""Methods of inferring expression compared on data sets, platforms and cohorts."""

from infosem_jax.benchmark.expression.runner import Grid, make_grid
from infosem_jax.benchmark.runner import run_grid

__all__ = ["Grid", "make_grid", "run_grid"]
