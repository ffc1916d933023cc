"""What is written of anyone's predictions: scores of each perturbation, a summary, and a page."""

# pyright: reportOptionalSubscript=false
# That sparse arrays have a shape, their stubs do not say.

from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import pandas as pd

from infosem_jax._typing import Path
from infosem_jax.outputs.folder import to_json
from infosem_jax.outputs.page import Page, Picture, Section, Table, number, write_page
from infosem_jax.outputs.style import draw_pairs
from infosem_jax.perturbation.data import label
from infosem_jax.perturbation.evaluation import Evaluation
from infosem_jax.perturbation.panel import lower_is_better
from infosem_jax.perturbation.reports import CHANGES, SHOWN
from infosem_jax.perturbation.virtual_cell import NAMES

FILES = {
    "scores.csv": "scores of each perturbation: prediction, and mean response",
    "summary.csv": "their means, those of the mean response and the replicate, and placed scores",
    "summary.json": "the same, with what was matched",
    "config.toml": "all settings",
    "versions.json": "versions of the software, and the device",
    "report.html": "figures and how to read them",
}
CHANGE = {
    "pearson_delta": "Pearson of the change",
    "pearson_reference": "Pearson beyond the mean response",
    "wr2": "Weighted R²",
}
RECOVERY = {
    "pr_auc": "Average precision of significant genes",
    "de_recall": "Recall of significant genes",
    "overlap_at_50": "Overlap of the 50 strongest",
    "direction_match": "Right directions of significant genes",
}
READING = {
    "Placed": (
        "Between the mean response of the panel, predicted for all perturbations, 0, and a "
        "replicate, 1: one half of the cells against the other, each beside its own half of the "
        "controls. Above 1 is possible, as half of the cells are noisier than all. A dash stands "
        "where the replicate is not better than the mean response."
    ),
    "Perturbation discrimination": (
        "Share of the other perturbations whose observed effect is farther, by cosine, from the "
        "predicted one than the right one's; all perturbed genes are left out."
    ),
    "Direction fidelity": (
        "Genes called significant in the right direction, over the larger of the numbers of genes "
        "called and truly significant."
    ),
    "Direction reach": (
        "How deep into the truly significant genes, in the order of the prediction's confidence, "
        "nine in ten directions are right."
    ),
    "Jaccard of significant genes": "Genes called and truly significant, over those that are one.",
    "Error of fold changes": (
        "Sum of the errors of log2 fold changes over the sum of their sizes, of perturbations with "
        "at least 10 significant genes; 1 is no change."
    ),
    "Squared error of profiles": (
        "Squared error over the panel, over the squared size of the effects, noise of sampling "
        "taken off both by the jackknife; 1 is no change."
    ),
    "Tests": (
        "Wilcoxon's rank-sum test against the observed controls, adjusted by Benjamini and "
        "Hochberg within each perturbation, .05, of genes above 5 counts per million in the "
        "controls. Of profiles, control cells are drawn and moved to the predicted mean, as many "
        "as were observed."
    ),
}


def summary(evaluation: Evaluation) -> pd.DataFrame:
    """Return measures in rows: prediction, mean response, replicate, its deviation, placed."""
    between = evaluation.bounds
    names = [*NAMES, *CHANGE, *RECOVERY]
    names += [name for name in evaluation.scores.metrics if name not in names]
    rows = [
        {
            "measure": name,
            "prediction": evaluation.scores.metrics[name],
            "mean_response": between.mean.metrics[name],
            "replicate": between.replicate[name],
            "replicate_sd": between.spread[name],
            "placed": evaluation.placed[name],
        }
        for name in names
    ]
    rows.insert(
        len(NAMES), {"measure": "virtual_cell", "placed": evaluation.placed["virtual_cell"]}
    )
    return pd.DataFrame(rows)


def write_evaluation(
    folder: Path, evaluation: Evaluation, record: Mapping[str, Any], versions: Mapping[str, str]
) -> None:
    """Write tables of scores and a page.

    Parameters
    ----------
    folder
        An existing folder.
    evaluation
        What was scored.
    record, versions
        Settings of the run, and of the software.
    """
    out, panel = FilePath(folder), evaluation.panel
    each = pd.DataFrame(
        {
            "perturbation": [label(genes) for genes in panel.perturbed],
            "n_cells": panel.n_cells,
            "n_de": evaluation.scores.n_de,
            **evaluation.scores.each,
            **{f"{k}_mean_response": v for k, v in evaluation.bounds.mean.each.items()},
        }
    )
    each.to_csv(out / "scores.csv", index=False)
    table = summary(evaluation)
    table.to_csv(out / "summary.csv", index=False)
    told = {"notes": list(evaluation.notes), "measures": table.to_dict("records")}
    (out / "summary.json").write_text(to_json(told), encoding="utf-8")
    write_page(out / "report.html", _page(evaluation, table, record, versions))


def headline_rows(evaluation: Evaluation) -> list[tuple[str, list[str]]]:
    """Return the main measures in words, for a table with the columns of `COLUMNS`."""
    rows = []
    for name, title in {**NAMES, **CHANGE, **RECOVERY}.items():
        better = " (lower is better)" if lower_is_better(name) else ""
        between = evaluation.bounds
        values = (evaluation.scores.metrics, between.mean.metrics, between.replicate)
        rows.append(
            (f"{title}{better}", [number(each[name]) for each in (*values, evaluation.placed)])
        )
        if name == list(NAMES)[-1]:
            score = number(evaluation.placed["virtual_cell"])
            rows.append(("Mean of the six, placed", ["", "", "", score]))
    return rows


COLUMNS = ("Prediction", "Mean response", "Replicate", "Placed")


def _page(
    evaluation: Evaluation,
    table: pd.DataFrame,
    record: Mapping[str, Any],
    versions: Mapping[str, str],
) -> Page:
    from infosem_jax.perturbation import _figures

    panel, scores, between = evaluation.panel, evaluation.scores, evaluation.bounds
    placed = {title: (evaluation.placed[name], np.nan) for name, title in NAMES.items()}
    placed = {title: pair for title, pair in placed.items() if np.isfinite(pair[0])}
    pictures = []
    if placed:
        caption = "The six measures between the mean response, 0, and a replicate, 1."
        pictures = [Picture(_figures.bars(placed, "Placed score"), caption)]
    change = panel.truth.change
    top = np.argsort(-np.square(change).sum(1), kind="stable")[:SHOWN]
    names = [label(panel.perturbed[i]) for i in top]
    own = {"prediction": scores.each["pearson_delta"], "mean": between.mean.each["pearson_delta"]}
    shown = draw_pairs(names, change[top], evaluation.predicted.change[top], labels=CHANGES)
    every = [
        (str(name), [number(value) for value in values])
        for name, *values in table.itertuples(index=False)
        if np.isfinite(values).any()
    ]
    return Page(
        "Predictions of perturbations, scored",
        "How near do predicted responses come to the observed ones, beyond the mean response?",
        [
            f"{len(panel.perturbed)} perturbations, {len(panel.genes):,} genes, "
            f"{panel.cells.x.shape[0]:,} observed cells and {panel.controls.x.shape[0]:,} controls."
        ],
        evaluation.notes,
        [
            Section(
                "Scores", pictures=pictures,
                tables=[Table("Measure", COLUMNS, headline_rows(evaluation))],
            ),
            Section(
                "Changes",
                pictures=[
                    Picture(shown, "The largest responses, predicted and observed.", wide=True),
                    Picture(
                        _figures.by_size(own, scores.n_de, "Pearson of the change"),
                        "Each perturbation, by how many genes it changes.",
                    ),
                ],
            ),
            Section(
                "All measures", folded=True,
                tables=[Table("Measure", list(table.columns[1:]), every)],
            ),
        ],
        {"How to read": READING, "Settings": record, "Files": FILES, "Versions": versions},
    )  # fmt: skip
