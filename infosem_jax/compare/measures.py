"""What is measured of one fit: evidence, how far data moved the edges, agreement, and accuracy."""

from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from infosem_jax.data.dataset import Dataset
from infosem_jax.grn import exact
from infosem_jax.grn.accuracy import At, Cell
from infosem_jax.grn.accuracy import measure as measure_cell
from infosem_jax.grn.evidence import density, held_out_cells
from infosem_jax.grn.networks import candidate_pairs
from infosem_jax.grn.result import Fit, network
from infosem_jax.grn.splits import Universe

ACCURACY = (
    *("auprc", "auprc_ratio", "auroc", "epr", "auprc_ratio_per_regulator"),
    *("auprc_ratio_regulator_mean", "auprc_ratio_target_mean"),
)
SHUFFLED, PRIOR_ONLY = " (shuffled)", " (prior only)"
CHANGES = ("source", "target", "prior_mean", "weight", "change")


class Settings(NamedTuple):
    """How fits are measured.

    Attributes
    ----------
    key
        Of the fits.
    cells, samples
        Most held-out cells that are scored, and importance samples for each.
    changes
        How many of the edges that data moved most are listed; 0 lists none.
    """

    key: int = 0
    cells: int = 32
    samples: int = 64
    changes: int = 0


class Outcome(NamedTuple):
    """What was measured of all seeds of one fit, or of a pair of fits to halves of the cells.

    Attributes
    ----------
    data, prior
        Names.
    part
        ``whole``, ``control`` or ``halves``.
    numbers
        Seed, measure and value.
    cells, density
        Names of the scored cells of each seed, and their log predictive density in nats per
        measured value; empty for halves.
    scored
        The benchmark's cells of all seeds and read-outs; empty without a truth.
    changes
        Rows of `edge_changes`; empty where none were asked for.
    states
        Log predictive density of the same cells where their whole states were left out; of exact
        fits, as are the next.
    evidence
        Log evidence of each target, in nats.
    curve
        Strengths of the prior means, and log Bayes factors against none.
    """

    data: str
    prior: str
    part: str
    numbers: list[tuple[int, str, float]]
    cells: list[list[str]]
    density: list[list[float]]
    scored: list[Cell]
    changes: list[dict[str, Any]]
    states: list[list[float]] = []  # noqa: RUF012
    evidence: list[float] = []  # noqa: RUF012
    curve: list[tuple[float, float]] = []  # noqa: RUF012


def measure(
    fitted: Fit, data: Dataset, prior: str, part: str, universe: Universe | None, how: Settings
) -> Outcome:
    """Measure a fit to all cells.

    Parameters
    ----------
    fitted, data
        The fit, and what it was made of.
    prior, part
        What the prior is called, and whether this is its ``control``.
    universe
        Known edges and candidate pairs, or None.
    how
        Settings.
    """
    numbers: list[tuple[int, str, float]] = []
    names, nats, scored = [], [], []
    agreed = _between_seeds(fitted)
    for seed in range(len(fitted.diverged)):
        sound = fitted.diverged[seed] < 0
        found: dict[str, float] = {"sound": float(sound)}
        if sound:
            kept = held_out_cells(data, fitted.config, key=how.key, seed=seed)[: how.cells]
            of = density(fitted, data, kept, seed=seed, samples=how.samples)
            names.append(list(of.cells))
            nats.append(of.per_value.tolist())
            found["density"] = float(of.per_value.mean())
            found["effective_samples"] = float(of.effective.mean())
            found["elbo"] = -_last(np.asarray(fitted.losses.held_out[seed]))
            found |= moved(fitted, fitted.weight[seed], fitted.prior_mean[seed])
            found |= agreed.get(seed, {})
            if universe is not None:
                by = (np.abs(fitted.weight[seed]), np.abs(fitted.prior_mean[seed]))
                cells, metrics = accuracy(fitted, seed, prior, part, universe, *by)
                scored += cells
                found |= metrics
        else:
            names.append([])
            nats.append([])
        numbers += [(seed, name, value) for name, value in found.items()]
    changes = edge_changes(fitted, top=how.changes).to_dict("records") if how.changes else []
    return Outcome(fitted.name, prior, part, numbers, names, nats, scored, changes)


def measure_halves(data: str, prior: str, first: Fit, second: Fit) -> Outcome:
    """Measure how far the fits to two halves of the cells agree.

    Each seed of the first is compared with the next seed of the second, since equal seeds start
    from the same random effects (as they do where there is one seed only).

    Parameters
    ----------
    data, prior
        What the whole data set and the prior are called.
    first, second
        The fits.
    """
    off = candidate_pairs(first)
    n = len(first.diverged)
    numbers = []
    for seed in range(n):
        other = (seed + 1) % n
        if first.diverged[seed] < 0 and second.diverged[other] < 0:
            found = agreement(first.weight[seed][off], second.weight[other][off])
            numbers += [(seed, f"halves_{name}", value) for name, value in found.items()]
    return Outcome(data, prior, "halves", numbers, [], [], [], [])


def moved(
    fitted: Fit | exact.Fit,
    weight: Float[np.ndarray, "regulators genes"],
    prior: Float[np.ndarray, "regulators genes"],
) -> dict[str, float]:
    """Tell how far data moved edges from the prior.

    With ``d = weight - prior`` over the N candidate pairs, ``share_moved`` is the participation
    ratio ``(sum |d|)^2 / (N sum d^2)``: 1 where all moved by as much, 1/N where one did.
    ``change_rms`` and ``weight_rms`` are root mean squares of d and of the weight, and
    ``prior_correlation`` is between prior and posterior mean (NaN where the prior tells no pairs
    apart).

    Parameters
    ----------
    fitted
        A fit, for its names.
    weight, prior
        Means after and before the data.
    """
    off = candidate_pairs(fitted)
    weight, prior = (np.asarray(values[off], np.float64) for values in (weight, prior))
    d = weight - prior
    square = float(np.sum(d**2))
    told_apart = np.ptp(prior) > 0 and np.ptp(weight) > 0
    return {
        "share_moved": float(np.sum(np.abs(d)) ** 2 / (d.size * square)) if square else 0.0,
        "change_rms": float(np.sqrt(square / d.size)),
        "weight_rms": float(np.sqrt(np.mean(weight**2))),
        "prior_correlation": float(np.corrcoef(prior, weight)[0, 1]) if told_apart else np.nan,
    }


def agreement(a: Float[np.ndarray, " pairs"], b: Float[np.ndarray, " pairs"]) -> dict[str, float]:
    """Compare two fits edge by edge.

    ``spearman`` is the rank correlation of ``|weight|``; ``top`` is the share of the strongest 1 %
    of edges that both have in common.

    Parameters
    ----------
    a, b
        Weights of the same pairs, [pairs].
    """
    from scipy.stats import spearmanr

    a, b = np.abs(a), np.abs(b)
    n = max(1, len(a) // 100)
    first, second = (set(np.argsort(-values, kind="stable")[:n].tolist()) for values in (a, b))
    constant = np.ptp(a) == 0 or np.ptp(b) == 0
    rank = np.nan if constant else float(np.asarray(spearmanr(a, b))[0])
    return {"spearman": rank, "top": len(first & second) / n}


def edge_changes(fitted: Fit | exact.Fit, *, top: int | None = None) -> pd.DataFrame:
    """List what the fit made of the prior of each edge, the largest changes first.

    Parameters
    ----------
    fitted
        A fit.
    top
        How many edges to list; None lists all pairs of a regulator and another gene.

    Returns
    -------
    DataFrame
        Columns ``source, target, prior_mean, weight, change``: means over the sound seeds.

    Raises
    ------
    FloatingPointError
        If no seed is sound.
    """
    row, column = np.nonzero(candidate_pairs(fitted))
    weight = np.asarray(network(fitted).weight)[row, column]
    prior = fitted.prior_mean
    if isinstance(fitted, Fit):
        prior = prior[fitted.diverged < 0].mean(0)
    prior = prior[row, column]
    change = weight - prior
    order = np.argsort(-np.abs(change), kind="stable")[:top]
    source, target = np.asarray(fitted.regulators, object), np.asarray(fitted.genes, object)
    columns = source[row], target[column], prior, weight, change
    return pd.DataFrame({name: of[order] for name, of in zip(CHANGES, columns, strict=True)})


def accuracy(
    fitted: Fit | exact.Fit,
    seed: int,
    prior: str,
    part: str,
    universe: Universe,
    by: Float[np.ndarray, "regulators genes"],
    alone: Float[np.ndarray, "regulators genes"],
) -> tuple[list[Cell], dict[str, float]]:
    """Score a ranking of edges against the known ones, and that of the prior where it has one.

    Parameters
    ----------
    fitted, seed
        A fit, and which seed.
    prior, part
        What the prior is called, and whether this is its ``control``.
    universe
        Known edges and candidate pairs.
    by, alone
        What edges are ranked by, and what the prior alone ranks them by.
    """
    method = prior + SHUFFLED * (part == "control")
    read_outs = {method: by}
    if np.ptp(alone[candidate_pairs(fitted)]) > 0:
        read_outs[method + PRIOR_ONLY] = alone
    rows = pd.Index(fitted.regulators).get_indexer(pd.Index(universe.regulators))
    columns = pd.Index(fitted.genes).get_indexer(pd.Index(universe.genes))
    cells = []
    for name, values in read_outs.items():
        scores = values[np.ix_(rows, columns)].astype(np.float64)
        scores[rows < 0] = np.nan
        at = At(fitted.name, "truth", "", name, "all", seed)
        cells.append(measure_cell(at, scores, universe, universe.candidate, 0.0))
    metrics = {
        prefix + name: cell.metrics[name]
        for cell, prefix in zip(cells, ("", "prior_"), strict=False)
        for name in ACCURACY
    }
    return cells, metrics


def _last(losses: Float[np.ndarray, " epochs"]) -> float:
    """Return the last loss that was computed; training may have stopped early."""
    known = losses[np.isfinite(losses)]
    return float(known[-1]) if len(known) else np.nan


def _between_seeds(fitted: Fit) -> dict[int, dict[str, float]]:
    """Average the agreement of each sound seed with the others."""
    off = candidate_pairs(fitted)
    found: dict[int, list[dict[str, float]]] = {}
    for a, b in combinations(np.flatnonzero(fitted.diverged < 0).tolist(), 2):
        pair = agreement(fitted.weight[a][off], fitted.weight[b][off])
        for seed in (a, b):
            found.setdefault(seed, []).append(pair)
    return {
        seed: {f"seeds_{name}": float(np.mean([pair[name] for pair in pairs])) for name in pairs[0]}
        for seed, pairs in found.items()
    }
