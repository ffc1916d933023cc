"""The demonstration: what each kind of prior is worth to both engines, the network being known."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from infosem_jax.data.simulate import Simulation, SimulationConfig, simulate
from infosem_jax.grn import exact
from infosem_jax.grn.config import converged
from infosem_jax.grn.fitting import fit
from infosem_jax.grn.metrics import score_matrix
from infosem_jax.grn.priors import GeneEmbedding, KnownEdges, Normal, shuffled
from infosem_jax.grn.priors.binding import Priors
from infosem_jax.grn.result import Fit, network

SIMULATION = SimulationConfig(genes=200, cells=100, embedding_information=0.9, known_fraction=0.3)
SCALE = 0.05
VARIANTS = ("none", "B", "BC", "B-shuffled")
# What the variants of the exact engine are called; those of svi have no prefix.
EXACT = "exact "


class Demonstration(NamedTuple):
    """What was fitted, and how well.

    Attributes
    ----------
    table
        Columns ``variant, seed, auprc``: average precision of each variant on each data set, of the
        svi engine and, with `EXACT` before its name, of the exact engine.
    simulation, fitted, priors
        The first data set, its exact fit of variant BC, and the priors of that fit.
    """

    table: pd.DataFrame
    simulation: Simulation
    fitted: exact.Fit
    priors: Priors


def demonstrate(
    seeds: int, on_fit: Callable[[str, int, float], None] | None = None
) -> Demonstration:
    """Fit every variant to one simulated data set per seed, with both engines.

    All variants see the same data, recipe and prior scale: ``none`` has the prior of B with mean 0.
    (The exact engine learns the scale.)

    Parameters
    ----------
    seeds
        Number of data sets.
    on_fit
        Called after each fit with the variant, the seed and its average precision.

    Raises
    ------
    ValueError
        If there is no seed.
    """
    if seeds < 1:
        raise ValueError(f"Expected at least one seed, found {seeds}.")
    simulations = [simulate(SIMULATION, seed) for seed in range(seeds)]
    rows, fits = [], {}
    engines: dict[str, Any] = {"": converged(), EXACT: exact.Config()}
    for prefix, config in engines.items():
        for variant in VARIANTS:
            for seed, simulation in enumerate(simulations):
                priors = variant_priors(variant, simulation, seed)
                fitted = fit(simulation.data, *priors[:2], config=config, key=seed)
                auprc = average_precision(simulation, fitted)
                rows.append((prefix + variant, seed, auprc))
                if on_fit is not None:
                    on_fit(prefix + variant, seed, auprc)
                if seed == 0 and isinstance(fitted, exact.Fit):
                    fits[variant] = fitted, priors
    table = pd.DataFrame(rows, columns=pd.Index(["variant", "seed", "auprc"]))
    return Demonstration(table, simulations[0], *fits["BC"])


def variant_priors(variant: str, simulation: Simulation, seed: int) -> Priors:
    """Return the priors of a variant.

    Parameters
    ----------
    variant
        One of ``VARIANTS``.
    simulation
        The data set, whose embedding and known edges the priors hold.
    seed
        Decides which vectors genes get in ``B-shuffled``.
    """
    if variant == "none":
        return Priors(Normal(SCALE))
    embedding = GeneEmbedding(simulation.embedding, scale=SCALE)
    if variant == "B-shuffled":
        return Priors(shuffled(embedding, seed))
    if variant == "B":
        return Priors(embedding)
    record = {
        "effect": {"prior": "gene-embedding", "scale": SCALE},
        "edge": {"prior": "known-edges"},
    }
    return Priors(embedding, KnownEdges(simulation.known), record)


def average_precision(simulation: Simulation, fitted: Fit | exact.Fit) -> float:
    """Score what a fit ranks edges by against the true network, without self pairs."""
    genes = simulation.data.genes
    rows = [genes.index(regulator) for regulator in fitted.regulators]
    candidate = np.ones((len(rows), len(genes)), bool)
    candidate[np.arange(len(rows)), rows] = False
    found = network(fitted)
    scores = np.asarray(np.abs(found.weight) if found.score is None else found.score)
    return float(score_matrix(scores, simulation.effect[rows] != 0, candidate)["auprc"])
