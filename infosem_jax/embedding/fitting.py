"""Embed the genes of several studies: from expression to a fitted embedding, and its neighbours."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int

from infosem_jax._settings import choose
from infosem_jax._shown import shown
from infosem_jax._typing import Orthologues, Path
from infosem_jax.embedding import joining, model
from infosem_jax.embedding.baselines import Components, Settings
from infosem_jax.embedding.graph import GraphSettings, StudyGraph, refuse_apart, study_graph
from infosem_jax.embedding.methods import METHODS
from infosem_jax.embedding.network import MuSeGNNConfig
from infosem_jax.embedding.result import Embedded, Genes, embedded, one_per_gene
from infosem_jax.embedding.studies import Study, harmonise
from infosem_jax.embedding.vectors import nearest_genes
from infosem_jax.engine.saver import Saver
from infosem_jax.engine.types import Progress
from infosem_jax.outputs import arrays

KIND = "gene embedding 1"


@dataclass(frozen=True)
class Config:
    """How genes are embedded.

    Attributes
    ----------
    method
        Name of the method, see `infosem_jax.embedding.METHODS`.
    settings
        Settings of the method, such as `MuSeGNNConfig`; its usual ones where None.
    graph
        How the graph of each study is made.
    target
        Species whose symbols name genes, where studies are of several.
    """

    method: str = "auto"
    settings: Any = None
    graph: GraphSettings = field(default_factory=GraphSettings)
    target: str = "human"

    def __post_init__(self):
        usual = choose("method", [self.method], METHODS)[self.method].settings
        if self.settings is None:
            object.__setattr__(self, "settings", usual)
        elif type(self.settings) is not type(usual):
            raise ValueError(
                f"settings: expected {type(usual).__name__} for {self.method}, found "
                f"{type(self.settings).__name__}."
            )


@shown("vectors", "genes", "config", "losses")
class Fitted(NamedTuple):
    """Embeddings of several seeds; those of different seeds are turned against each other.

    Attributes
    ----------
    vectors
        Of each gene of each study, [seeds, rows, dim].
    cluster
        Group of genes that lie together, from the largest, [seeds, rows].
    genes
        What the rows are.
    losses
        Training loss of every epoch, [seeds, epochs]; no epochs where a method reports none.
    config
        How genes were embedded.
    """

    vectors: Float32[np.ndarray, "seeds rows dim"]
    cluster: Int[np.ndarray, "seeds rows"]
    genes: Genes
    losses: Float[np.ndarray, "seeds epochs"]
    config: Config


def study_graphs(
    data: Sequence[Study],
    orthologues: Mapping[str, Orthologues] | None = None,
    *,
    config: Config = Config(),
) -> list[StudyGraph]:
    """Give genes names that studies share, and make the graph of each study.

    Parameters
    ----------
    data
        Expression of each study.
    orthologues
        For each other species, symbol -> symbol of the target species.
    config
        Settings.

    Raises
    ------
    ValueError
        If studies share no gene that joins them, and as `harmonise` and `study_graph`.
    """
    named = harmonise(data, orthologues, target=config.target)
    refuse_apart(named)
    graphs = [study_graph(study, config.graph) for study in named]
    refuse_apart(graphs)
    return graphs


def fit(
    data: Sequence[Study] | Sequence[StudyGraph],
    orthologues: Mapping[str, Orthologues] | None = None,
    *,
    config: Config = Config(),
    seeds: int = 1,
    key: int = 0,
    on_chunk: Callable[[Progress], None] | None = None,
    saver: Saver | None = None,
) -> Fitted:
    """Embed the genes of several studies together.

    Each study becomes a graph of its co-expressed genes; genes of one name are the same.

    Parameters
    ----------
    data
        Expression of each study, or what `study_graphs` made of it.
    orthologues
        For each other species, symbol -> symbol of the target species; graphs need none.
    config
        Settings.
    seeds
        Number of embeddings; the first is seeded with ``key``, the next with ``key + 1``.
    key
        Seeds random numbers and clusters.
    on_chunk
        Called between chunks of epochs, or after each embedding of a method that reports no losses.
    saver
        Saves the training of MuSe-GNN, and goes on from what was saved.

    Raises
    ------
    ValueError
        If there is no study or no seed, nothing joins the studies, and as `study_graphs`.
    FloatingPointError
        If a fit diverged.
    Interrupted
        If the saver was told to stop; training has been saved.
    """
    if not data or seeds < 1:
        raise ValueError(
            f"Expected at least one study and one seed, found {len(data)} and {seeds}."
        )
    graphs = [each for each in data if isinstance(each, StudyGraph)]
    if graphs:
        refuse_apart(graphs)
    else:
        expression = [each for each in data if isinstance(each, Study)]
        graphs = study_graphs(expression, orthologues, config=config)
    numbers = range(key, key + seeds)
    if METHODS[config.method].function in (model.embed, joining.embed):
        vectors, losses = model.train(
            graphs, config.settings, seeds=numbers, on_chunk=on_chunk, saver=saver
        )
        if METHODS[config.method].function is joining.embed:
            vectors = [joining.beside_components(graphs, own) for own in vectors]
    else:
        method, vectors = METHODS[config.method]._replace(settings=config.settings), []
        for done, number in enumerate(numbers, 1):
            vectors.append(method.predict(graphs, number))
            if on_chunk is not None:
                on_chunk(Progress(done, seeds, "embeddings"))
        losses = np.zeros((seeds, 0), np.float32)
    each = [
        embedded(graphs, own, config.method, key=number)
        for number, own in zip(numbers, vectors, strict=True)
    ]
    return Fitted(
        np.stack([own.vectors for own in each]),
        np.stack([own.cluster for own in each]),
        each[0].genes,
        losses,
        config,
    )


def predict(fitted: Fitted, *, seed: int = 0) -> Embedded:
    """Return the vectors of all genes as one seed gave them, a row for each gene of each study.

    Their unit is that of the method and means nothing; genes are compared by cosines. See
    `one_per_gene` for one vector of each gene.

    Parameters
    ----------
    fitted
        Of `fit`.
    seed
        Which of the embeddings, from 0.
    """
    return Embedded(fitted.vectors[seed], fitted.cluster[seed], fitted.genes, fitted.config.method)


def neighbours(
    fitted: Fitted, gene: str, n: int = 10, *, study: str | None = None, seed: int = 0
) -> list[tuple[str, float]]:
    """Return the genes that lie nearest to one, by the cosine of their vectors.

    Parameters
    ----------
    fitted
        Of `fit`.
    gene
        Name that studies share.
    n
        How many.
    study
        A study whose vectors are taken; the means over all where None.
    seed
        Which of the embeddings, from 0.

    Returns
    -------
    Genes and cosines, the nearest first.

    Raises
    ------
    ValueError
        If there is no such gene or study.
    """
    found = one_per_gene(predict(fitted, seed=seed), study)
    return nearest_genes(found.names, found.vectors, gene, n)


def save(path: Path, fitted: Fitted) -> None:
    """Write fitted embeddings to one file, without pickle, see ``outputs.arrays.save``."""
    arrays.save(path, KIND, fitted)


def load(path: Path) -> Fitted:
    """Read what `save` wrote; ``ValueError`` if it is damaged or something else."""
    types = (Fitted, Genes, Config, GraphSettings, MuSeGNNConfig, Settings, Components)
    return arrays.load(path, KIND, "infosem embed fit", types)
