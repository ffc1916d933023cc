"""Methods of network inference compared on pairs, targets and regulators they have not seen."""

from infosem_jax.benchmark.grn.methods import register
from infosem_jax.benchmark.grn.runner import Grid, make_grid
from infosem_jax.benchmark.runner import run_grid
from infosem_jax.grn.baselines.problem import Problem

__all__ = ["Grid", "Problem", "make_grid", "register", "run_grid"]
