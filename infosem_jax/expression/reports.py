"""What is written of a fit or of a choice of inputs: tables, and pages with figures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from infosem_jax.expression.fitting import Fitted
from infosem_jax.expression.selection import Selection
from infosem_jax.expression.task import Prediction, Problem, unscale
from infosem_jax.outputs.explorer import explore
from infosem_jax.outputs.page import Page, Picture, Section, Table, number
from infosem_jax.outputs.style import draw_pairs

SHOWN = 8
LISTED = 200
READING = {
    "pearson": "Correlation of observed and inferred values over the test samples.",
    "recall": (
        "Share of all pairs of different genes, one observed and one inferred, whose rank "
        "correlation is at or below the gene's own. 0.95 and more is called well inferred."
    ),
    "sd": "Mean of the standard deviations that the model states, in units of the data.",
    "within_90": "Share of test samples within 1.64 stated standard deviations; 0.9 is right.",
}


def fit_page(
    problem: Problem,
    prediction: Prediction,
    fitted: Fitted,
    table: pd.DataFrame,
    *,
    genes: Sequence[str] = (),
    notes: Sequence[str] = (),
    facts: Mapping[str, Mapping[str, Any]],
) -> Page:
    """Report how well a fit infers the test samples.

    Parameters
    ----------
    problem, prediction
        What was fitted, and its test samples as inferred, in units of the data.
    fitted
        The fit.
    table
        Of `trust_table`.
    genes
        Genes to show as observed and inferred; some from the worst to the best where empty.
    notes
        Warnings.
    facts
        Settings and versions.

    """
    from infosem_jax.expression import _figures

    ordered = table.sort_values("recall", kind="stable")
    if not genes:
        places = np.linspace(0, len(ordered) - 1, min(SHOWN, len(ordered))).round().astype(int)
        genes = ordered["gene"].iloc[places].tolist()
    truth = unscale(Prediction(problem.y_test), problem.y_scaling).mean
    sd = np.full_like(truth, np.nan) if prediction.sd is None else prediction.sd
    at = [problem.task.targets.index(gene) for gene in genes]
    shown = (part[:, at].T for part in (truth, prediction.mean, sd))
    labels = "Observed (units of the data)", "Inferred (units of the data)"
    best = ordered.iloc[::-1]
    well = int((table["recall"] >= 0.95).sum())
    return Page(
        "Inferred expression: a model",
        f"How well does {fitted.method} infer {len(fitted.targets):,} genes from "
        f"{len(fitted.inputs):,} that are measured?",
        [
            f"In {len(truth)} test samples that it has not seen, the mean correlation of a gene is "
            f"{number(float(table['pearson'].mean()))}; {well:,} of {len(table):,} genes have a "
            "recall of 0.95 or more.",
            f"Trained on {len(problem.task.y_train)} samples of {fitted.platforms[1]}, with "
            f"{len(problem.task.y_valid)} more to choose and stop by; {problem.notes[0]}.",
        ],
        [*notes, *problem.notes[1:]],
        [
            Section(
                "How far each gene can be trusted",
                ["genes.csv holds this for every gene; predictions carry it along."],
                [
                    Picture(
                        _figures.recall({fitted.method: table["recall"].to_numpy()}),
                        "Share of genes by recall. The line marks what is called well inferred.",
                    )
                ],
                [_genes("Best", best.head(10)), _genes("Worst", ordered.head(10))],
                explorer=explore(
                    best,
                    search=["gene"],
                    label="Gene",
                    file="genes.csv",
                    sliders={"recall": "Recall at least"},
                ).layout,
            ),
            Section(
                "Observed and inferred",
                ["Test samples; bars are one stated standard deviation, the line is equality."],
                [
                    Picture(
                        draw_pairs(genes, *shown, labels=labels),
                        f"{', '.join(genes)}, from low to high recall"
                        if len(genes) > 1
                        else genes[0],
                        wide=True,
                    )
                ],
            ),
        ],
        {"How to read the table": READING, **facts},
    )


def selection_table(selections: Sequence[Selection]) -> pd.DataFrame:
    """List what the first n genes of each order are worth: ``how, n, accuracy``."""
    return pd.DataFrame(
        [
            {"how": each.how, "n": int(n), "accuracy": float(accuracy)}
            for each in selections
            for n, accuracy in zip(each.sizes, each.accuracy, strict=True)
        ]
    )


def selection_page(
    selections: Sequence[Selection],
    problem: Problem,
    *,
    facts: Mapping[str, Mapping[str, Any]],
) -> Page:
    """Report which genes to measure, and what to expect of them.

    Parameters
    ----------
    selections
        Orders of genes, the asked-for one first.
    problem
        What they were chosen for.
    facts
        As in `fit_page`.
    """
    from infosem_jax.expression import _figures

    first = selections[0]
    curves = {
        each.how: _figures.Curve(each.sizes.tolist(), each.accuracy.tolist()) for each in selections
    }
    label = "Mean correlation per gene"
    more = ", and so on: genes.csv" if len(first.genes) > LISTED else ""
    order = ", ".join(first.genes[:LISTED]) + more
    sizes = [f"{n}" for n in first.sizes]
    values = [(each.how, [number(float(a)) for a in each.accuracy]) for each in selections]
    return Page(
        "Which genes to measure",
        f"If only {len(first.genes):,} genes can be measured, which, and what will be known?",
        [
            f"The first {first.sizes[-1]} genes ({first.how}) infer the others with a mean "
            f"correlation of {number(float(first.accuracy[-1]))} in samples held out, by kernel "
            "regression; joined with others (auto) it may do better.",
            f"Chosen among {len(problem.task.inputs):,} genes for {len(problem.task.targets):,}; "
            f"{problem.notes[0]}.",
        ],
        problem.notes[1:],
        [
            Section("Genes to measure, in this order", [order + "."]),
            Section(
                "What the first n genes are worth",
                [
                    "Genes were chosen on training samples and judged on validation samples. Genes "
                    "that are measured and to be inferred as well count as perfectly known."
                ],
                [Picture(_figures.accuracy({"": curves}, label), f"{label} on held-out samples.")],
                [Table("Choice", sizes, values)],
            ),
        ],
        facts,
    )


def _genes(title: str, rows: pd.DataFrame) -> Table:
    columns = ("pearson", "recall", "sd", "mae", "within_90")
    return Table(
        "Gene",
        columns,
        [
            (str(row["gene"]), [number(float(row[name])) for name in columns])
            for row in rows.to_dict("records")
        ],
        title,
    )
