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

from infosem_jax.compare.measures import PRIOR_ONLY, SHUFFLED, Outcome
from infosem_jax.grn.paired import HEADLINE, paired
from infosem_jax.scores import draws_interval

DENSITY = "density"
PAIRED = (
    *("prior", "against", "kind", "measure", "difference", "low", "high"),
    *("data_sets", "pairs", "won"),
)
COLUMNS = ("dataset", "prior", "control", "seed", "measure", "value")
BOOTSTRAP = 2000
PARTS = ("whole", "halves", "control")
CONTROL, REFERENCE, READ_OUT = "own control", "reference", "its prior alone"


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
        ``its prior alone``. Differences of ``density`` are in nats per measured value.
    changes
        Columns ``dataset, prior, source, target, prior_mean, weight, change``.
    reference
        The prior that others are compared with.
    """

    measures: pd.DataFrame
    summary: pd.DataFrame
    paired: pd.DataFrame
    changes: pd.DataFrame
    reference: str


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
    return Comparison(
        measures,
        _summary(measures, priors),
        _paired(ordered, priors, reference),
        pd.DataFrame(changed),
        reference,
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
            row = {"prior": prior, "against": against, "kind": kind, "measure": DENSITY}
            rows.append(row | paired_density(own, other, rng))
    rows += _paired_accuracy(outcomes, priors, reference)
    return pd.DataFrame(rows, columns=pd.Index(PAIRED))


def _paired_accuracy(
    outcomes: list[Outcome], priors: list[str], reference: str
) -> list[dict[str, Any]]:
    cells = [cell for outcome in outcomes for cell in outcome.scored]
    there = {cell.at.method for cell in cells}
    rows = []
    for prior in priors:
        for kind, against in (
            (REFERENCE, reference),
            (CONTROL, prior + SHUFFLED),
            (READ_OUT, prior + PRIOR_ONLY),
        ):
            if prior == against or not {prior, against} <= there:
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
                            "data_sets": _data_sets(cells, prior, against),
                            "pairs": found["pairs"],
                            "won": found["won"],
                        }
                    )
    return rows


def _data_sets(cells: list, prior: str, against: str) -> int:
    of = {
        name: {cell.at.dataset for cell in cells if cell.at.method == name}
        for name in (prior, against)
    }
    return len(of[prior] & of[against])
