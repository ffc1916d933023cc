"""Expression with a known network, informative embeddings and known edges, to test methods on."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
from jaxtyping import Bool, Float

from infosem_jax._shown import shown
from infosem_jax.data.dataset import MIN_CELLS, Dataset, dataset
from infosem_jax.data.io import Embedding

Number = int | float

LINKS = {"tanh": np.tanh, "linear": np.positive}

STATES = 3  # hidden cell states behind the shared part of the noise
MAX_FEEDBACK = 0.8  # bound on the summed absolute effects on a regulator: keeps loops stable
SWEEPS = 100  # fixed-point sweeps; MAX_FEEDBACK**SWEEPS = 2e-10 of the start error is left


@dataclass(frozen=True)
class SimulationConfig:
    """Settings of a simulated experiment.

    Attributes
    ----------
    genes, regulators, cells
        Sizes; the regulators are among the genes.
    mean_in_degree
        Mean number of regulators of a gene, at least one.
    out_degree_exponent
        Tail exponent of the Pareto weights by which regulators win targets; smaller is heavier.
    activating
        Share of edges with a positive effect.
    link
        How the summed input acts on a gene: saturating (``tanh``) or proportional (``linear``).
    effect_scale
        Median absolute effect on a target, in units of the regulators' hidden activity.
    noise
        Standard deviation of the exogenous noise, in units of hidden activity.
    shared
        Share of the noise variance that genes have in common: three hidden cell states.
    log_mean
        Mean over genes of the log expected count.
    library_sd
        Standard deviation of the log library size of the cells.
    dropout
        Share of the measurements that are lost, weakly expressed ones first; on top of the zeros
        that counting brings.
    as_counts
        Give Poisson counts instead of log expression, ``log(1 + expected count)``.
    embedding_dimensions
        Length of a gene's embedding; half of it carries each role.
    embedding_information
        Share of an embedding's variance that comes from the network, in [0, 1].
    known_fraction
        Share of the edges, and of the absent edges, that are handed out as known.
    """

    genes: int = 200
    regulators: int = 30
    cells: int = 300
    mean_in_degree: Number = 3.0
    out_degree_exponent: Number = 1.5
    activating: Number = 0.6
    link: str = "tanh"
    effect_scale: Number = 0.6
    noise: Number = 0.5
    shared: Number = 0.3
    log_mean: Number = 1.5
    library_sd: Number = 0.3
    dropout: Number = 0.3
    as_counts: bool = False
    embedding_dimensions: int = 32
    embedding_information: Number = 0.7
    known_fraction: Number = 0.1

    def __post_init__(self):
        if self.link not in LINKS:
            raise ValueError(f"link: expected one of {', '.join(LINKS)}, got {self.link!r}.")
        for field, low, high in (
            ("regulators", 3, math.inf),
            ("genes", self.regulators, math.inf),
            ("cells", MIN_CELLS, math.inf),
            ("mean_in_degree", 1, self.regulators - 1),
            ("out_degree_exponent", 0.1, 100),
            ("activating", 0, 1),
            ("effect_scale", 1e-6, 100),
            ("noise", 1e-6, 100),
            ("shared", 0, 1),
            ("log_mean", -5, 10),
            ("library_sd", 0, 3),
            ("dropout", 0, 0.99),
            ("embedding_dimensions", 2, math.inf),
            ("embedding_information", 0, 1),
            ("known_fraction", 0, 1),
        ):
            value = getattr(self, field)
            if not low <= value <= high:
                bounds = f"at least {low}" if high == math.inf else f"between {low} and {high}"
                raise ValueError(f"{field}: expected {bounds}, got {value}.")


@shown("data", "network", "embedding", "known")
class Simulation(NamedTuple):
    """Simulated data and the truth behind them.

    Attributes
    ----------
    data
        Expression as a sequencer would give it, its regulators at random positions.
    effect
        True signed effects ``W``, rows of genes that regulate nothing are zero.
    network
        All true edges: ``source, target, weight, sign`` (1 activates, -1 represses).
    embedding
        A vector for every gene, as informative about the network as the settings say.
    known
        The pairs handed out as known: ``source, target, label`` (1 edge, 0 no edge).
    """

    data: Dataset
    effect: Float[np.ndarray, "genes genes"]
    network: pd.DataFrame
    embedding: Embedding
    known: pd.DataFrame


def simulate(config: SimulationConfig | None = None, seed: int = 0) -> Simulation:
    """Simulate expression under a known network.

    Hidden activities ``u`` [cells, genes] solve ``u = f(u W) + z`` with ``z ~ Normal(0, noise^2)``;
    few regulators have most of the targets, and feedback among regulators is bounded, so that ``u``
    exists and is unique. Each gene's activity is brought to its own spread ``s``, independent of
    its place in the network (otherwise variances would give the direction of edges away), and read
    out as ``log(1 + exp(b + s u + log library size))``, or as Poisson counts with that mean;
    measurements are lost with a probability that falls logistically with log expression.

    The embedding of a gene is ``sqrt(information) signal + sqrt(1 - information) noise``, randomly
    rotated. The signal holds a random direction ``r`` of the gene as a regulator, and its role as a
    target: the directions of its regulators, added up with their signed effects and scaled to one
    length. Neither the length nor ``r`` tells how many targets a regulator has.

    Network, expression, embedding and known edges have their own random numbers: settings of one
    leave the others alone, as far as they do not follow from it.

    Parameters
    ----------
    config
        Sizes and strengths; the defaults where None.
    seed
        Seed of everything random.

    Returns
    -------
    The data with the network that made them.
    """
    config = config or SimulationConfig()
    for_network, for_expression, for_embedding, for_known = np.random.default_rng(seed).spawn(4)
    is_regulator, effect = _network(config, for_network)
    genes = _names(is_regulator)
    x = _measure(_activity(effect, is_regulator, config, for_expression), config, for_expression)
    regulators = [gene for gene, acts in zip(genes, is_regulator, strict=True) if acts]
    return Simulation(
        data=dataset(x, genes, regulators, name=f"simulated (seed {seed})"),
        effect=effect,
        network=_edge_table(effect, genes),
        embedding=Embedding(genes, _embedding(effect, config, for_embedding)),
        known=_known_edges(effect, is_regulator, genes, config, for_known),
    )


def _network(
    config: SimulationConfig, rng: np.random.Generator
) -> tuple[Bool[np.ndarray, " genes"], Float[np.ndarray, "genes genes"]]:
    """Draw which genes are regulators, and their signed effects."""
    rows = np.sort(rng.choice(config.genes, config.regulators, replace=False))
    is_regulator = np.zeros(config.genes, bool)
    is_regulator[rows] = True
    # Largest weighted Gumbel draws = sampling without replacement in proportion to the weights.
    weight = 1 + rng.pareto(config.out_degree_exponent, config.regulators)
    appeal = np.log(weight)[:, None] + rng.gumbel(size=(config.regulators, config.genes))
    appeal[np.arange(config.regulators), rows] = -np.inf
    others = config.regulators - 2
    in_degree = 1 + rng.binomial(others, (config.mean_in_degree - 1) / others, config.genes)
    rank = (-appeal).argsort(0).argsort(0)
    size = config.effect_scale * rng.lognormal(0, 0.5, appeal.shape)
    sign = np.where(rng.random(appeal.shape) < config.activating, 1, -1)
    acting = np.where(rank < in_degree, sign * size, 0.0)
    received = np.abs(acting).sum(0)
    too_strong = is_regulator & (received > MAX_FEEDBACK)
    acting[:, too_strong] *= MAX_FEEDBACK / received[too_strong]
    effect = np.zeros((config.genes, config.genes))
    effect[rows] = acting
    return is_regulator, effect


def _activity(
    effect: Float[np.ndarray, "genes genes"],
    is_regulator: Bool[np.ndarray, " genes"],
    config: SimulationConfig,
    rng: np.random.Generator,
) -> Float[np.ndarray, "cells genes"]:
    """Solve the structural equation: a fixed point for regulators, then all that they act on."""
    link = LINKS[config.link]
    own = rng.normal(size=(len(effect), config.cells))
    states = rng.normal(size=(STATES, config.cells))
    loading = _to_length(rng.normal(size=(len(effect), STATES))) / np.sqrt(STATES)
    z = config.noise * (
        np.sqrt(1 - config.shared) * own + np.sqrt(config.shared) * loading @ states
    )
    onto = sp.csr_array(effect[is_regulator].T)
    onto_regulators = onto[np.flatnonzero(is_regulator)]
    u = z[is_regulator]
    for _ in range(SWEEPS):
        u = link(onto_regulators @ u) + z[is_regulator]
    return (link(onto @ u) + z).T


def _measure(
    u: Float[np.ndarray, "cells genes"], config: SimulationConfig, rng: np.random.Generator
) -> Float[np.ndarray, "cells genes"]:
    """Read activities out as log expression or counts, with library sizes and dropout."""
    cells, genes = u.shape
    spread = rng.uniform(0.5, 1.5, genes)
    log_expected = rng.normal(config.log_mean, 1, genes) + spread * (u - u.mean(0)) / u.std(0)
    log_expected += rng.normal(0, config.library_sd, (cells, 1))
    # Losing what lies below a quantile of expression plus logistic noise is logistic dropout with
    # an exact share of losses.
    visible = log_expected + rng.logistic(size=u.shape)
    lost = visible < np.quantile(visible, config.dropout)
    if config.as_counts:
        measured = rng.poisson(np.exp(log_expected)).astype(float)
    else:
        measured = np.logaddexp(0, log_expected)
    x = np.where(lost, 0.0, measured)
    # A gene that is the same in every cell is no gene of a data set: show it once, where it peaks.
    flat = np.flatnonzero(x.min(0) == x.max(0))
    peak = log_expected[:, flat].argmax(0)
    x[peak, flat] = measured[peak, flat] + 1
    return x


def _embedding(
    effect: Float[np.ndarray, "genes genes"], config: SimulationConfig, rng: np.random.Generator
) -> Float[np.ndarray, "genes features"]:
    half, features = config.embedding_dimensions // 2, config.embedding_dimensions
    rotation, _ = np.linalg.qr(rng.normal(size=(features, features)))
    noise = rng.normal(size=(len(effect), features))
    role = _to_length(rng.normal(size=(len(effect), half)))
    signal = np.hstack([role, _to_length(sp.csr_array(effect.T) @ role)])
    information = config.embedding_information
    vectors = np.sqrt(1 - information) * noise
    vectors[:, : 2 * half] += np.sqrt(information) * signal
    return (vectors @ rotation).astype(np.float32)


def _to_length(vectors: Float[np.ndarray, "genes k"]) -> Float[np.ndarray, "genes k"]:
    """Scale every vector to mean square one, so that its length tells nothing."""
    return vectors / np.sqrt((vectors**2).mean(1, keepdims=True))


def _edge_table(effect: Float[np.ndarray, "genes genes"], genes: tuple[str, ...]) -> pd.DataFrame:
    source, target = np.nonzero(effect)
    weight = effect[source, target]
    return _pairs(genes, source, target, weight=weight, sign=np.sign(weight).astype(int))


def _known_edges(
    effect: Float[np.ndarray, "genes genes"],
    is_regulator: Bool[np.ndarray, " genes"],
    genes: tuple[str, ...],
    config: SimulationConfig,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Draw the same share of the edges and of the absent edges among all candidate pairs."""
    candidate = is_regulator[:, None] & ~np.eye(len(genes), dtype=bool)
    drawn = []
    for pairs in (candidate & (effect != 0), candidate & (effect == 0)):
        flat = np.flatnonzero(pairs)
        drawn.append(rng.choice(flat, round(config.known_fraction * len(flat)), replace=False))
    source, target = np.unravel_index(np.sort(np.concatenate(drawn)), effect.shape)
    return _pairs(genes, source, target, label=(effect[source, target] != 0).astype(int))


def _pairs(
    genes: tuple[str, ...], source: np.ndarray, target: np.ndarray, **columns: np.ndarray
) -> pd.DataFrame:
    names = np.asarray(genes)
    return pd.DataFrame({"source": names[source], "target": names[target], **columns})


def _names(is_regulator: Bool[np.ndarray, " genes"]) -> tuple[str, ...]:
    width = len(str(len(is_regulator)))
    number = np.where(is_regulator, is_regulator.cumsum(), (~is_regulator).cumsum())
    return tuple(
        f"{'R' if acts else 'G'}{n:0{width}d}" for acts, n in zip(is_regulator, number, strict=True)
    )
