"""What the unmeasured genes express, inferred from those that were measured."""

from infosem_jax.expression.metrics import evaluate, gene_table
from infosem_jax.expression.profiles import Profiles, make_profiles, pair_samples, to_symbols
from infosem_jax.expression.readers import (
    read_gene_table,
    read_gse92743,
    read_landmarks,
    read_profiles,
)
from infosem_jax.expression.splits import (
    Split,
    group_folds,
    grouped_split,
    ordered_split,
    random_split,
    stratified_split,
)
from infosem_jax.expression.task import (
    Method,
    Prediction,
    Problem,
    Scaling,
    Task,
    comparable,
    make_task,
    unscale,
)
from infosem_jax.expression.units import log_counts

__all__ = [
    "Method",
    "Prediction",
    "Problem",
    "Profiles",
    "Scaling",
    "Split",
    "Task",
    "comparable",
    "evaluate",
    "gene_table",
    "group_folds",
    "grouped_split",
    "log_counts",
    "make_profiles",
    "make_task",
    "ordered_split",
    "pair_samples",
    "random_split",
    "read_gene_table",
    "read_gse92743",
    "read_landmarks",
    "read_profiles",
    "stratified_split",
    "to_symbols",
    "unscale",
]
