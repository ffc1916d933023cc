"""MuSe-GNN beside aligned components: what training tells of genes, and what needs none."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from infosem_jax.embedding import model
from infosem_jax.embedding.baselines import Components, pca_aligned
from infosem_jax.embedding.graph import StudyGraph
from infosem_jax.embedding.model import Vectors
from infosem_jax.embedding.network import MuSeGNNConfig
from infosem_jax.embedding.vectors import unit_vectors


def embed(
    graphs: Sequence[StudyGraph], seed: int, config: MuSeGNNConfig = model.DEFAULT
) -> Vectors:
    """Embed the genes of every study by MuSe-GNN and by aligned components together.

    Parameters
    ----------
    graphs
        One for each study.
    seed
        Seeds the random numbers of MuSe-GNN.
    config
        Its settings; there are as many components as features.
    """
    return beside_components(graphs, model.embed(graphs, seed, config))


def beside_components(
    graphs: Sequence[StudyGraph], learned: Sequence[Float32[np.ndarray, "_ own"]]
) -> Vectors:
    """Put aligned components beside learned vectors, each at length 1.

    So the cosine of two genes is the mean of the cosines of both parts, which count alike.

    Parameters
    ----------
    graphs
        One for each study.
    learned
        Vectors of the genes of each, [genes, own].
    """
    aligned = pca_aligned(graphs, Components(learned[0].shape[1]))
    return tuple(
        np.concatenate([unit_vectors(own), unit_vectors(other)], 1).astype(np.float32)
        for own, other in zip(learned, aligned, strict=True)
    )
