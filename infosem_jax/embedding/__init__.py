"""Which genes act alike, across studies, tissues, species and techniques.

``graphs = study_graphs(studies)`` makes a graph of co-expressed genes of each study,
``fitted = fit(graphs)`` embeds their genes, ``predict(fitted)`` gives the vectors,
``neighbours(fitted, gene)`` the genes nearest to one, ``evaluate(predict(fitted), graphs)``
measures an embedding, and ``export`` writes it for other software, or as a prior of a network.
"""

from infosem_jax.data.gene_sets import read_gene_sets
from infosem_jax.embedding.baselines import Components
from infosem_jax.embedding.baselines import Settings as NetworkSettings
from infosem_jax.embedding.fitting import (
    Config,
    Fitted,
    fit,
    load,
    neighbours,
    predict,
    save,
    study_graphs,
)
from infosem_jax.embedding.gene_sets import enrichment, function_recovery
from infosem_jax.embedding.graph import GraphSettings, StudyGraph, study_graph
from infosem_jax.embedding.methods import METHODS, configured
from infosem_jax.embedding.metrics import evaluate
from infosem_jax.embedding.network import MuSeGNNConfig
from infosem_jax.embedding.orthologues import retrieve_orthologues
from infosem_jax.embedding.result import Embedded, Genes, embedded, export, one_per_gene
from infosem_jax.embedding.studies import Study, harmonise, make_study, read_studies, read_study
from infosem_jax.embedding.vectors import gene_vectors, nearest_genes, nearest_pairs

__all__ = [
    "METHODS",
    "Components",
    "Config",
    "Embedded",
    "Fitted",
    "Genes",
    "GraphSettings",
    "MuSeGNNConfig",
    "NetworkSettings",
    "Study",
    "StudyGraph",
    "configured",
    "embedded",
    "enrichment",
    "evaluate",
    "export",
    "fit",
    "function_recovery",
    "gene_vectors",
    "harmonise",
    "load",
    "make_study",
    "nearest_genes",
    "nearest_pairs",
    "neighbours",
    "one_per_gene",
    "predict",
    "read_gene_sets",
    "read_studies",
    "read_study",
    "retrieve_orthologues",
    "save",
    "study_graph",
    "study_graphs",
]
