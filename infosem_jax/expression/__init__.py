"""What the unmeasured genes express, inferred from those that were measured."""

from infosem_jax.expression.choices import make_problem
from infosem_jax.expression.completed import complete, trust_table
from infosem_jax.expression.config import Config
from infosem_jax.expression.fitting import Fitted, fit, load, predict, save
from infosem_jax.expression.methods import METHODS
from infosem_jax.expression.metrics import evaluate, gene_pearson, gene_table
from infosem_jax.expression.network import GraphConfig
from infosem_jax.expression.profiles import Profiles, make_profiles, pair_samples, to_symbols
from infosem_jax.expression.readers import (
    read_gene_table,
    read_gse92743,
    read_landmarks,
    read_profiles,
)
from infosem_jax.expression.selection import Selection, select
from infosem_jax.expression.splits import (
    Split,
    group_folds,
    grouped_split,
    ordered_split,
    random_split,
    stratified_split,
)
from infosem_jax.expression.task import (
    Prediction,
    Problem,
    Scaling,
    Task,
    comparable,
    make_task,
    unscale,
)
from infosem_jax.expression.units import log_counts, panel_counts, panel_pair

__all__ = [
    "METHODS",
    "Config",
    "Fitted",
    "GraphConfig",
    "Prediction",
    "Problem",
    "Profiles",
    "Scaling",
    "Selection",
    "Split",
    "Task",
    "comparable",
    "complete",
    "evaluate",
    "fit",
    "gene_pearson",
    "gene_table",
    "group_folds",
    "grouped_split",
    "load",
    "log_counts",
    "make_problem",
    "make_profiles",
    "make_task",
    "ordered_split",
    "pair_samples",
    "panel_counts",
    "panel_pair",
    "predict",
    "random_split",
    "read_gene_table",
    "read_gse92743",
    "read_landmarks",
    "read_profiles",
    "save",
    "select",
    "stratified_split",
    "to_symbols",
    "trust_table",
    "unscale",
]
