"""Which genes act alike, across studies, tissues, species and techniques."""

from infosem_jax.embedding.function import (
    enrichment,
    function_recovery,
    gene_vectors,
    nearest_genes,
    nearest_pairs,
    read_gene_sets,
    retrieve_orthologues,
)
from infosem_jax.embedding.graph import GraphSettings, StudyGraph, study_graph
from infosem_jax.embedding.methods import METHODS, Method, methods
from infosem_jax.embedding.metrics import evaluate
from infosem_jax.embedding.model import Fitted, fit
from infosem_jax.embedding.network import Config
from infosem_jax.embedding.saved import Embedded, embedded, export, load, one_per_gene, save
from infosem_jax.embedding.studies import Study, harmonise, make_study, read_study

__all__ = [
    "METHODS",
    "Config",
    "Embedded",
    "Fitted",
    "GraphSettings",
    "Method",
    "Study",
    "StudyGraph",
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
    "methods",
    "nearest_genes",
    "nearest_pairs",
    "one_per_gene",
    "read_gene_sets",
    "read_study",
    "retrieve_orthologues",
    "save",
    "study_graph",
]
