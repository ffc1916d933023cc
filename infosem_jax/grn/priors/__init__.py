"""Priors on the effects and on the existence of edges.

A prior is a NumPyro distribution over one number or over [rows, genes], or a function of the
`infosem_jax.grn.priors.GeneContext` that returns one and may itself declare parameters or sample
sites. The classes here are such functions that also align tables and embeddings to the genes of the
data, and tell how much of the data they cover. Priors add (``a + b``: both bear on every edge) and
weaken (``0.5 * a``).
"""

from infosem_jax.grn.priors.arithmetic import (
    LearnedStrength,
    Sum,
    Weakened,
    learned_strength,
    scan,
)
from infosem_jax.grn.priors.basic import Horseshoe, Laplace, MeanAbsolute, Normal, SpikeAndSlab
from infosem_jax.grn.priors.binding import (
    Bindable,
    BoundPrior,
    GeneContext,
    Prior,
    bind,
    coverage,
    pair_matrix,
)
from infosem_jax.grn.priors.embedded import shuffled
from infosem_jax.grn.priors.gene_covariates import GeneCovariates
from infosem_jax.grn.priors.gene_embedding import GeneEmbedding
from infosem_jax.grn.priors.gene_texts import GeneTexts
from infosem_jax.grn.priors.graph_prior import GraphPrior
from infosem_jax.grn.priors.graph_smooth import GraphSmooth
from infosem_jax.grn.priors.known_edges import KnownEdges
from infosem_jax.grn.priors.known_elsewhere import KnownElsewhere
from infosem_jax.grn.priors.labelled_edges import LabelledEdges
from infosem_jax.grn.priors.learned_edges import LearnedEdges
from infosem_jax.grn.priors.mixture import Mixture, learned
from infosem_jax.grn.priors.relabelled import Relabelled
from infosem_jax.grn.priors.shrinkage import GeneScales, RegularisedHorseshoe, RelaxedGate
from infosem_jax.grn.priors.signed import OtherNetwork, SignedEdges
from infosem_jax.grn.priors.similarity import GeneSimilarity

__all__ = [
    "Bindable",
    "BoundPrior",
    "GeneContext",
    "GeneCovariates",
    "GeneEmbedding",
    "GeneScales",
    "GeneSimilarity",
    "GeneTexts",
    "GraphPrior",
    "GraphSmooth",
    "Horseshoe",
    "KnownEdges",
    "KnownElsewhere",
    "LabelledEdges",
    "Laplace",
    "LearnedEdges",
    "LearnedStrength",
    "MeanAbsolute",
    "Mixture",
    "Normal",
    "OtherNetwork",
    "Prior",
    "RegularisedHorseshoe",
    "Relabelled",
    "RelaxedGate",
    "SignedEdges",
    "SpikeAndSlab",
    "Sum",
    "Weakened",
    "bind",
    "coverage",
    "learned",
    "learned_strength",
    "pair_matrix",
    "scan",
    "shuffled",
]
