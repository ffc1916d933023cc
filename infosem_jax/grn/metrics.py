"""Agreement of scored edges with a known network, pooled and for each regulator.

One ranking of the candidates serves every metric: highest score first, unscored pairs last, ties
in an order drawn by the seed. With ``hits_k`` the true edges among the first ``k`` of ``n``
candidates, ``P`` the true edges in all and ``base_rate = P / n``:

=============== =====================================================================
metric          value
=============== =====================================================================
auprc           average precision, ``mean over true edges of hits_k / k`` at their rank
auprc_ratio     ``auprc / base_rate``
auroc           share of (true edge, other pair) couples in the right order
epr             ``(hits_P / P) / base_rate``, the early precision ratio
hit_at_1pct     ``hits_k / k`` for ``k = max(1, n // 100)``
=============== =====================================================================
"""

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from infosem_jax.grn.networks import Network, edges
from infosem_jax.scores import auroc

MIN_POSITIVES = 10
MIN_NEGATIVES = 10
# Draws of two true edges, see ``degree_matched``.
COUPLES = 20_000

UNIVERSE = (
    "Candidates are all pairs of a regulator with at least one known edge and a gene of the known "
    "network (sources and targets), without self pairs, ranked by {score}. Pairs without a score "
    "rank last; ties are broken at random by the seed. AUPRC is average precision, and its ratio "
    "is to the share of true edges. Per regulator: mean over regulators with at least "
    f"{MIN_POSITIVES} true edges and {MIN_NEGATIVES} other candidates."
)
LEFT_OUT = " Known edges from or to genes that the edge table does not hold were left out."


def evaluate(
    predicted: pd.DataFrame | Network,
    truth: pd.DataFrame,
    *,
    seed: int = 0,
    absolute: bool = True,
    scored_only: bool = False,
) -> dict[str, float | int | str]:
    """Score a network, or the edge table of any method, against a reference network.

    Parameters
    ----------
    predicted
        A network, or a table with columns ``source, target, weight`` and one row for each scored
        pair. A column ``score`` with values, higher for more likely edges, ranks in place of
        ``|weight|``. Pairs of genes that the reference does not hold are left
        aside, and so are self pairs.
    truth
        The reference. Columns ``source, target``. Where there is a column ``label``, only rows with
        a label above zero are edges; genes of the other rows are candidates as targets.
    seed
        Decides the order of pairs with the same score; the order of rows does not matter.
    absolute
        Rank by ``score`` or ``|weight|``; False ranks by the signed weight, so that only
        activation counts.
    scored_only
        Leave out edges of the reference from genes that are no source in the table, or to genes
        that it does not hold: for a reference of more genes than were measured. Tables that list
        some edges only, such as the strongest, are flattered by it.

    Returns
    -------
    dict
        Every metric of :func:`score_matrix`, and ``regulators``, ``genes`` (sizes of the candidate
        set) and ``universe`` (the rules above in words).

    Raises
    ------
    ValueError
        If columns are missing, weights are not finite, a pair occurs twice, the reference has no
        edge, or no scored pair is a candidate.

    Examples
    --------
    >>> pairs = [("A", "C", 0.9), ("A", "D", -0.2), ("B", "C", 0.1), ("B", "D", 0.4)]
    >>> predicted = pd.DataFrame(pairs, columns=["source", "target", "weight"])
    >>> truth = pd.DataFrame([("A", "C"), ("B", "D")], columns=["source", "target"])
    >>> evaluate(predicted, truth)["auroc"]
    1.0
    """
    table = edges(predicted) if isinstance(predicted, Network) else predicted
    if scored_only:
        truth = _scored(truth, table)
    positive = _known_edges(truth)
    regulators = sorted(set(positive["source"]))
    genes = sorted(set(truth["source"].astype(str)) | set(truth["target"].astype(str)))
    has_scores = "score" in table and bool(table["score"].notna().any())
    by = "score" if absolute and has_scores else "weight"
    scores = _scores(table, regulators, genes, by, absolute and by == "weight")
    known = np.zeros(scores.shape, bool)
    row = pd.Index(regulators).get_indexer(positive["source"])
    known[row, pd.Index(genes).get_indexer(positive["target"])] = True
    candidate = np.asarray(regulators)[:, None] != np.asarray(genes)
    if np.isnan(scores[candidate]).all():
        raise ValueError(_no_overlap(table, regulators, genes))
    ranked_by = "score" if by == "score" else "|weight|" if absolute else "signed weight"
    return {
        **score_matrix(scores, known, candidate, seed),
        "regulators": len(regulators),
        "genes": len(genes),
        "universe": UNIVERSE.replace("{score}", ranked_by) + LEFT_OUT * scored_only,
    }


def score_matrix(
    scores: Float[np.ndarray, "regulators genes"],
    truth: Bool[np.ndarray, "regulators genes"],
    candidate: Bool[np.ndarray, "regulators genes"],
    seed: int = 0,
) -> dict[str, float | int]:
    """Compute every metric from a matrix of scores.

    The ``regulator_mean`` and ``target_mean`` ratios replace each score by the mean over its row or
    column, which keeps what a method says about whole regulators or targets and removes what it
    says about their pairs. In these means an unscored pair counts as zero, or as the lowest score
    where that is below zero.

    Parameters
    ----------
    scores
        Larger means a more likely edge, [regulators, genes]; NaN where there is no score.
    truth
        The known edges, [regulators, genes].
    candidate
        Which pairs are ranked, [regulators, genes].
    seed
        Decides the order of ties, together with the order of the rows and columns.

    Returns
    -------
    dict
        ``auprc, auprc_ratio, auroc, epr, hit_at_1pct``; the same with ``_per_regulator``, NaN where
        no regulator has enough edges; ``auprc_ratio_per_regulator_se``, its standard error over
        regulators, and ``auprc_ratio_per_regulator_chance``, what an order at random gives on
        average, which is above 1 since few edges can come early by luck;
        ``auprc_ratio_regulator_mean``, ``auprc_ratio_target_mean``;
        ``auroc_degree_matched``, see ``degree_matched``; the counts ``candidates,
        positives, regulators_scored, unscored_pairs``; and ``base_rate``.

    Raises
    ------
    ValueError
        If the candidates do not hold both a true edge and another pair.
    """
    known = truth & candidate
    n, positives = int(candidate.sum()), int(known.sum())
    if not 0 < positives < n:
        raise ValueError(
            f"Expected true edges and other pairs among the candidates, found {positives} true "
            f"edges in {n} candidates; check that the known network covers these genes."
        )
    rank = rank_candidates(scores, candidate, seed)
    pooled = _metrics(rank.reshape(1, -1), known.reshape(1, -1), np.array([n]))

    by_regulator, row_size = known.sum(1), candidate.sum(1)
    enough = scored_regulators(truth, candidate)
    rows = _metrics(rank[enough], known[enough], row_size[enough])

    means = {}
    for name, axis in (("regulator", 1), ("target", 0)):
        mean_rank = rank_candidates(_means(scores, candidate, axis), candidate, seed)
        metrics = _metrics(mean_rank.reshape(1, -1), known.reshape(1, -1), np.array([n]))
        means[f"auprc_ratio_{name}_mean"] = float(metrics["auprc_ratio"][0])
    return {
        **{key: float(values[0]) for key, values in pooled.items()},
        **{f"{key}_per_regulator": _mean(values) for key, values in rows.items()},
        "auprc_ratio_per_regulator_se": _standard_error(rows["auprc_ratio"]),
        "auprc_ratio_per_regulator_chance": _mean(_chance(by_regulator[enough], row_size[enough])),
        **means,
        "auroc_degree_matched": degree_matched(rank, truth, candidate, seed),
        "candidates": n,
        "positives": positives,
        "base_rate": positives / n,
        "regulators_scored": int(enough.sum()),
        "unscored_pairs": int(np.isnan(scores[candidate]).sum()),
    }


def degree_matched(
    rank: Int[np.ndarray, "regulators genes"],
    truth: Bool[np.ndarray, "regulators genes"],
    candidate: Bool[np.ndarray, "regulators genes"],
    seed: int = 0,
) -> float:
    """Return the AUROC among true edges and as many other pairs of the same regulators and targets.

    Two true edges whose exchange of targets gives two pairs that are none make two positives and
    two negatives, so that every regulator and every target is as often in one as in the other: what
    a score says of whole regulators or of whole targets is worth 0.5. Couples are drawn by the
    seed; NaN where there are none.

    Parameters
    ----------
    rank
        Place of each candidate, see :func:`rank_candidates`.
    truth, candidate, seed
        As in :func:`score_matrix`.
    """
    row, column = np.nonzero(truth & candidate)
    one, two = np.random.default_rng(seed).integers(len(row), size=(2, COUPLES))
    other = candidate & ~truth
    at = other[row[one], column[two]] & other[row[two], column[one]]
    one, two = one[at], two[at]
    places = [
        (row[one], column[one]),
        (row[two], column[two]),
        (row[one], column[two]),
        (row[two], column[one]),
    ]
    score = -np.concatenate([rank[place] for place in places]).astype(float)
    return float(auroc(score, np.arange(len(score)) < len(score) // 2))


def rank_candidates(
    scores: Float[np.ndarray, "regulators genes"],
    candidate: Bool[np.ndarray, "regulators genes"],
    seed: int = 0,
) -> Int[np.ndarray, "regulators genes"]:
    """Place each candidate in the one ranking that all metrics are of, 0 for the highest score.

    Parameters
    ----------
    scores, candidate, seed
        As in :func:`score_matrix`. Pairs that are no candidates have the last rank and one more.
    """
    tie = np.random.default_rng(seed).permutation(int(candidate.sum()))
    order = np.lexsort((tie, -scores[candidate]))  # NaN sorts to the end
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    rank = np.full(scores.shape, len(order))
    rank[candidate] = place
    return rank


def scored_regulators(
    truth: Bool[np.ndarray, "regulators genes"], candidate: Bool[np.ndarray, "regulators genes"]
) -> Bool[np.ndarray, " regulators"]:
    """Tell which regulators have enough true edges and other pairs for a score of their own."""
    positives = (truth & candidate).sum(1)
    return (positives >= MIN_POSITIVES) & (candidate.sum(1) - positives >= MIN_NEGATIVES)


def regulator_ratios(
    rank: Int[np.ndarray, "regulators genes"],
    truth: Bool[np.ndarray, "regulators genes"],
    candidate: Bool[np.ndarray, "regulators genes"],
) -> Float[np.ndarray, " scored"]:
    """Return the AUPRC ratio of each of the :func:`scored_regulators`, from the common ranking.

    Parameters
    ----------
    rank
        Place of each candidate, see :func:`rank_candidates`.
    truth, candidate
        As in :func:`score_matrix`.
    """
    enough = scored_regulators(truth, candidate)
    known = truth[enough] & candidate[enough]
    return _metrics(rank[enough], known, candidate[enough].sum(1))["auprc_ratio"]


def _metrics(
    rank: Int[np.ndarray, "rows pairs"],
    truth: Bool[np.ndarray, "rows pairs"],
    size: Int[np.ndarray, " rows"],
) -> dict[str, np.ndarray]:
    """Metrics of each row, whose candidates are its first ``size`` pairs by rank."""
    hit = np.take_along_axis(truth, np.argsort(rank, axis=1), axis=1)
    hits = hit.cumsum(1)
    k = np.arange(1, rank.shape[1] + 1)
    positives = truth.sum(1)
    base_rate = positives / size
    row, one_percent = np.arange(len(rank)), np.maximum(1, size // 100)
    auprc = (hit * (hits / k)).sum(1) / positives
    negatives_ahead = (hit * (k - hits)).sum(1)
    return {
        "auprc": auprc,
        "auprc_ratio": auprc / base_rate,
        "auroc": 1 - negatives_ahead / (positives * (size - positives)),
        "epr": hits[row, positives - 1] / positives / base_rate,
        "hit_at_1pct": hits[row, one_percent - 1] / one_percent,
    }


def _chance(
    positives: Int[np.ndarray, " rows"], size: Int[np.ndarray, " rows"]
) -> Float[np.ndarray, " rows"]:
    """Mean AUPRC ratio of an order at random.

    With ``H_n = 1 + 1/2 + ... + 1/n``, the mean of average precision over all orders of ``n`` pairs
    with ``P`` true ones is ``H_n / n + (1 - H_n / n) (P - 1) / (n - 1)``.
    """
    harmonic = np.cumsum(1 / np.arange(1, size.max(initial=1) + 1))[size - 1]
    first = harmonic / size
    return (first + (1 - first) * (positives - 1) / (size - 1)) / (positives / size)


def _means(
    scores: Float[np.ndarray, "regulators genes"],
    candidate: Bool[np.ndarray, "regulators genes"],
    axis: int,
) -> Float[np.ndarray, "regulators genes"]:
    """Replace each score by the mean over the candidates along an axis."""
    unscored = np.isnan(scores) & candidate
    lowest = min(0.0, float(np.min(scores, where=candidate & ~unscored, initial=0.0)))
    filled = np.where(candidate, np.where(unscored, lowest, scores), 0.0)
    mean = filled.sum(axis, keepdims=True) / np.maximum(candidate.sum(axis, keepdims=True), 1)
    # Means over rows of different length that are equal must tie, whatever their last digit.
    scale = max(float(np.abs(mean).max()), np.finfo(float).tiny)
    return np.broadcast_to(np.round(mean / scale, 12), scores.shape)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else float("nan")


def _known_edges(network: pd.DataFrame) -> pd.DataFrame:
    _check_columns(network, ("source", "target"), "The known network")
    if "label" in network:
        network = network.loc[np.asarray(pd.to_numeric(network["label"])) > 0]
    pairs = network.loc[:, ["source", "target"]].astype(str)
    pairs = pairs.loc[pairs["source"] != pairs["target"]]
    if len(pairs) == 0:
        raise ValueError(
            "The known network holds no edge between two different genes; give rows of source, "
            "target (with label > 0 where there are labels)."
        )
    return pairs


def _scored(network: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a network between genes of an edge table; all of them where none is."""
    for what, one in (("The known network", network), ("The edge table", table)):
        _check_columns(one, ("source", "target"), what)
    regulators = set(table["source"].astype(str))
    genes = regulators | set(table["target"].astype(str))
    pairs = zip(network["source"].astype(str), network["target"].astype(str), strict=True)
    kept = np.array([a in regulators and b in genes for a, b in pairs], bool)
    return network.loc[kept] if kept.any() else network


def _scores(
    table: pd.DataFrame, regulators: list[str], genes: list[str], by: str, absolute: bool
) -> Float[np.ndarray, "regulators genes"]:
    """Matrix of scores, NaN where the table holds none."""
    _check_columns(table, ("source", "target", by), "The edge table")
    source, target = table["source"].astype(str), table["target"].astype(str)
    weight = np.asarray(pd.to_numeric(table[by], errors="coerce"), np.float64)
    for what, bad, remedy in (
        (f"a {by} that is no finite number", ~np.isfinite(weight), "leave out unscored pairs"),
        (
            "a pair that came before",
            pd.MultiIndex.from_arrays([source, target]).duplicated(),
            "keep one row for each pair",
        ),
    ):
        if bad.any():
            i = int(np.flatnonzero(bad)[0])
            raise ValueError(
                f"{bad.sum()} rows of the edge table have {what} (first: {source.iloc[i]} to "
                f"{target.iloc[i]}, {table[by].iloc[i]}); {remedy}."
            )
    row, column = pd.Index(regulators).get_indexer(source), pd.Index(genes).get_indexer(target)
    inside = (row >= 0) & (column >= 0)
    scores = np.full((len(regulators), len(genes)), np.nan)
    scores[row[inside], column[inside]] = (np.abs(weight) if absolute else weight)[inside]
    return scores


def _check_columns(table: pd.DataFrame, columns: tuple[str, ...], what: str) -> None:
    missing = [column for column in columns if column not in table]
    if missing:
        raise ValueError(
            f"{what} lacks {', '.join(missing)}: expected columns {', '.join(columns)}, found "
            f"{', '.join(map(str, table.columns))}."
        )


def _no_overlap(table: pd.DataFrame, regulators: list[str], genes: list[str]) -> str:
    sources, targets = table["source"].astype(str), table["target"].astype(str)
    upper = {name.upper() for name in sources} & {name.upper() for name in regulators}
    reason = (
        f"{len(upper)} sources match known regulators when case is ignored: is one table human "
        "(upper case) and the other mouse (capitalised)?"
        if upper and not set(sources) & set(regulators)
        else "Check that both use the same kind of gene name, and that source is the regulator."
    )
    return (
        f"None of the {len(table)} scored pairs is a candidate: they look like "
        f"{', '.join(f'{a} to {b}' for a, b in zip(sources[:2], targets[:2], strict=True))}; "
        f"known regulators look like {', '.join(regulators[:3])} and known genes like "
        f"{', '.join(genes[:3])}. {reason}"
    )
