"""From outcomes to tables: all measures, their means, and priors compared in pairs.

Means are over seeds first and over data sets then. A difference of held-out density is taken cell
by cell, since both fits of a pair have seen, and not seen, the same cells; its 95 % interval is a
bootstrap over cells and seeds within each data set, whose means are averaged over data sets.
Differences of accuracy are those of `infosem_jax.grn.paired.paired`, over regulators and
seeds. Data sets are not resampled.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from infosem_jax._shown import shown
from infosem_jax.compare.measures import PRIOR_ONLY, SHUFFLED, Outcome
from infosem_jax.grn.paired import HEADLINE, paired
from infosem_jax.scores import draws_interval

DENSITY = "density"
STATES = "density_states"
BAYES = "log_bayes_factor"
PAIRED = (
    *("prior", "against", "kind", "measure", "difference", "low", "high"),
    *("data_sets", "pairs", "won"),
)
COLUMNS = ("dataset", "prior", "control", "seed", "measure", "value")
CURVES = ("dataset", "prior", "control", "strength", "log_bayes_factor")
BOOTSTRAP = 2000
PARTS = ("whole", "halves", "control")
CONTROL, REFERENCE, READ_OUT = "own control", "reference", "its prior alone"


@shown("summary", "paired", "changes", "reference")
class Comparison(NamedTuple):
    """What is known of several priors.

    Attributes
    ----------
    measures
        Columns ``dataset, prior, control, seed, measure, value``: every measure of every fit.
    summary
        Columns ``dataset, prior, control`` and the mean over seeds of each measure; rows with an
        empty ``dataset`` are means over data sets.
    paired
        Columns ``prior, against, kind, measure, difference, low, high, data_sets, pairs, won``:
        priors against the ``reference``, their ``own control`` (genes permuted) and, by accuracy,
        ``its prior alone``. Differences of ``density``, and of ``density_states`` where whole
        states of cells are left out, are in nats per measured value, ``log_bayes_factor`` in nats.
    changes
        Columns ``dataset, prior, source, target, prior_mean, weight, change``.
    reference
        The prior that others are compared with.
    curves
        Columns ``dataset, prior, control, strength, log_bayes_factor``: of exact fits whose prior
        has a mean, against the same prior without it.
    """

    measures: pd.DataFrame
    summary: pd.DataFrame
    paired: pd.DataFrame
    changes: pd.DataFrame
    reference: str
    curves: pd.DataFrame = pd.DataFrame()


def summarise(outcomes: list[Outcome], priors: list[str], reference: str) -> Comparison:
    """Put outcomes together.

    Parameters
    ----------
    outcomes
        In any order.
    priors
        Order of the priors in tables.
    reference
        Which of them the others are compared with.
    """
    ordered = sorted(outcomes, key=lambda o: (o.data, priors.index(o.prior), PARTS.index(o.part)))
    rows = [(o.data, o.prior, o.part == "control", *found) for o in ordered for found in o.numbers]
    measures = pd.DataFrame(rows, columns=pd.Index(COLUMNS))
    changed = [{"dataset": o.data, "prior": o.prior, **row} for o in ordered for row in o.changes]
    curves = [(o.data, o.prior, o.part == "control", *at) for o in ordered for at in o.curve]
    return Comparison(
        measures,
        _summary(measures, priors),
        _paired(ordered, priors, reference),
        pd.DataFrame(changed),
        reference,
        pd.DataFrame(curves, columns=pd.Index(CURVES)),
    )


def verdict(row: dict[str, Any]) -> str:
    """Say where an interval lies."""
    if not np.isfinite([row["low"], row["high"]]).all():
        return "unknown"
    return "better" if row["low"] > 0 else "worse" if row["high"] < 0 else "level"


def paired_density(
    own: list[Outcome], other: list[Outcome], rng: np.random.Generator
) -> dict[str, Any]:
    """Compare the held-out densities of two priors, cell by cell.

    Each draw takes cells with replacement, and n - 1 of a data set's n seeds (which makes the
    variance of the mean unbiased; one seed stays).

    Parameters
    ----------
    own, other
        Outcomes of the two, of the same data sets.
    rng
        Draws.
    """
    theirs = {outcome.data: outcome for outcome in other}
    means, draws, pairs, won = [], [], 0, 0
    for outcome in own:
        table = _differences(outcome, theirs[outcome.data])
        if table.size:
            means.append(np.nanmean(table))
            draws.append(_bootstrap(table, rng))
            pairs += int(np.isfinite(table).sum())
            won += int((table > 0).sum())
    low, high = draws_interval(np.mean(draws, axis=0) if draws else np.empty(0))
    return {
        "difference": float(np.mean(means)) if means else np.nan,
        "low": low,
        "high": high,
        "data_sets": len(means),
        "pairs": pairs,
        "won": won,
    }


def bayes_factor(
    own: list[Outcome], other: list[Outcome], rng: np.random.Generator
) -> dict[str, Any]:
    """Compare the evidence of two priors: log Bayes factors in nats, summed over targets.

    Draws take targets with replacement.

    Parameters
    ----------
    own, other
        Outcomes of the two, of the same data sets.
    rng
        Draws.
    """
    theirs = {outcome.data: outcome for outcome in other}
    gains = [np.subtract(o.evidence, theirs[o.data].evidence) for o in own]
    taken = [
        rng.multinomial(len(each), np.full(len(each), 1 / len(each)), BOOTSTRAP) for each in gains
    ]
    low, high = draws_interval(np.mean([t @ g for t, g in zip(taken, gains, strict=True)], axis=0))
    return {
        "difference": float(np.mean([each.sum() for each in gains])),
        "low": low,
        "high": high,
        "data_sets": len(gains),
        "pairs": sum(map(len, gains)),
        "won": int(sum((each > 0).sum() for each in gains)),
    }


def _differences(own: Outcome, other: Outcome) -> Float[np.ndarray, "seeds cells"]:
    """Lay differences out by seed and cell; NaN where a seed has not scored a cell."""
    rows = [
        dict(zip(names, np.subtract(a, b), strict=True))
        for names, same, a, b in zip(
            own.cells, other.cells, own.density, other.density, strict=True
        )
        if names and names == same
    ]
    return pd.DataFrame(rows).to_numpy(np.float64)


def _bootstrap(
    table: Float[np.ndarray, "seeds cells"], rng: np.random.Generator
) -> Float[np.ndarray, " draws"]:
    n_seeds, n_cells = table.shape
    known = np.isfinite(table)
    seeds = rng.multinomial(max(n_seeds - 1, 1), np.full(n_seeds, 1 / n_seeds), BOOTSTRAP)
    cells = rng.multinomial(n_cells, np.full(n_cells, 1 / n_cells), BOOTSTRAP)
    total = np.einsum("ds,sc,dc->d", seeds, np.where(known, table, 0.0), cells, optimize=True)
    count = np.einsum("ds,sc,dc->d", seeds, known.astype(float), cells, optimize=True)
    return np.divide(total, count, out=np.full(BOOTSTRAP, np.nanmean(table)), where=count > 0)


def _summary(measures: pd.DataFrame, priors: list[str]) -> pd.DataFrame:
    by = ["dataset", "prior", "control"]
    each = measures.pivot_table(index=by, columns="measure", values="value", sort=False)
    over = each.groupby(["prior", "control"], sort=False).mean().reset_index()
    table = pd.concat([each.reset_index(), over.assign(dataset="")], ignore_index=True)
    table["order"] = [priors.index(name) for name in table["prior"]]
    table = table.sort_values(["dataset", "order", "control"], ignore_index=True)
    names = [name for name in dict.fromkeys(measures["measure"]) if name in table]
    return pd.DataFrame(table[[*by, *names]])


def _paired(outcomes: list[Outcome], priors: list[str], reference: str) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    parts = {
        (prior, part): [o for o in outcomes if (o.prior, o.part) == (prior, part)]
        for prior in priors
        for part in ("whole", "control")
    }
    rows = []
    for prior in priors:
        own, control = parts[prior, "whole"], parts[prior, "control"]
        pairs = [(REFERENCE, reference, parts[reference, "whole"])] if prior != reference else []
        pairs += [(CONTROL, prior + SHUFFLED, control)] if control else []
        for kind, against, other in pairs:
            row = {"prior": prior, "against": against, "kind": kind}
            rows.append(row | {"measure": DENSITY} | paired_density(own, other, rng))
            if all(outcome.evidence for outcome in [*own, *other]):
                ours, theirs = ([o._replace(density=o.states) for o in x] for x in (own, other))
                rows.append(row | {"measure": STATES} | paired_density(ours, theirs, rng))
                rows.append(row | {"measure": BAYES} | bayes_factor(own, other, rng))
    rows += _paired_accuracy(outcomes, priors, reference)
    return pd.DataFrame(rows, columns=pd.Index(PAIRED))


def _paired_accuracy(
    outcomes: list[Outcome], priors: list[str], reference: str
) -> list[dict[str, Any]]:
    cells = [cell for outcome in outcomes for cell in outcome.scored]
    data_sets: dict[str, set[str]] = {}
    for cell in cells:
        data_sets.setdefault(cell.at.method, set()).add(cell.at.dataset)
    rows = []
    for prior in priors:
        for kind, against in (
            (REFERENCE, reference),
            (CONTROL, prior + SHUFFLED),
            (READ_OUT, prior + PRIOR_ONLY),
        ):
            if prior == against or not {prior, against} <= data_sets.keys():
                continue
            for measure in (HEADLINE, "auprc"):
                for found in paired(cells, prior, against, measure).to_dict("records"):
                    rows.append(
                        {
                            "prior": prior,
                            "against": against,
                            "kind": kind,
                            "measure": measure,
                            "difference": found["difference"],
                            "low": found["difference_low"],
                            "high": found["difference_high"],
                            "data_sets": len(data_sets[prior] & data_sets[against]),
                            "pairs": found["pairs"],
                            "won": found["won"],
                        }
                    )
    return rows
