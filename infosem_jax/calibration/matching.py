"""Simulations like the user's own data and model, as far as likeness can be had."""

from dataclasses import is_dataclass, replace
from typing import Any

import numpy as np

from infosem_jax.data.dataset import Dataset
from infosem_jax.data.simulate import Simulation, SimulationConfig, simulate
from infosem_jax.data.units import describe_units
from infosem_jax.grn.priors.binding import PriorLike, Priors, as_priors

HALVINGS = 6


def matched_simulation(data: Dataset, base: SimulationConfig | None = None) -> SimulationConfig:
    """Return settings that simulate data like those given.

    Matched are the numbers of genes, regulators and cells, whether values are counts, the share of
    zeros, how much the mean expression of cells varies, and the size of gene-gene correlations, by
    a search over ``dropout``, ``library_sd`` and ``effect_scale`` (which also moves the
    correlations among targets of one regulator).

    Parameters
    ----------
    data
        Expression as read.
    base
        The settings that are not matched, such as ``mean_in_degree``.

    Raises
    ------
    ValueError
        If the data were normalised, or have fewer than three regulators.
    """
    if data.normalisation != "none":
        raise ValueError(
            f"{data.name}: expected expression as read, found it normalised "
            f"({data.normalisation}); zeros and library sizes cannot be seen any more."
        )
    regulators, genes = len(data.regulators), len(data.genes)
    base = base or SimulationConfig()
    config = replace(
        base,
        genes=genes,
        regulators=regulators,
        cells=len(data.cells),
        mean_in_degree=min(base.mean_in_degree, regulators - 1),
        as_counts=describe_units(data.x).kind == "counts",
    )
    if config.as_counts:
        log_mean = float(np.log(np.maximum(data.x.mean(0), 1e-3)).mean())
        config = replace(config, log_mean=float(np.clip(log_mean, -5, 10)))
    knobs = (
        ("dropout", 0.0, 0.95, lambda x: float((x == 0).mean())),
        ("library_sd", 0.0, 1.5, _cell_spread),
        ("effect_scale", 0.05, 5.0, _correlation_size),
    )
    for knob, low, high, statistic in knobs:
        wanted = statistic(data.x)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            found = statistic(simulate(replace(config, **{knob: middle}), 0).data.x)
            low, high = (middle, high) if found < wanted else (low, middle)
        config = replace(config, **{knob: (low + high) / 2})
    return config


def matched_priors(priors: PriorLike, simulation: Simulation) -> Priors:
    """Return priors of the same kinds and settings that know the simulated genes.

    Embeddings and tables of edges within them are exchanged for those of the simulation.

    Parameters
    ----------
    priors
        Priors of the user's fit.
    simulation
        Simulated data.
    """
    given = as_priors(priors)
    return Priors(_exchanged(given.effect, simulation), _exchanged(given.edge, simulation))


def _exchanged(prior: Any, simulation: Simulation) -> Any:
    """Give a prior, and those that it is made of, the genes of the simulation."""
    if isinstance(prior, tuple):
        return tuple(_exchanged(part, simulation) for part in prior)
    if not is_dataclass(prior) or isinstance(prior, type):
        return prior
    changes: dict[str, Any] = {}
    for name in ("prior", "parts"):
        if hasattr(prior, name):
            changes[name] = _exchanged(getattr(prior, name), simulation)
    if getattr(prior, "embedding", None) is not None:
        changes["embedding"] = simulation.embedding
    if getattr(prior, "orthologues", None) is not None:
        changes["orthologues"] = None
    if getattr(prior, "table", None) is not None:
        changes["table"] = simulation.known
    return replace(prior, **changes)


def _logged(x: np.ndarray) -> np.ndarray:
    return np.log1p(x) if describe_units(x).countable else x


def _cell_spread(x: np.ndarray) -> float:
    """Return how much the mean expression of cells varies, against the spread of single values."""
    logged = _logged(x)
    return float(logged.mean(1).std() / max(logged.std(0).mean(), 1e-12))


def _correlation_size(x: np.ndarray) -> float:
    z = _logged(x)
    z = (z - z.mean(0)) / np.maximum(z.std(0), 1e-12)
    correlation = z.T @ z / len(z)
    return float(np.sqrt((correlation[np.triu_indices(len(correlation), 1)] ** 2).mean()))
