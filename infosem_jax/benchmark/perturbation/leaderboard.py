"""What readers of the benchmark see: ``table.md``, plots, and ``report.html``."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from infosem_jax.benchmark.perturbation.cells import STORE, Cell
from infosem_jax.benchmark.perturbation.compare import Group, against_best, by_method, headlines
from infosem_jax.benchmark.table import board, gap_texts, spread_text, summary
from infosem_jax.outputs.page import Page, Picture, Section, Table, number, seconds
from infosem_jax.outputs.style import draw_pairs
from infosem_jax.perturbation.methods import CONTROLS
from infosem_jax.perturbation.reports import CHANGES
from infosem_jax.perturbation.virtual_cell import NAMES

RULES = {
    "Truth": (
        "Methods never see responses to test perturbations. In leave_one_out and folds every "
        "perturbation is tested once, and all folds are scored together."
    ),
    "Affected": (
        "Scores named _affected are means over perturbations with at least 5 differentially "
        "expressed genes: those with none have no response to be predicted, only noise."
    ),
    "Pearson of the change": (
        "Correlation over genes of predicted and observed change against matched controls. The "
        "mean response of all perturbations already does well here."
    ),
    "Beyond the mean response": (
        "pearson_reference takes changes against the mean response of the training perturbations "
        "(Systema); the mean response has no correlation left. Weighted R² counts the genes that a "
        "perturbation changes in its own way: 0 is the mean response, 1 the truth."
    ),
    "Discrimination": (
        "Share of other perturbations whose observed response is farther from the predicted one "
        "than the right one's; the perturbed genes are left out. A prediction that is the same for "
        "all has 0.5 on average over all perturbations; over the affected ones it can be far from "
        "it, as a weak prediction is nearest to weak responses."
    ),
    "Differential expression": (
        "Truth and prediction share one definition: Wilcoxon's rank-sum test against the observed "
        "controls, adjusted by Benjamini and Hochberg. Cells of a prediction are observed control "
        "cells whose values are set to zero, or drawn from other control cells, until the mean is "
        "as predicted; as many as were observed. No method brings control cells of its own."
    ),
    "Virtual Cell setting of 2026": (
        "Its six measures on cells as they are here, logarithms: discrimination by cosine without "
        "all perturbed genes, direction fidelity, reach, Jaccard, error of fold changes and "
        "squared error of profiles (the last two: lower is better). In brackets between the mean "
        "response of all test perturbations, 0, and five replicates of half the cells with their "
        "own controls, 1. infosem evaluate-perturbation does this for anyone's predictions."
    ),
    "Tables of signs": (
        "AUROC of each gene over the test perturbations for which it is known, then the mean over "
        "genes. The pooled AUROC is a warning, no score: how often each gene responds in general "
        "is enough for more than 0.95."
    ),
    "Calibrated": (
        "Between the mean response, 0, and the response in one half of the cells against that in "
        "the other, 1. Which genes are differentially expressed comes from all cells in both."
    ),
    "Intervals": (
        "95 %. Over seeds, widened where seeds draw other splits (Nadeau and Bengio 2003); and "
        "over tested perturbations, or genes, drawn anew. The best other method is chosen by the "
        "scores that it is compared with, which favours it."
    ),
}


def make_page(cells: Sequence[Cell], **told: Any) -> Page:
    """Bring cells into tables and figures, see `benchmark.table.board`."""
    table = summary(cells, STORE.folders)
    sections: list[Section] = []
    for group, methods in by_method(cells):
        rows = table.loc[(table[list(Group._fields)] == list(group)).all(axis=1)]
        sections += _of_group(group, methods, rows)
    return board(
        cells,
        "Benchmark of predicted responses",
        "How well is the response to a perturbation predicted that was never seen, beyond the mean "
        "response of all perturbations?",
        sections,
        counts={"data set": len({cell.at.dataset for cell in cells})},
        rules=RULES,
        controls=CONTROLS,
        **told,
    )


def _of_group(group: Group, methods: Mapping[str, list[Cell]], rows: pd.DataFrame) -> list[Section]:
    from infosem_jax.perturbation import _figures

    every = [cell for of in methods.values() for cell in of]
    main = headlines(every)
    first = next(iter(main))
    order = rows.sort_values(first, ascending=False, na_position="last")["method"].tolist()
    by = {row["method"]: row for row in rows.to_dict("records")}
    train, test, genes = every[0].sizes
    pictures = []
    for metric, label in main.items():
        values = {name: (by[name][metric], by[name][f"{metric}_sd_seeds"]) for name in order}
        values = {name: pair for name, pair in values.items() if np.isfinite(pair[0])}
        caption = f"{label}, {group.title}; bars are deviations over seeds."
        if values:
            pictures.append(Picture(_figures.bars(values, label), caption))
    columns = list(main)
    scores = Table(
        "Method",
        [*main.values(), "Seconds"],
        [
            (name, [*(spread_text(by[name], m) for m in columns), seconds(by[name]["seconds"])])
            for name in order
        ],
        "Mean over seeds, ± deviation",
    )
    sections = [
        Section(
            group.title,
            [f"{train} perturbations to learn from, {test} for the test; {genes:,} genes."],
            pictures,
            [scores],
        ),
        Section(
            f"{group.title}: each method against the best other",
            tables=[_contests(every, metric, main[metric]) for metric in columns],
            folded=True,
        ),
        *_virtual_cell(group, by, order),
        Section(
            f"{group.title}: all measures",
            tables=[_all(rows, order)],
            folded=True,
        ),
    ]
    # The replicate is no prediction, and bounds what can be had.
    ranked = [name for name in order if name != "replicate"]
    shown = next((methods[name][0] for name in ranked if methods[name][0].shown), None)
    if shown is not None:
        sections.insert(1, _shown(group, shown, methods, ranked))
    return sections


def _shown(
    group: Group, cell: Cell, methods: Mapping[str, list[Cell]], order: Sequence[str]
) -> Section:
    from infosem_jax.perturbation import _figures

    name = "pearson_delta"
    own = {
        method: methods[method][0].each[methods[method][0].each_names.index(name)]
        for method in order[:5]
        if methods[method][0].names == cell.names
    }
    return Section(
        f"{group.title}: perturbations one by one",
        pictures=[
            Picture(
                draw_pairs(cell.shown, cell.observed, cell.predicted, labels=CHANGES),
                f"The largest responses, as {cell.at.method} predicts them.",
                wide=True,
            ),
            Picture(
                _figures.by_size(own, cell.n_de, "Pearson of the change"),
                "Each perturbation, by how many genes it changes; the five best methods.",
            ),
        ],
        folded=True,
    )


def _virtual_cell(
    group: Group, by: Mapping[str, Mapping[Any, Any]], order: Sequence[str]
) -> list[Section]:
    """List the six measures of the Virtual Cell setting of 2026, where there are cells."""
    if "virtual_cell" not in by[order[0]]:
        return []
    rows = [
        (
            name,
            [
                *(f"{number(by[name][m])} ({number(by[name][f'{m}_calibrated'])})" for m in NAMES),
                number(by[name]["virtual_cell"]),
            ],
        )
        for name in order
    ]
    title = f"{group.title}: the Virtual Cell setting of 2026"
    table = Table("Method", [*NAMES.values(), "Mean of the six, placed"], rows)
    return [Section(title, tables=[table])]


def _contests(cells: Sequence[Cell], metric: str, label: str) -> Table:
    rows = []
    for _, method, best, gap, (low, high) in against_best(cells, metric):
        difference, *verdict = gap_texts(gap)
        over = f"[{number(low, 4, sign=True)}, {number(high, 4, sign=True)}]"
        rows.append((method, [best, difference, over, *verdict]))
    columns = ["Best other", "Difference over seeds", "Over what is tested", "Won", "Verdict"]
    return Table("Method", columns, rows, label)


def _all(rows: pd.DataFrame, order: Sequence[str]) -> Table:
    """List every measure: measures in rows, since there are many."""
    skip = {*Group._fields, "method", "seeds"}
    metrics = [n for n in rows if n not in skip and not str(n).endswith("_sd_seeds")]
    by = {row["method"]: row for row in rows.to_dict("records")}
    values = [
        (str(name), [number(by[method][name]) for method in order])
        for name in metrics
        if np.isfinite(rows[name].to_numpy(float)).any()
    ]
    return Table("Measure", list(order), values)
