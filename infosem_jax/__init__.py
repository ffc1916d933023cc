"""Gene regulatory networks with informative priors, as explicit NumPyro models compiled by JAX."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
        load,
        network,
        priors,
        save,
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
    "fit",
    "fit_many",
    "knockout",
    "load",
    "network",
    "priors",
    "save",
    "to_anndata",
    "variant",
]


def __getattr__(name: str) -> Any:
    """Import public names when they are asked for, so that the command line starts at once."""
    if name in __all__:
        return getattr(importlib.import_module("infosem_jax.grn"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
