"""Edge probabilities that mean what they say, learned where the truth is known.

A fit's own probabilities follow from its priors and from a guide that may be too sure. Here data
like the user's are simulated with a known network, the same model is fitted to them, and a monotone
map is learned from what the fits say of a pair to the share of true edges among such pairs. It is
then applied to the user's network. What no data can tell is assumed: how many regulators a gene
has, how informative an embedding is, and that labels are right.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from infosem_jax.calibration.matching import matched_priors, matched_simulation
from infosem_jax.calibration.reliability import reliability_scores, reliability_table
from infosem_jax.data.dataset import Dataset
from infosem_jax.data.simulate import Simulation, SimulationConfig, simulate
from infosem_jax.grn import exact
from infosem_jax.grn.config import Config
from infosem_jax.grn.fitting import fit_many
from infosem_jax.grn.networks import Network, candidate_pairs
from infosem_jax.grn.priors.binding import PriorLike
from infosem_jax.grn.result import network

FEATURES = ("rank", "surprise", "gate")


@dataclass(frozen=True)
class Recalibration:
    """A monotone map from what a fit says of a pair to the probability that it is an edge.

    Attributes
    ----------
    coefficients
        Of the logistic regression on ``FEATURES``, none negative, so that the map is monotone.
    score, probability
        Knots of the isotonic map from the regression's score to a probability.
    simulation
        What the simulations were like.
    simulations
        How many there were.
    scores
        `infosem_jax.calibration.reliability.reliability_scores` on simulations that the map was
        not learned from (each left out in turn): lines ``stated`` (of the gate, if there is one)
        and ``recalibrated``.
    tables
        The `infosem_jax.calibration.reliability.reliability_table` of each line, in bins with
        equal numbers of pairs.
    """

    coefficients: tuple[float, ...]
    score: Float[np.ndarray, " knots"]
    probability: Float[np.ndarray, " knots"]
    simulation: SimulationConfig
    simulations: int
    scores: pd.DataFrame
    tables: dict[str, pd.DataFrame]

    @property
    def note(self) -> str:
        """Say where the probabilities come from."""
        s, error = self.simulation, self.scores.loc["recalibrated", "ece"]
        return (
            f"Probabilities were recalibrated on {self.simulations} simulations of known networks "
            f"({s.cells} cells, {s.genes} genes, {s.regulators} regulators, {s.mean_in_degree:g} "
            f"regulators a gene, {s.dropout:.0%} dropout), where they are off by {error:.3f} on "
            "average. They hold for data that come about as simulated."
        )


class Fitted(NamedTuple):
    """A simulated experiment, and the network that was found in it."""

    simulation: Simulation
    network: Network


def fit_simulations(
    config: SimulationConfig,
    priors: Callable[[Simulation], PriorLike],
    *,
    model: Config | exact.Config,
    simulations: int = 4,
    seeds: int = 1,
    first: int = 0,
) -> list[Fitted]:
    """Simulate data with known networks, and fit each of them; all share one compiled program.

    Parameters
    ----------
    config
        What to simulate.
    priors
        Returns the priors for a simulation; see ``matched_priors``.
    model
        Settings of the fits.
    simulations, first
        How many, and the seed of the first.
    seeds
        Random starts of each fit.
    """
    found = []
    for seed in range(first, first + simulations):
        simulation = simulate(config, seed)
        job = {f"simulation {seed}": simulation.data}
        grid = fit_many(job, {"": priors(simulation)}, configs=model, seeds=seeds, key=seed)
        found += [Fitted(simulation, network(fitted)) for _, fitted in grid]
    return found


def learn(fits: Sequence[Fitted], config: SimulationConfig) -> Recalibration:
    """Learn the map from fits to simulations.

    A logistic regression with coefficients that are not negative puts the features of a pair into
    one score, and isotonic regression turns that into a probability. Features: ``rank``,
    ``-log(share of pairs with at least this |weight|)``; ``surprise``, ``log(1 + |weight| / sd)``;
    ``gate``, the log-odds of the gate. Those that the fits lack are 0.

    Parameters
    ----------
    fits
        At least two.
    config
        What was simulated.

    Raises
    ------
    ValueError
        If there are fewer than two fits.
    """
    if len(fits) < 2:
        raise ValueError(
            f"Expected at least two simulations, to learn from one and test on another; found "
            f"{len(fits)}."
        )
    pairs = [(features(f.network), true_edges(f)) for f in fits]
    held_out = []
    for i, (own, _) in enumerate(pairs):
        held_out.append(_apply(_map(pairs[:i] + pairs[i + 1 :]), own))
    truth = np.concatenate([edge for _, edge in pairs])
    lines = {"recalibrated": np.concatenate(held_out)}
    if all(f.network.probability is not None for f in fits):
        lines = {"stated": np.concatenate([_stated(f.network) for f in fits]), **lines}
    scores = {name: reliability_scores(p, truth) for name, p in lines.items()}
    tables = {name: reliability_table(p, truth, adaptive=True) for name, p in lines.items()}
    table = pd.DataFrame.from_dict(scores, orient="index")
    return Recalibration(*_map(pairs), config, len(fits), table, tables)


def recalibrate(found: Network, recalibration: Recalibration) -> Network:
    """Return the network with recalibrated probabilities; its name says so.

    Parameters
    ----------
    found
        A network.
    recalibration
        The map, learned on fits of the same model.
    """
    probability = np.zeros(np.shape(found.weight))
    candidate = candidate_pairs(found)
    learned = recalibration.coefficients, recalibration.score, recalibration.probability
    probability[candidate] = _apply(learned, features(found))
    return found._replace(
        probability=probability.astype(np.float32),
        name=f"{found.name} (probabilities recalibrated)",
    )


def recalibration_for(
    data: Dataset,
    priors: PriorLike,
    *,
    model: Config | exact.Config,
    simulations: int = 4,
    seeds: int = 1,
    base: SimulationConfig | None = None,
) -> Recalibration:
    """Simulate data matched to the user's, fit them with priors of the same kinds, learn the map.

    Parameters
    ----------
    data
        Expression as read.
    priors, model, seeds
        Priors, settings and number of random starts of the user's fit.
    simulations
        How many.
    base
        Settings of the simulation that data cannot tell.

    Raises
    ------
    ValueError
        As ``matched_simulation`` and `learn`.
    """
    config = matched_simulation(data, base)
    matched = partial(matched_priors, priors)
    fits = fit_simulations(config, matched, model=model, simulations=simulations, seeds=seeds)
    return learn(fits, config)


def true_edges(fitted: Fitted) -> Bool[np.ndarray, " pairs"]:
    """Return which candidate pairs are edges of the simulation."""
    place = {gene: i for i, gene in enumerate(fitted.simulation.data.genes)}
    rows = [place[name] for name in fitted.network.regulators]
    columns = [place[name] for name in fitted.network.genes]
    return (fitted.simulation.effect[np.ix_(rows, columns)] != 0)[candidate_pairs(fitted.network)]


def features(found: Network) -> Float[np.ndarray, "pairs features"]:
    """Return the features of each candidate pair, see `learn`."""
    candidate = candidate_pairs(found)
    size, sd = np.abs(found.weight[candidate]), found.sd[candidate]
    order = np.sort(size)
    at_least = len(size) - np.searchsorted(order, size, side="left")
    surprise = np.log1p(np.divide(size, sd, out=np.zeros(size.shape), where=sd > 0))
    gate = np.zeros(size.shape)
    if found.probability is not None:
        p = np.clip(found.probability[candidate].astype(float), 1e-6, 1 - 1e-6)
        gate = np.log(p) - np.log1p(-p)
    return np.stack([-np.log(at_least / len(size)), surprise, gate], 1)


Map = tuple[tuple[float, ...], np.ndarray, np.ndarray]


def _map(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Map:
    from scipy.optimize import minimize
    from sklearn.isotonic import IsotonicRegression

    x, edge = (np.concatenate(part) for part in zip(*pairs, strict=True))
    spread = np.maximum(x.std(0), 1e-12)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        score = parameters[0] + (x / spread) @ parameters[1:]
        off = 1 / (1 + np.exp(-score)) - edge
        value = np.logaddexp(0, score).mean() - score[edge].sum() / len(edge)
        return float(value), np.append(off.mean(), (x / spread).T @ off / len(edge))

    bounds = [(None, None)] + [(0, None)] * x.shape[1]
    best = minimize(loss, np.zeros(1 + x.shape[1]), jac=True, bounds=bounds, method="L-BFGS-B").x
    coefficients = tuple(map(float, best[1:] / spread))
    isotonic = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    score = x @ np.asarray(coefficients)
    # An edge below all pairs and another pair above all: nothing is ever certain.
    ends = np.array([score.min(), score.max()])
    isotonic.fit(np.append(score, ends), np.append(edge.astype(float), [1.0, 0.0]))
    return coefficients, isotonic.X_thresholds_, isotonic.y_thresholds_


def _apply(learned: Map, x: np.ndarray) -> np.ndarray:
    coefficients, score, probability = learned
    return np.interp(x @ np.asarray(coefficients), score, probability)


def _stated(found: Network) -> np.ndarray:
    if found.probability is None:
        raise ValueError(f"{found.name}: the model has no gate, and so no probability of its own.")
    return np.clip(found.probability[candidate_pairs(found)].astype(float), 0, 1)
