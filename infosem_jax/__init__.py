"""Four models of genes that feed each other, compiled by JAX, each with the same functions.

`infosem_jax.grn`
    Gene regulatory networks with informative priors, as explicit NumPyro models (InfoSEM).
`infosem_jax.expression`
    Expression of unmeasured genes, inferred from measured ones by a graph network (L1000).
`infosem_jax.perturbation`
    Responses to genetic perturbations, predicted from a knowledge graph (AdaPert).
`infosem_jax.embedding`
    One embedding of the genes of many studies, tissues and species (MuSe-GNN).

Each exports ``Config, fit, predict, evaluate, save, load``. They are imported when asked for, and
so are the names of `infosem_jax.grn` that this module exports too.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infosem_jax import embedding, expression, grn, perturbation
    from infosem_jax.grn import (
        Config,
        Fit,
        Network,
        converged,
        deepsem,
        edges,
        fit,
        fit_many,
        knockout,
        network,
        priors,
        to_anndata,
        variant,
    )

__version__ = "0.1.0"

__all__ = [
    "Config",
    "Fit",
    "Network",
    "converged",
    "deepsem",
    "edges",
    "embedding",
    "expression",
    "fit",
    "fit_many",
    "grn",
    "knockout",
    "network",
    "perturbation",
    "priors",
    "to_anndata",
    "variant",
]


def __getattr__(name: str) -> Any:
    """Import a system when it is asked for, so that the command line starts at once."""
    if name in ("embedding", "expression", "grn", "perturbation"):
        return importlib.import_module(f"infosem_jax.{name}")
    if name in __all__:
        return getattr(importlib.import_module("infosem_jax.grn"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
