"""InfoSEM: gene regulatory networks by a structural equation model with informative priors."""

from infosem_jax.grn import exact, priors, sem
from infosem_jax.grn.activities import Activity, activity, add_to_anndata, compare_activity
from infosem_jax.grn.config import Config, converged, deepsem
from infosem_jax.grn.differences import Contrast, changes, contrast, rewired
from infosem_jax.grn.fitting import fit, fit_many
from infosem_jax.grn.inference_data import to_arviz
from infosem_jax.grn.intervene import (
    Intervention,
    Knockouts,
    intervention,
    knockout,
    knockouts,
    total_effects,
)
from infosem_jax.grn.metrics import evaluate, score_matrix
from infosem_jax.grn.networks import (
    Network,
    edges,
    from_anndata,
    to_anndata,
    to_decoupler,
    write_edges,
)
from infosem_jax.grn.numpyro_model import Raw, raw
from infosem_jax.grn.prediction import predict
from infosem_jax.grn.prepare import Job
from infosem_jax.grn.priors.binding import GeneContext, Priors, bind, coverage
from infosem_jax.grn.priors.registry import REGISTRY, variant
from infosem_jax.grn.regulon_sets import as_sets, enrich, false_sign_rate, modules, regulons
from infosem_jax.grn.result import Fit, loss_table, network
from infosem_jax.grn.saved import load, save

__all__ = [
    "REGISTRY",
    "Activity",
    "Config",
    "Contrast",
    "Fit",
    "GeneContext",
    "Intervention",
    "Job",
    "Knockouts",
    "Network",
    "Priors",
    "Raw",
    "activity",
    "add_to_anndata",
    "as_sets",
    "bind",
    "changes",
    "compare_activity",
    "contrast",
    "converged",
    "coverage",
    "deepsem",
    "edges",
    "enrich",
    "evaluate",
    "exact",
    "false_sign_rate",
    "fit",
    "fit_many",
    "from_anndata",
    "intervention",
    "knockout",
    "knockouts",
    "load",
    "loss_table",
    "modules",
    "network",
    "predict",
    "priors",
    "raw",
    "regulons",
    "rewired",
    "save",
    "score_matrix",
    "sem",
    "to_anndata",
    "to_arviz",
    "to_decoupler",
    "total_effects",
    "variant",
    "write_edges",
]
