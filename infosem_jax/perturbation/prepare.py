"""Tasks brought into the form that the network takes: nodes, candidates, scaled values, bases."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int
from scipy import sparse

from infosem_jax import graphs
from infosem_jax.perturbation.config import Config
from infosem_jax.perturbation.counting import near_genes, rates
from infosem_jax.perturbation.data import Responses, take
from infosem_jax.perturbation.knowledge import Knowledge, candidates, text_of, union
from infosem_jax.perturbation.likeness import likeness
from infosem_jax.perturbation.network import Query, World
from infosem_jax.perturbation.objective import Own, Pool, Truth

# Contexts of more than the perturbed genes, and less than all.
WIDE = ("adaptive", "hops")
# Of GEARS's co-expression graph.
ALIKE = 20


class Inputs(NamedTuple):
    """How controls are given to the network.

    Attributes
    ----------
    lines
        Cell lines that one-hot inputs stand for; none where controls are values.
    location, scale
        Of control expression over training perturbations, [genes]; empty for lines.
    """

    lines: tuple[str, ...]
    location: Float32[np.ndarray, " inputs"]
    scale: float


def world_of(knowledge: Knowledge, genes: Sequence[str], config: Config) -> World:
    """Lay out graph, texts and responding genes; the last node is padding."""
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
    return World(graph, text, at, np.zeros((len(genes), 0), np.int32))


def alike_of(train: Responses, config: Config) -> Int[np.ndarray, "genes k"]:
    """Find the 20 genes whose responses in training are most correlated with each gene's."""
    n = len(train.genes)
    if config.decoder != "genewise":
        return np.zeros((n, 0), np.int32)
    values = train.sign.astype(np.float32) if train.delta is None else train.delta
    centred = values - values.mean(0)
    centred /= np.maximum(np.linalg.norm(centred, axis=0), 1e-9)
    near = np.abs(centred.T @ centred)
    np.fill_diagonal(near, -1)
    return np.argsort(-near, axis=1, kind="stable")[:, : min(ALIKE, n - 1)].astype(np.int32)


def inputs_of(train: Responses) -> Inputs:
    """Learn from training perturbations how controls are given."""
    if train.control is None:
        return Inputs(tuple(sorted(set(train.line))), np.zeros(0, np.float32), 1.0)
    location = train.control.mean(0)
    scale = float((train.control - location).std())
    return Inputs((), location, scale if scale > 1e-6 else 1.0)


def query_of(
    knowledge: Knowledge,
    perturbed: Sequence[tuple[str, ...]],
    line: Sequence[str],
    control: Float32[np.ndarray, "n genes"] | None,
    inputs: Inputs,
    config: Config,
) -> Query:
    """Lay out perturbations for the network."""
    near = candidates(
        knowledge, perturbed, hops=config.hops if config.context in WIDE else 0, most=config.most
    )
    if control is None:
        given = np.array([[name == own for name in inputs.lines] for own in line], np.float32)
        given = given.reshape(len(perturbed), len(inputs.lines))
    else:
        given = (control - inputs.location) / np.float32(inputs.scale)
    text = text_of(knowledge, perturbed)
    return Query(near.node, near.hop, text, given.astype(np.float32))


def weight_of(
    knowledge: Knowledge,
    perturbed: Sequence[tuple[str, ...]],
    line: Sequence[str],
    memory: Responses,
    config: Config,
) -> Float32[np.ndarray, "n memory"]:
    """Return how near perturbations are to those remembered, by what the network may know.

    No graph without context, and no text where texts are off.
    """
    usable = _usable(knowledge, config)
    return likeness(usable, perturbed, line, memory.perturbed, memory.line)


def near_of(knowledge: Knowledge, train: Responses, config: Config) -> sparse.csr_array | None:
    """Return which genes are counted with each gene, by what the network may know; or None."""
    if train.continuous or config.base != "recalled":
        return None
    return near_genes(_usable(knowledge, config), train.genes)


def scale_of(train: Responses) -> float:
    """Return the deviation of changes about their mean response, which values are divided by."""
    if train.delta is None:
        return 1.0
    return float((train.delta - train.delta.mean(0)).std()) or 1.0


def pool_of(rows: Responses, knowledge: Knowledge, inputs: Inputs, config: Config) -> Pool:
    """Lay out perturbations and their responses."""
    query = query_of(knowledge, rows.perturbed, rows.line, rows.control, inputs, config)
    return Pool(world_of(knowledge, rows.genes, config), query, truth_of(rows, 1.0))


def truth_of(rows: Responses, scale: float) -> Truth:
    """Lay out responses."""
    values = np.zeros((len(rows.sign), 0), np.float32) if rows.delta is None else rows.delta / scale
    return Truth(values.astype(np.float32), rows.sign, rows.known)


def own_of(
    rows: Responses,
    train: Int[np.ndarray, " train"],
    valid: Int[np.ndarray, " valid"],
    scale: float,
    config: Config,
) -> Own:
    """Take from the training rows of a fit what belongs to it alone.

    Parameters
    ----------
    rows
        All perturbations of the pool; only those of ``train`` are looked at.
    train, valid
        Which of them the fit learns from, and which tell it when to stop.
    scale, config
        As everywhere.
    """
    seen = take(rows, train)
    pattern = seen.sign.astype(np.float32)
    if seen.delta is not None:
        pattern = np.where(seen.sign != 0, seen.delta, 0.0)
    centred = pattern - pattern.mean(0)
    k = min(config.components, *centred.shape)
    axes = _main_axes(centred, k)
    target = np.zeros((len(rows.perturbed), config.components), np.float32)
    # Perturbations that change nothing have no direction to align with.
    affected = np.any(seen.sign != 0, axis=1)
    target[train, :k] = np.where(affected[:, None], centred @ axes.T, 0.0)
    slack = 1.0
    if seen.delta is not None:
        calm = seen.delta[(seen.sign == 0) & seen.known]
        slack = float(calm.std() / scale) if calm.size else 1.0
    return Own(
        train,
        valid,
        base_of(seen, scale),
        target,
        np.float32(max(slack, 1e-3)),
        alike_of(seen, config),
        np.float32(scale),
    )


def base_of(train: Responses, scale: float) -> Float32[np.ndarray, "2 1 genes"]:
    """Return the mean response of training perturbations.

    Of values, the mean change and the log of the deviation about it; of signs, log-odds.
    """
    if train.delta is not None:
        mean = train.delta.mean(0)
        deviation = np.log(np.maximum((train.delta - mean).std(0) / scale, 1e-2))
        return np.stack([mean / scale, deviation])[:, None].astype(np.float32)
    return np.stack([np.log(p / (1 - p)) for p in rates(train)])[:, None].astype(np.float32)


def _usable(knowledge: Knowledge, config: Config) -> Knowledge:
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
