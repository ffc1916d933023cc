"""What is written of a fit or an explanation: tables, AnnData, and pages with figures."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from infosem_jax.outputs.page import Page, Picture, Section, Table, number
from infosem_jax.perturbation.data import Responses, label
from infosem_jax.perturbation.explanation import Explanation
from infosem_jax.perturbation.metrics import Scores
from infosem_jax.perturbation.task import Prediction

if TYPE_CHECKING:
    import anndata

SHOWN = 4
READING = {
    "pearson_delta": "Correlation over genes of predicted and observed change.",
    "pearson_reference": "The same, of changes beyond the mean response of the training "
    "perturbations: predicting that mean for all earns 0.",
    "discrimination_l1": "Share of the other perturbations whose observed response is farther from "
    "the predicted one than the right one's; 0.5 is chance.",
    "wr2": "Share of the perturbation's own response that is explained: 0 is the mean response, "
    "1 the truth.",
    "de_auroc": "How well a gene's perturbations are ranked by whether they change it, mean over "
    "genes; 0.5 is chance.",
    "direction_auroc": "The same for up against down, where it is changed.",
    "de_auroc_pooled": "All pairs at once: a warning and no score, since how often each gene "
    "responds in general is enough for a high value.",
}


def to_anndata(
    prediction: Prediction,
    perturbed: Sequence[tuple[str, ...]],
    line: Sequence[str],
    genes: Sequence[str],
    control: np.ndarray | None,
    *,
    record: Mapping[str, str],
) -> "anndata.AnnData":
    """Bring predictions into AnnData, a row for each perturbation.

    ``X`` holds the expected change (of models of signs, the expected sign). Layers: ``de`` and
    ``up``, larger where a gene is more likely to be differentially expressed, and to go up; ``sd``
    where there is one; and ``mean``, control plus change. ``obs``: ``perturbation``,
    ``cell_line``, and ``informed``, False where nothing was known of the perturbed genes.
    """
    import anndata

    names = [label(p) for p in perturbed]
    several = len(set(names)) < len(names)
    index = [f"{own}:{name}" if several else name for own, name in zip(line, names, strict=True)]
    known = np.ones(len(names), bool) if prediction.informed is None else prediction.informed
    obs = pd.DataFrame(
        {"perturbation": names, "cell_line": list(line), "informed": known}, index=pd.Index(index)
    )
    adata = anndata.AnnData(prediction.change, obs=obs, var=pd.DataFrame(index=pd.Index(genes)))
    adata.layers["de"], adata.layers["up"] = prediction.de, prediction.up
    if prediction.sd is not None:
        adata.layers["sd"] = prediction.sd
    if control is not None:
        adata.layers["mean"] = np.maximum(control + prediction.change, 0.0)
    adata.uns["infosem"] = dict(record)
    return adata


def score_table(scores: Scores) -> pd.DataFrame:
    """List the scores of each test perturbation, or of each gene of a table of signs."""
    return pd.DataFrame({"name": scores.names, "n_de": scores.n_de, **scores.each})


def fit_page(
    truth: Responses,
    prediction: Prediction,
    scores: Scores,
    usual: Scores,
    *,
    method: str,
    notes: Sequence[str],
    facts: Mapping[str, Mapping[str, Any]],
) -> Page:
    """Say how well the test perturbations were predicted, beside the mean response.

    Parameters
    ----------
    truth, prediction
        Of the test perturbations.
    scores, usual
        Scores of the method, and of the mean response.
    method
        Its name.
    notes, facts
        Sentences and lists for readers.
    """
    from infosem_jax.perturbation import _figures

    rows = [
        (name, [number(value), number(usual.metrics.get(name, np.nan))])
        for name, value in scores.metrics.items()
        if np.isfinite(value)
    ]
    sections = [
        Section(
            "Test perturbations",
            [f"{name}: {text}" for name, text in READING.items() if name in scores.metrics],
            tables=[Table("Measure", [method, "mean response"], rows)],
        )
    ]
    if truth.delta is not None:
        top = np.argsort(-np.square(truth.delta).sum(1), kind="stable")[:SHOWN]
        names = [truth.labels[i] for i in top]
        shown = _figures.changes(names, truth.delta[top], prediction.change[top])
        own = {method: scores.each["pearson_delta"], "mean": usual.each["pearson_delta"]}
        by_size = _figures.by_size(own, scores.n_de, "Pearson of the change")
        sections.append(
            Section(
                "Changes",
                pictures=[
                    Picture(shown, "The largest responses, predicted and observed.", wide=True),
                    Picture(by_size, "Each perturbation, by how many genes it changes."),
                ],
            )
        )
    return Page(
        f"Predicted responses: {truth.name}",
        "What happens if a gene is perturbed that was never seen perturbed?",
        [
            f"{method}, tested on {len(truth.perturbed)} perturbations that it did not learn from; "
            f"{len(truth.genes):,} genes."
        ],
        notes,
        sections,
        facts,
    )


def explain_page(
    name: str,
    perturbed: Sequence[str],
    found: Explanation,
    *,
    notes: Sequence[str],
    facts: Mapping[str, Mapping[str, Any]],
) -> Page:
    """Draw the part of the graph that carried a prediction."""
    from infosem_jax.perturbation import _figures

    chosen = found.nodes.loc[found.nodes["selected"]]
    rows = [
        (str(gene), [f"{hop}", number(score), number(de), _WORDS.get(direction, "–")])
        for gene, hop, score, de, direction in zip(
            *(chosen[name] for name in ("gene", "hop", "score", "de", "direction")), strict=True
        )
    ]
    columns = ["Hops", "Selector's score", "Chance or size of change", "Direction"]
    drawn = _figures.subgraph(found.nodes, found.edges, perturbed)
    caption = (
        f"Genes that the prediction for {name} draws on, at most {_figures.MOST_DRAWN}; size is "
        "the selector's score, colour the predicted direction."
    )
    return Page(
        f"What carried the prediction for {name}",
        "Which part of the knowledge graph did the model use?",
        [
            f"{len(chosen)} of {len(found.nodes)} genes within reach were selected, with "
            f"{len(found.edges)} edges among them. The selection says what the model used, not "
            "what is true."
        ],
        notes,
        [
            Section("Context", pictures=[Picture(drawn, caption, wide=True)]),
            Section("Genes", tables=[Table("Gene", columns, rows)], folded=len(rows) > 30),
        ],
        facts,
    )


_WORDS = {1.0: "up", -1.0: "down"}
