"""What is measured of an exact fit: evidence in closed form, and cells left out in folds."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from infosem_jax.compare.measures import (
    Outcome,
    Settings,
    accuracy,
    agreement,
    edge_changes,
    moved,
)
from infosem_jax.data.dataset import Dataset
from infosem_jax.grn import exact
from infosem_jax.grn.exact import hyper
from infosem_jax.grn.exact.decomposition import Spectrum
from infosem_jax.grn.exact.held_out import (
    LEVELS,
    held_out,
    random_folds,
    state_folds,
    without_folds,
)
from infosem_jax.grn.exact.posterior import log_evidence
from infosem_jax.grn.exact.priors import directed
from infosem_jax.grn.networks import candidate_pairs
from infosem_jax.grn.priors.binding import Prior
from infosem_jax.grn.splits import Universe
from infosem_jax.grn.states import as_fitted

LEVEL = 0.9
# Strengths at which the evidence is drawn, on both sides of none.
STRENGTHS, LEAST = 31, 0.1


class Folds(NamedTuple):
    """Cells dealt to folds at random and by their states, each with the cells without each fold."""

    at_random: tuple[np.ndarray, dict[int, Spectrum]]
    by_state: tuple[np.ndarray, dict[int, Spectrum]]


def folds_of(fitted: exact.Fit, data: Dataset, states: np.ndarray | None, key: int) -> Folds:
    """Deal the cells of a data set to folds, once for all priors.

    Parameters
    ----------
    fitted, data
        A fit, and what it was made of.
    states
        Which state each cell is in; None takes clusters.
    key
        Of the folds at random.
    """
    x = as_fitted(fitted, data).x
    rows = pd.Index(data.genes).get_indexer(pd.Index(fitted.rows))
    states = state_folds(x) if states is None else states
    at_random = random_folds(data.cells, key)
    return Folds(*((labels, without_folds(x, rows, labels)) for labels in (at_random, states)))


def measure_exact(
    fitted: exact.Fit,
    data: Dataset,
    effect: Prior | None,
    named: tuple[str, str],
    universe: Universe | None,
    how: Settings,
    folds: Folds,
) -> Outcome:
    """Measure an exact fit to all cells, and fits that leave cells out.

    Parameters
    ----------
    fitted, data, effect
        The fit, what it was made of, and its prior of the effects.
    named
        What the prior is called, and whether this is its ``control``.
    universe
        Known edges and candidate pairs, or None.
    how
        Settings.
    folds
        What `folds_of` returned for the data.
    """
    ready = as_fitted(fitted, data)
    at_random, by_state = (
        held_out(fitted, data, effect, labels, key=how.key, others=others)
        for labels, others in folds
    )
    place = int(np.argmin(np.abs(LEVELS - LEVEL)))
    learned = {
        name: float(np.mean(fitted.learned[name]))
        for name in ("r2", "slope", "strength", "trust")
        if name in fitted.learned
    }
    found = {
        "sound": 1.0,
        "density": float(at_random.density.mean()),
        "density_states": float(by_state.density.mean()),
        "covered": float(at_random.coverage[place]),
        "covered_states": float(by_state.coverage[place]),
        "explained": at_random.explained,
        "log_evidence": float(fitted.log_evidence.sum()),
        **learned,
        **moved(fitted, fitted.weight, fitted.prior_mean),
    }
    scored = []
    if universe is not None:
        # A slope below zero turns what the prior says around; its own ranking is as it was stated.
        said = fitted.prior_mean * np.sign(learned.get("slope", 1.0))
        alone = np.abs(said) if directed(effect) else said
        scored, numbers = accuracy(fitted, 0, *named, universe, fitted.score, alone)
        found |= numbers
    changes = edge_changes(fitted, top=how.changes).to_dict("records") if how.changes else []
    return Outcome(
        fitted.name,
        *named,
        [(0, name, value) for name, value in found.items()],
        [list(data.cells)],
        [at_random.density.tolist()],
        scored,
        changes,
        states=[by_state.density.tolist()],
        evidence=fitted.log_evidence.tolist(),
        curve=_curve(fitted, ready),
    )


def halves(data: str, prior: str, first: exact.Fit, second: exact.Fit) -> Outcome:
    """Measure how far the exact fits to two halves of the cells agree, by the ranks of scores.

    Parameters
    ----------
    data, prior
        What the whole data set and the prior are called.
    first, second
        The fits.
    """
    off = candidate_pairs(first)
    odds = (np.exp(each.score[off].astype(np.float64)) for each in (first, second))
    numbers = [(0, f"halves_{name}", value) for name, value in agreement(*odds).items()]
    return Outcome(data, prior, "halves", numbers, [], [], [], [])


def _curve(fitted: exact.Fit, data: Dataset) -> list[tuple[float, float]]:
    """Return log Bayes factors against no prior mean over the strength of the prior means."""
    if "slope" not in fitted.learned or not np.ptp(fitted.prior_mean):
        return []
    slope = float(np.mean(fitted.learned["slope"]))
    everything = data._replace(regulators=fitted.rows)
    rows = pd.Index(data.genes).get_indexer(pd.Index(fitted.rows))
    basis = exact.decomposed(everything, rows)
    r2 = fitted.config.r2 or float(np.mean(fitted.learned["r2"]))
    scale = hyper.scale_of(r2, len(rows))
    mean = np.zeros((len(rows), len(data.genes)))
    place = {name: i for i, name in enumerate(fitted.rows)}
    mean[[place[name] for name in fitted.regulators]] = fitted.prior_mean / slope
    projected = basis.vectors.T @ mean.astype(np.float32)
    wide = max(3 * abs(slope), LEAST)
    at = np.linspace(-wide, wide, STRENGTHS)
    nats = [float(log_evidence(basis, scale, s * projected).sum()) for s in at]
    none = float(log_evidence(basis, scale).sum())
    return [(float(s), value - none) for s, value in zip(at, nats, strict=True)]
