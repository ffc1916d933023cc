"""Responses, knowledge and controls as the arrays that the network is trained on."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int
from scipy import sparse

from infosem_jax import graphs
from infosem_jax.perturbation.config import AdaPertConfig
from infosem_jax.perturbation.counting import gene_similarity, rates
from infosem_jax.perturbation.data import Responses, take
from infosem_jax.perturbation.knowledge import Knowledge, candidates, text_of, union
from infosem_jax.perturbation.network import NodeInputs, PerturbationInputs
from infosem_jax.perturbation.objective import FitData, ResponseArrays, TrainingData
from infosem_jax.perturbation.similarity import perturbation_similarity
from infosem_jax.perturbation.task import Asked

# Contexts of more than the perturbed genes, and less than all.
WIDE = ("adaptive", "hops")
# Of GEARS's co-expression graph.
N_COEXPRESSED = 20


class ControlEncoding(NamedTuple):
    """How controls are given to the network.

    Attributes
    ----------
    lines
        Cell lines that one-hot inputs stand for; none where controls are values.
    location
        Mean control expression over training perturbations, [genes]; empty for lines.
    scale
        Its deviation over perturbations and genes.
    """

    lines: tuple[str, ...]
    location: Float32[np.ndarray, " inputs"]
    scale: float


def node_inputs(knowledge: Knowledge, genes: Sequence[str], config: AdaPertConfig) -> NodeInputs:
    """Return graph, texts and responding genes as arrays; the last node is padding.

    Parameters
    ----------
    knowledge
        Graphs and texts.
    genes
        Genes that respond.
    config
        Settings of the network.
    """
    joined = union(knowledge, top=config.top).tocoo()
    n = len(knowledge.nodes)
    count = graphs.roomy(joined.nnz + n)
    graph = graphs.from_pairs(
        n,
        joined.col.astype(np.int64),
        joined.row.astype(np.int64),
        weights=joined.data,
        self_loops=1.0,
        n_edge=count,
    )
    place = {name: i for i, name in enumerate(knowledge.nodes)}
    at = np.array([place.get(gene, n) for gene in genes], np.int32)
    text = np.concatenate([knowledge.text, np.zeros_like(knowledge.text[:1])])
    return NodeInputs(graph, text, at, np.zeros((len(genes), 0), np.int32))


def coexpressed_genes(train: Responses, config: AdaPertConfig) -> Int[np.ndarray, "genes k"]:
    """Find the 20 genes whose responses in training are most correlated with each gene's."""
    n = len(train.genes)
    if config.decoder != "genewise":
        return np.zeros((n, 0), np.int32)
    values = train.sign.astype(np.float32) if train.delta is None else train.delta
    centred = values - values.mean(0)
    centred /= np.maximum(np.linalg.norm(centred, axis=0), 1e-9)
    correlation = np.abs(centred.T @ centred)
    np.fill_diagonal(correlation, -1)
    order = np.argsort(-correlation, axis=1, kind="stable")
    return order[:, : min(N_COEXPRESSED, n - 1)].astype(np.int32)


def control_encoding(train: Responses) -> ControlEncoding:
    """Learn from training perturbations how controls are encoded."""
    if train.control is None:
        return ControlEncoding(tuple(sorted(set(train.line))), np.zeros(0, np.float32), 1.0)
    location = train.control.mean(0)
    scale = float((train.control - location).std())
    return ControlEncoding((), location, scale if scale > 1e-6 else 1.0)


def perturbation_inputs(
    knowledge: Knowledge, asked: Asked, encoding: ControlEncoding, config: AdaPertConfig
) -> PerturbationInputs:
    """Return perturbations as arrays.

    Parameters
    ----------
    knowledge
        Graphs and texts.
    asked
        Perturbations, their cell lines, and matched control means; None of tables of signs.
    encoding
        How controls are encoded.
    config
        Settings of the network.
    """
    perturbed, control = asked.perturbed, asked.control
    hops = config.hops if config.context in WIDE else 0
    found = candidates(knowledge, perturbed, hops=hops, most=config.most)
    if control is None:
        lines = encoding.lines
        given = np.array([[name == own for name in lines] for own in asked.line], np.float32)
        given = given.reshape(len(perturbed), len(lines))
    else:
        given = (control - encoding.location) / np.float32(encoding.scale)
    text = text_of(knowledge, perturbed)
    return PerturbationInputs(found.node, found.hop, text, given.astype(np.float32))


def neighbour_weights(
    knowledge: Knowledge, asked: Asked, train: Responses, config: AdaPertConfig
) -> Float32[np.ndarray, "n train"]:
    """Return the similarity of perturbations to those of training, by what the network may use.

    No graph without context, and no text where texts are off.

    Parameters
    ----------
    knowledge
        Graphs and texts.
    asked, train
        Perturbations, and those of training.
    config
        Settings of the network.
    """
    given = asked.perturbed, asked.line, train.perturbed, train.line
    return perturbation_similarity(_usable(knowledge, config), *given)


def similar_genes(
    knowledge: Knowledge, train: Responses, config: AdaPertConfig
) -> sparse.csr_array | None:
    """Return the similarity of responding genes by what the network may use, [genes, genes].

    None where similar genes are not counted: of values, and without neighbours.

    Parameters
    ----------
    knowledge
        Graphs and texts.
    train
        Training perturbations.
    config
        Settings of the network.
    """
    if train.continuous or config.base != "neighbours":
        return None
    return gene_similarity(_usable(knowledge, config), train.genes)


def response_scale(train: Responses) -> float:
    """Return the deviation of changes about their mean response, which they are divided by."""
    if train.delta is None:
        return 1.0
    return float((train.delta - train.delta.mean(0)).std()) or 1.0


def training_data(
    rows: Responses, knowledge: Knowledge, encoding: ControlEncoding, config: AdaPertConfig
) -> TrainingData:
    """Return what fits share as arrays.

    Parameters
    ----------
    rows
        Responses of all fits, each perturbation once.
    knowledge
        Graphs and texts.
    encoding
        How controls are encoded.
    config
        Settings of the network.
    """
    change = np.zeros((len(rows.sign), 0), np.float32) if rows.delta is None else rows.delta
    return TrainingData(
        node_inputs(knowledge, rows.genes, config),
        perturbation_inputs(knowledge, rows, encoding, config),
        ResponseArrays(change, rows.sign, rows.known),
    )


def fit_data(
    rows: Responses,
    train: Int[np.ndarray, " train"],
    valid: Int[np.ndarray, " valid"],
    scale: float,
    config: AdaPertConfig,
) -> FitData:
    """Derive from the training rows of a fit what the others do not share.

    Parameters
    ----------
    rows
        Responses of all fits; only those of ``train`` are used.
    train, valid
        Rows that the fit learns from, and rows for early stopping.
    scale
        What changes are divided by.
    config
        Settings of the network.
    """
    learned = take(rows, train)
    pattern = learned.sign.astype(np.float32)
    if learned.delta is not None:
        pattern = np.where(learned.sign != 0, learned.delta, 0.0)
    centred = pattern - pattern.mean(0)
    k = min(config.components, *centred.shape)
    components = np.zeros((len(rows.perturbed), config.components), np.float32)
    # Perturbations that change nothing have no direction to align with.
    affected = np.any(learned.sign != 0, axis=1)
    components[train, :k] = np.where(affected[:, None], centred @ _main_axes(centred, k).T, 0.0)
    huber_delta = 1.0
    if learned.delta is not None:
        unchanged = learned.delta[(learned.sign == 0) & learned.known]
        huber_delta = float(unchanged.std() / scale) if unchanged.size else 1.0
    return FitData(
        train,
        valid,
        mean_outputs(learned, scale),
        components,
        np.float32(max(huber_delta, 1e-3)),
        coexpressed_genes(learned, config),
        np.float32(scale),
    )


def mean_outputs(train: Responses, scale: float) -> Float32[np.ndarray, "2 1 genes"]:
    """Return the mean response of training perturbations in the form of the network's outputs.

    Of values, the mean change and the log of the deviation about it; of signs, log-odds.
    """
    if train.delta is not None:
        mean = train.delta.mean(0)
        deviation = np.log(np.maximum((train.delta - mean).std(0) / scale, 1e-2))
        return np.stack([mean / scale, deviation])[:, None].astype(np.float32)
    return np.stack([np.log(p / (1 - p)) for p in rates(train)])[:, None].astype(np.float32)


def _usable(knowledge: Knowledge, config: AdaPertConfig) -> Knowledge:
    """Leave out graphs where there is no context, and texts where they are off."""
    if config.context == "none":
        knowledge = knowledge._replace(graphs={})
    if not config.text:
        knowledge = knowledge._replace(text=np.zeros_like(knowledge.text))
    return knowledge


def _main_axes(x: np.ndarray, k: int) -> np.ndarray:
    """Return the main directions of rows, by way of the smaller of the two Gram matrices."""
    if len(x) <= x.shape[1]:
        values, vectors = np.linalg.eigh(x @ x.T)
        top = vectors[:, ::-1][:, :k]
        size = np.sqrt(np.maximum(values[::-1][:k], 1e-12))
        return (top / size).T @ x
    return np.linalg.eigh(x.T @ x)[1][:, ::-1][:, :k].T
