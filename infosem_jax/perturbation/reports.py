"""What is written of a fit or an explanation: tables, AnnData, and pages with figures."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from infosem_jax._typing import Path
from infosem_jax.outputs.explorer import explore
from infosem_jax.outputs.folder import to_json, write_h5ad
from infosem_jax.outputs.page import Page, Picture, Section, Table, number, write_page
from infosem_jax.outputs.style import draw_pairs
from infosem_jax.perturbation.data import label
from infosem_jax.perturbation.explanation import Explanation
from infosem_jax.perturbation.fitting import Fitted, HeldOutTest, parse_perturbed, save
from infosem_jax.perturbation.knowledge import reach
from infosem_jax.perturbation.metrics import LEAST_DE
from infosem_jax.perturbation.task import Asked, Prediction

if TYPE_CHECKING:
    import anndata

FILES = {
    "model.npz": "the model, for infosem perturbation predict and explain",
    "predictions.h5ad": "predictions of the test perturbations",
    "scores.csv": "scores of each test perturbation, or of each gene of a table of signs",
    "metrics.json": "their means, of the method and of the mean response",
    "config.toml": "all settings",
    "versions.json": "versions of the software, and the device",
    "report.html": "figures and how to read them",
}
EXPLAINED = {
    "nodes.csv": "genes within reach, with the selector's scores",
    "edges.csv": "edges among the selected genes",
    "report.html": "the subgraph",
}
HEADLINES = ("pearson_delta", "pearson_reference")
HEADLINES_OF_SIGNS = ("de_auroc", "direction_auroc", "de_auroc_pooled")
SHOWN = 4
CHANGES = "Observed change", "Predicted change"
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


def write_fit(
    folder: Path,
    fitted: Fitted,
    test: HeldOutTest,
    record: Mapping[str, Any],
    versions: Mapping[str, str],
) -> None:
    """Write a fit, its predictions of the test perturbations, their scores, and a page.

    Parameters
    ----------
    folder
        An existing folder.
    fitted, test
        The fit, and how it was tested.
    record, versions
        Settings of the run, and of the software.
    """
    out, truth = FilePath(folder), test.truth
    save(out / "model.npz", fitted)
    adata = to_anndata(test.predicted, truth, record={"record": json.dumps(record)})
    write_h5ad(out / "predictions.h5ad", adata)
    _score_table(test).to_csv(out / "scores.csv", index=False)
    means = {fitted.method: test.scores.metrics, "mean": test.mean_scores.metrics}
    (out / "metrics.json").write_text(to_json(means), encoding="utf-8")
    facts = {"Settings": {**record, **fitted.settings}, "Files": FILES, "Versions": versions}
    write_page(out / "report.html", _fit_page(test, method=fitted.method, facts=facts))


def write_explanation(
    folder: Path, fitted: Fitted, perturbed: str, found: Explanation, source: Path
) -> None:
    """Write the nodes and edges that a prediction used, and a page.

    Parameters
    ----------
    folder
        An existing folder.
    fitted, perturbed, found
        The fit, a perturbation, and its explanation.
    source
        Folder of the fit, for readers.
    """
    out, (genes,) = FilePath(folder), parse_perturbed([perturbed])
    notes = []
    if not reach(fitted.knowledge, [genes])[0][0]:
        notes.append(f"{label(genes)} has no edges in the graph: there is nothing to choose from.")
    facts = {"Files": EXPLAINED, "Model": {"folder": str(source), "method": fitted.method}}
    found.nodes.to_csv(out / "nodes.csv", index=False)
    found.edges.to_csv(out / "edges.csv", index=False)
    write_page(out / "report.html", _explain_page(genes, found, notes=notes, facts=facts))


def headline(test: HeldOutTest) -> str:
    """Return the main scores of a test, beside those of the mean response."""
    names = HEADLINES if test.truth.continuous else HEADLINES_OF_SIGNS
    return ", ".join(
        f"{name} {test.scores.metrics[name]:.3f} (mean response "
        f"{test.mean_scores.metrics[name]:.3f})"
        for name in names
    )


def to_anndata(
    prediction: Prediction, asked: Asked, *, record: Mapping[str, str]
) -> "anndata.AnnData":
    """Bring predictions into AnnData, a row for each perturbation.

    ``X`` holds the expected change (of models of signs, the expected sign). Layers: ``de`` and
    ``up``, larger where a gene is more likely to be differentially expressed, and to go up; ``sd``
    where there is one; and ``mean``, control plus change. ``obs``: ``perturbation``,
    ``cell_line``, and ``informed``, False where nothing was known of the perturbed genes.

    Parameters
    ----------
    prediction
        What was predicted.
    asked
        What its rows and columns are of.
    record
        Kept in ``uns``.
    """
    import anndata

    line, genes, control = asked.line, asked.genes, asked.control
    names = [label(p) for p in asked.perturbed]
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


def _score_table(test: HeldOutTest) -> pd.DataFrame:
    scores = test.scores
    return pd.DataFrame({"name": scores.names, "n_de": scores.n_de, **scores.each})


def _fit_page(test: HeldOutTest, *, method: str, facts: Mapping[str, Mapping[str, Any]]) -> Page:
    """Show how well the test perturbations were predicted, beside the mean response."""
    from infosem_jax.perturbation import _figures

    truth, scores, mean = test.truth, test.scores, test.mean_scores
    rows = [
        (name, [number(value), number(mean.metrics.get(name, np.nan))])
        for name, value in scores.metrics.items()
        if np.isfinite(value)
    ]
    told = [f"{name}: {text}" for name, text in READING.items() if name in scores.metrics]
    if any(name.endswith("_affected") for name, _ in rows):
        told.append(
            f"Names that end in _affected are means over the {(scores.n_de >= LEAST_DE).sum()} of "
            f"{len(truth.perturbed)} perturbations with at least {LEAST_DE} differentially "
            "expressed genes; the others respond too little for most measures to mean much."
        )
    sections = [
        Section(
            "Test perturbations",
            told,
            tables=[Table("Measure", [method, "mean response"], rows)],
        ),
        Section(
            "Look one up",
            explorer=explore(
                _score_table(test),
                search=["name"],
                label="Gene" if truth.delta is None else "Perturbation",
                file="scores.csv",
            ).layout,
        ),
    ]
    if truth.delta is not None:
        top = np.argsort(-np.square(truth.delta).sum(1), kind="stable")[:SHOWN]
        names = [truth.labels[i] for i in top]
        changes = truth.delta[top], test.predicted.change[top]
        shown = draw_pairs(names, *changes, labels=CHANGES)
        own = {method: scores.each["pearson_delta"], "mean": mean.each["pearson_delta"]}
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
        (*truth.notes, *test.notes),
        sections,
        facts,
    )


def _explain_page(
    perturbed: Sequence[str],
    found: Explanation,
    *,
    notes: Sequence[str],
    facts: Mapping[str, Mapping[str, Any]],
) -> Page:
    """Draw the part of the graph that a prediction used."""
    from infosem_jax.perturbation import _figures

    name = label(perturbed)

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
        f"What the prediction for {name} used",
        "Which part of the knowledge graph did the model use?",
        [
            f"{len(chosen)} of {len(found.nodes)} genes within reach were selected, with "
            f"{len(found.edges)} edges among them. The selection shows what the model used, not "
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
