"""What carried a prediction: the nodes that the selector chose, and how they go with responses."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int

from infosem_jax.perturbation.data import Responses
from infosem_jax.perturbation.knowledge import FAR, union
from infosem_jax.perturbation.model import AT_ONCE, Fitted, outputs, part_of, predict
from infosem_jax.perturbation.prepare import query_of
from infosem_jax.perturbation.selector import threshold_of
from infosem_jax.scores import auroc


class Contexts(NamedTuple):
    """The selector's scores for some perturbations.

    Attributes
    ----------
    node, hop
        Candidates, and how far they are, [perturbations, candidates]; 127 is padding.
    score
        Mean score over members, [perturbations, candidates].
    threshold
        Mean threshold over members; nodes above it are selected.
    """

    node: Int[np.ndarray, "n candidates"]
    hop: Int[np.ndarray, "n candidates"]
    score: Float32[np.ndarray, "n candidates"]
    threshold: float

    @property
    def selected(self) -> np.ndarray:
        """Which candidates are selected."""
        return (self.hop < FAR) & ((self.score > self.threshold) | (self.hop == 0))


def contexts(
    fitted: Fitted,
    perturbed: Sequence[tuple[str, ...]],
    line: Sequence[str],
    control: Float32[np.ndarray, "n genes"] | None = None,
) -> Contexts:
    """Return the scores of the nodes that were candidates for each perturbation.

    Raises
    ------
    ValueError
        If the network has no context of nodes.
    """
    config = fitted.config
    if config.context in ("none", "full"):
        raise ValueError(
            f"Expected a network that chooses nodes, found one with context {config.context!r}."
        )
    query = query_of(fitted.knowledge, perturbed, line, control, fitted.inputs, config)
    scores, thresholds = [], []
    for member in range(len(fitted.rows)):
        parts = [
            np.asarray(outputs(fitted, member, part_of(query, i)).selection.score)
            for i in range(0, len(perturbed), AT_ONCE)
        ]
        scores.append(np.concatenate(parts))
        thresholds.append(float(threshold_of(fitted.params["threshold"][member], config)))
    cut = float(np.mean(thresholds)) if config.context == "adaptive" else 0.5
    return Contexts(query.node, query.hop, np.mean(scores, axis=0).astype(np.float32), cut)


class Explanation(NamedTuple):
    """The context of one perturbation.

    Attributes
    ----------
    nodes
        Columns ``gene, hop, score, selected, de, direction``: of responding genes, the predicted
        chance to be differentially expressed (or the size of the change) and the sign; best first.
    edges
        Edges among the selected nodes, ``source, target, weight``.
    """

    nodes: pd.DataFrame
    edges: pd.DataFrame


def explain(
    fitted: Fitted,
    perturbed: tuple[str, ...],
    line: str,
    control: Float32[np.ndarray, "1 genes"] | None = None,
) -> Explanation:
    """Say which nodes carried the prediction for a perturbation, and how they are connected."""
    found = contexts(fitted, [perturbed], [line], control)
    prediction = predict(fitted, [perturbed], [line], control)
    names = np.asarray(fitted.knowledge.nodes)
    real = found.hop[0] < FAR
    node = found.node[0][real]
    place = {gene: i for i, gene in enumerate(fitted.train.genes)}
    at = [place.get(str(name), -1) for name in names[node]]
    de = [float(prediction.de[0, i]) if i >= 0 else np.nan for i in at]
    change = [float(np.sign(prediction.change[0, i])) if i >= 0 else np.nan for i in at]
    table = pd.DataFrame(
        {
            "gene": names[node],
            "hop": found.hop[0][real],
            "score": found.score[0][real],
            "selected": found.selected[0][real],
            "de": de,
            "direction": change,
        }
    ).sort_values(["selected", "hop", "score"], ascending=[False, True, False], kind="stable")
    graph = union(fitted.knowledge, top=fitted.config.top).tocoo()
    chosen = node[found.selected[0][real]]
    kept = np.isin(graph.row, chosen) & np.isin(graph.col, chosen)
    edges = pd.DataFrame(
        {
            "source": names[graph.col[kept]],
            "target": names[graph.row[kept]],
            "weight": graph.data[kept],
        }
    )
    return Explanation(table.reset_index(drop=True), edges)


def agreement(found: Contexts, truth: Responses, nodes: Sequence[str]) -> dict[str, float]:
    """Tell how the selection goes with what responded.

    Returns
    -------
    ``selected_share``, the share of candidates that are selected; ``de_selected`` and
    ``de_candidates``, the share of differentially expressed genes among the selected and among all
    candidates that respond, perturbed genes left out; and ``score_auroc``, how well scores tell
    the former. Means over perturbations for which they are defined.
    """
    place = {gene: i for i, gene in enumerate(truth.genes)}
    at = np.array([place.get(name, -1) for name in nodes])
    rows: dict[str, list[float]] = {
        name: [] for name in ("selected_share", "de_selected", "de_candidates", "score_auroc")
    }
    for i in range(len(found.node)):
        others = (found.hop[i] < FAR) & (found.hop[i] > 0)
        if others.any():
            rows["selected_share"].append(float(found.selected[i][others].mean()))
        gene = np.where(others, at[found.node[i]], -1)
        known = (gene >= 0) & truth.known[i, gene]
        de = truth.sign[i, gene[known]] != 0
        chosen = found.selected[i][known]
        if de.size:
            rows["de_candidates"].append(float(de.mean()))
        if chosen.any():
            rows["de_selected"].append(float(de[chosen].mean()))
        rows["score_auroc"].append(auroc(found.score[i][known], de) if de.size else np.nan)
    return {
        name: float(np.nanmean(values)) if np.isfinite(values).any() else np.nan
        for name, values in rows.items()
    }
