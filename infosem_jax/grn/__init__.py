"""InfoSEM: gene regulatory networks by a structural equation model with informative priors."""

from infosem_jax.grn import priors, sem
from infosem_jax.grn.binding import GeneContext, bind, coverage
from infosem_jax.grn.config import Config, converged, deepsem
from infosem_jax.grn.fit import Fit, fit, loss_table, network
from infosem_jax.grn.network import Network, edges, from_anndata, to_anndata
from infosem_jax.grn.registry import REGISTRY, variant

__all__ = [
    "REGISTRY",
    "Config",
    "Fit",
    "GeneContext",
    "Network",
    "bind",
    "converged",
    "coverage",
    "deepsem",
    "edges",
    "fit",
    "from_anndata",
    "loss_table",
    "network",
    "priors",
    "sem",
    "to_anndata",
    "variant",
]
