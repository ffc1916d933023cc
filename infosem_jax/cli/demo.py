"""The demonstration: what each kind of prior is worth on data whose network is known."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from infosem_jax.data.simulate import Simulation, SimulationConfig, simulate
from infosem_jax.grn.config import Config, converged
from infosem_jax.grn.fitting import fit
from infosem_jax.grn.metrics import score_matrix
from infosem_jax.grn.priors import GeneEmbedding, KnownEdges, Normal, shuffled
from infosem_jax.grn.result import Fit
from infosem_jax.grn.run_folder import NamedPrior

SIMULATION = SimulationConfig(genes=200, cells=100, embedding_information=0.9, known_fraction=0.3)
SCALE = 0.05
VARIANTS = ("none", "B", "BC", "B-shuffled")


def run_demo(
    seeds: int, tell: Callable[[str, int, float], None] | None = None
) -> tuple[pd.DataFrame, Simulation, Fit, list[NamedPrior]]:
    """Fit every variant to one simulated data set per seed.

    All variants see the same data, recipe and prior scale: ``none`` has the prior of B with mean 0.

    Parameters
    ----------
    seeds
        Number of data sets.
    tell
        Called after each fit with the variant, the seed and its average precision.

    Returns
    -------
    The table ``variant, seed, auprc``; the first data set; its BC fit; and the priors of that fit.
    """
    rows, kept = [], None
    config: Config = converged()
    simulations = [simulate(SIMULATION, seed) for seed in range(seeds)]
    for name in VARIANTS:
        for seed, simulation in enumerate(simulations):
            effect, edge = _priors(name, simulation, seed)
            fitted = fit(simulation.data, effect, edge, config=config, key=seed)
            auprc = average_precision(simulation, fitted)
            rows.append((name, seed, auprc))
            if tell is not None:
                tell(name, seed, auprc)
            if name == "BC" and seed == 0:
                kept = (
                    fitted,
                    [
                        NamedPrior(
                            "effect",
                            "gene-embedding",
                            "Simulated embeddings that carry information about the network.",
                            effect,
                            {"prior": "gene-embedding", "scale": SCALE},
                        ),
                        NamedPrior(
                            "logit",
                            "known-edges",
                            "A share of the true edges, and of the absent ones, is labelled.",
                            edge,
                            {"prior": "known-edges"},
                        ),
                    ],
                )
    if kept is None:
        raise ValueError(f"Expected at least one seed, found {seeds}.")
    return pd.DataFrame(rows, columns=pd.Index(["variant", "seed", "auprc"])), simulations[0], *kept


def average_precision(simulation: Simulation, fitted: Fit) -> float:
    """Score a fit's mean |W| against the true network, regulators x genes without self pairs."""
    genes = simulation.data.genes
    rows = [genes.index(regulator) for regulator in fitted.regulators]
    candidate = np.ones((len(rows), len(genes)), bool)
    candidate[np.arange(len(rows)), rows] = False
    scores = np.abs(fitted.weight.mean(0))
    return float(score_matrix(scores, simulation.effect[rows] != 0, candidate)["auprc"])


def _priors(name: str, simulation: Simulation, seed: int):
    embedding = GeneEmbedding(simulation.embedding, scale=SCALE)
    if name == "none":
        return Normal(SCALE), None
    if name == "B-shuffled":
        return shuffled(embedding, seed), None
    return embedding, KnownEdges(simulation.known) if name == "BC" else None
