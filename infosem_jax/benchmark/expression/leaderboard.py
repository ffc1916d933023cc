"""What readers of the benchmark see: ``table.md``, plots, and ``report.html``."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from infosem_jax.benchmark.expression.cells import STORE, Cell
from infosem_jax.benchmark.expression.compare import (
    HEADLINES,
    Group,
    against_best,
    gains_of_labels,
    group_of,
    ranks,
)
from infosem_jax.benchmark.table import board, gap_texts, spread_text, summary
from infosem_jax.expression.methods import CONTROLS
from infosem_jax.outputs.page import Page, Picture, Section, Table, number, seconds
from infosem_jax.outputs.style import draw_pairs

if TYPE_CHECKING:
    from infosem_jax.expression._figures import Curve

MAIN = "rank_correlation"
ALL_METRICS = {
    **HEADLINES,
    "rank_correlation_bing": "Ranks, best inferred",
    "gene_recall": "Recall",
    "r95_percent": "Recall ≥ 95 %",
    "r99_percent": "Recall ≥ 99 %",
    "gene_r2": "R² per gene",
    "spearman": "Spearman of a sample",
    "pearson": "Pearson of a sample",
    "smape": "SMAPE",
    "auroc": "AUROC",
    "error": "Error",
    "within_90": "Within 90 %",
    "seconds": "Seconds",
}
_DIGITS = {"r95_percent": 1, "r99_percent": 1, "smape": 1, "error": 3, "within_90": 2}

RULES = {
    "What is inferred": (
        "On one platform, all genes outside the pool that inputs are chosen from; so every number "
        "of inputs is tested on the same genes. Across platforms, all genes of the other platform."
    ),
    "Inputs": (
        "all: the whole pool. random:N, first:N, lasso:N, greedy:N, gate:N: N genes, or a share, "
        "chosen from it on the training samples of each split. After +, labels of samples that "
        "methods are given as well. Without a list of landmarks the pool is drawn at random."
    ),
    "Truth": (
        "An arrow names the data that the truth of the test comes from, where it is another "
        "platform of the same samples, or another cohort. Methods never see the targets of test "
        "samples."
    ),
    "Correlation of gene ranks": (
        "The headline of Kim et al. (2025): each gene becomes its robust z over the test samples, "
        "genes are ranked in each sample, and ranks correlated; mean over samples. It is not "
        "defined of a method that infers the same for all samples."
    ),
    "Correlation per gene": (
        "Over the test samples, mean over genes whose truth varies; a constant inference counts 0."
    ),
    "Recall": (
        "Share of all pairs of different genes, one observed and one inferred, whose rank "
        "correlation is at or below the gene's own."
    ),
    "Learning from validation samples": (
        "mean, least_squares, ridge, knn, kernel and the parts of auto are fitted again to "
        "training and validation samples together once their settings are chosen, as their users "
        "would. graph (unless it has several members), mlp and trees stop by the validation "
        "samples and do not learn from them."
    ),
    "Intervals": (
        "95 % intervals of differences over seeds, on the same splits, pools and inputs, widened "
        "for what splits of the same samples share (Nadeau and Bengio 2003). “above” and “below” "
        "say that the whole interval lies there. The best other method is chosen by the scores "
        "that it is then compared with, which favours it. Of many comparisons without any "
        "difference, about one in forty is “above” by luck. In a cohort, all seeds share the test "
        "samples: intervals tell about the training, not about other cohorts."
    ),
    "Within 90 %": "Share of values within the stated 90 % interval; 0.9 is right.",
    "Seconds": "For learning and inferring once on the machine of this run, compilation included.",
}


def make_page(cells: Sequence[Cell], **told: Any) -> Page:
    """Bring cells into tables and figures, see `benchmark.table.board`."""
    table = summary(cells, STORE.folders)
    groups = sorted({group_of(cell.at) for cell in cells})
    contests = {metric: list(against_best(cells, metric)) for metric in HEADLINES}
    gains = {metric: list(gains_of_labels(cells, metric)) for metric in HEADLINES}
    sections = [_ranking(cells)]
    for group in groups:
        own = [cell for cell in cells if group_of(cell.at) == group]
        rows = table.loc[(table[list(Group._fields)] == list(group)).all(axis=1)]
        sections += _of_group(group, own, rows, contests, gains)
    return board(
        cells,
        "Benchmark of inferred expression",
        "How well do methods tell what the unmeasured genes of a sample express, and how many "
        "genes must be measured for it?",
        sections,
        counts={"test": len(groups), "choice of inputs": len({cell.at.genes for cell in cells})},
        rules=RULES,
        controls=CONTROLS,
        **told,
    )


def _ranking(cells: Sequence[Cell]) -> Section:
    found = {metric: ranks(cells, metric) for metric in HEADLINES}
    order = found[MAIN]["method"].tolist()
    order += [name for name in found["gene_pearson"]["method"] if name not in order]
    places = {metric: dict(zip(t["method"], t["rank"], strict=True)) for metric, t in found.items()}
    rows = [
        (name, [number(places[metric].get(name, np.nan), 2) for metric in HEADLINES])
        for name in order
    ]
    counted = max((int(t["places"].max()) for t in found.values() if len(t)), default=0)
    return Section(
        "Mean ranks",
        [f"Over {counted} data sets and choices of inputs that all methods have; 1 is the best."],
        tables=[Table("Method", list(HEADLINES.values()), rows)],
    )


def _of_group(
    group: Group,
    cells: Sequence[Cell],
    rows: pd.DataFrame,
    contests: Mapping[str, list],
    gains: Mapping[str, list],
) -> list[Section]:
    from infosem_jax.expression import _figures

    genes = _by_size(rows)
    order = _by_score(rows)
    train, valid, test, targets = (round(x) for x in np.mean([c.sizes for c in cells], axis=0))
    pictures = []
    for metric, label in HEADLINES.items():
        panels = _curves(rows, metric)
        if panels:
            caption = f"{label} against the number of measured genes, {group.title}."
            figure = _figures.accuracy(panels, label, sorted(order))
            pictures.append(Picture(figure, caption, wide=len(panels) > 1))
    top = [cell for cell in cells if cell.at.genes == genes[-1]]
    recalls = {
        name: np.concatenate([cell.recall for cell in top if cell.at.method == name])
        for name in sorted(order)
        if any(cell.at.method == name for cell in top)
    }
    caption = f"Share of genes by recall, inputs {genes[-1]}, {group.title}; all seeds."
    distribution = Picture(_figures.recall(recalls), caption)
    sections = [
        Section(
            group.title,
            [
                f"{train} training, {valid} validation and {test} test samples; {targets:,} genes "
                f"to infer. Columns are inputs."
            ],
            pictures,
            [_scores(rows, metric, order, genes) for metric in HEADLINES],
        ),
        Section(
            f"{group.title}: each method against the best other",
            tables=[_contests(contests[metric], group, metric) for metric in HEADLINES],
            folded=True,
        ),
    ]
    if any(at == group for found in gains.values() for at, *_ in found):
        sections.append(
            Section(
                f"{group.title}: what labels of samples add",
                tables=[_gains(gains[metric], group, metric) for metric in HEADLINES],
                folded=True,
            )
        )
    best = next(cell for name in order for cell in top if cell.at.method == name)
    return [
        *sections,
        Section(
            f"{group.title}: recall, and genes as observed and inferred",
            [f"The genes are shown as {best.at.method} infers them with seed {best.at.seed}."],
            [distribution, _observed(best)],
            folded=True,
        ),
        Section(
            f"{group.title}: all metrics",
            tables=[_all_metrics(rows, each, order) for each in genes],
            folded=True,
        ),
    ]


def _by_size(rows: pd.DataFrame) -> list[str]:
    """Order choices of inputs by their number; whole pools last."""
    size = rows.groupby("genes")["n_inputs"].mean()
    return sorted(size.index, key=lambda g: (size[g], g.startswith("all"), g.count("+"), g))


def _by_score(rows: pd.DataFrame) -> list[str]:
    """Order methods by their mean score; those without one last."""
    by = dict(list(rows.groupby("method")))
    score = {name: of[MAIN].mean() for name, of in by.items()}
    return sorted(map(str, by), key=lambda name: (np.isnan(score[name]), -score[name], name))


def _curves(rows: pd.DataFrame, metric: str) -> "dict[str, dict[str, Curve]]":
    """Return accuracy over numbers of inputs, for each way of choosing; whole pools end all."""
    from infosem_jax.expression._figures import Curve

    how, _, labels = zip(*(_parts(text) for text in rows["genes"]), strict=True)
    rows = rows.assign(how=how, labels=labels)
    panels: dict[str, dict[str, Curve]] = {}
    for kind, label in sorted(set(zip(how, labels, strict=True))):
        same = rows.loc[(rows["labels"] == label) & rows["how"].isin([kind, "all"])]
        if kind == "all" or same["n_inputs"].nunique() < 2:
            continue
        curves = {}
        learned = same.loc[same[metric].notna() & ~same["method"].isin(list(CONTROLS))]
        for method, of in learned.groupby("method"):
            of = of.sort_values("n_inputs")
            spread = of[f"{metric}_sd_seeds"].fillna(0)
            curves[str(method)] = Curve(
                of["n_inputs"].tolist(),
                of[metric].tolist(),
                (of[metric] - spread).tolist(),
                (of[metric] + spread).tolist(),
            )
        if curves:
            panels[f"{kind} + {label}" if label else str(kind)] = curves
    return panels


def _parts(text: str) -> tuple[str, str, str]:
    choice, _, labels = text.partition("+")
    how, _, amount = choice.partition(":")
    return how, amount, labels


def _scores(rows: pd.DataFrame, metric: str, order: Sequence[str], genes: Sequence[str]) -> Table:
    texts = {
        (row["method"], row["genes"]): spread_text(row, metric) for row in rows.to_dict("records")
    }
    values = [(name, [texts.get((name, choice), "–") for choice in genes]) for name in order]
    return Table("Method", list(genes), values, f"{HEADLINES[metric]}, ± sd over seeds")


def _contests(found: list, group: Group, metric: str) -> Table:
    rows = [
        (f"{method}, {genes}", [best, *gap_texts(gap)])
        for at, genes, method, best, gap in found
        if at == group
    ]
    columns = ["Best other", "Difference", "Won", "Verdict"]
    return Table("Method and inputs", columns, rows, HEADLINES[metric])


def _gains(found: list, group: Group, metric: str) -> Table:
    rows = [
        (f"{method}, {genes}", gap_texts(gap)) for at, genes, method, gap in found if at == group
    ]
    columns = ["Gain from labels", "Won", "Verdict"]
    return Table("Method and inputs", columns, rows, HEADLINES[metric])


def _all_metrics(rows: pd.DataFrame, genes: str, order: Sequence[str]) -> Table:
    by = {row["method"]: row for row in rows.loc[rows["genes"] == genes].to_dict("records")}
    values = []
    for method in order:
        if method in by:
            row = by[method]
            texts = [number(row[name], _DIGITS.get(name, 3)) for name in list(ALL_METRICS)[:-1]]
            values.append((method, [*texts, seconds(row["seconds"])]))
    return Table("Method", list(ALL_METRICS.values()), values, f"Inputs: {genes}")


def _observed(cell: Cell) -> Picture:
    values = cell.observed.T, cell.inferred.T, cell.sd.T
    labels = "Observed (units of the data)", "Inferred (units of the data)"
    caption = f"{', '.join(cell.shown)}: genes of middle to large variance; bars are stated sd."
    return Picture(draw_pairs(cell.shown, *values, labels=labels), caption, wide=True)
