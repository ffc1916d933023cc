"""InfoSEM: gene regulatory networks by a structural equation model with informative priors."""

from infosem_jax.grn import priors, sem
from infosem_jax.grn.binding import GeneContext, bind, coverage
from infosem_jax.grn.config import Config, converged, deepsem
from infosem_jax.grn.fit import fit, fit_many
from infosem_jax.grn.network import Network, edges, from_anndata, to_anndata
from infosem_jax.grn.prepare import Job, Priors
from infosem_jax.grn.registry import REGISTRY, variant
from infosem_jax.grn.result import Fit, loss_table, network

__all__ = [
    "REGISTRY",
    "Config",
    "Fit",
    "GeneContext",
    "Job",
    "Network",
    "Priors",
    "bind",
    "converged",
    "coverage",
    "deepsem",
    "edges",
    "fit",
    "fit_many",
    "from_anndata",
    "loss_table",
    "network",
    "priors",
    "sem",
    "to_anndata",
    "variant",
]
