"""Nodes that the selector chose for a prediction, and their agreement with responses."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int

from infosem_jax.perturbation.adapert import FittedNetwork, apply_member, predict_network
from infosem_jax.perturbation.data import Responses
from infosem_jax.perturbation.fitting import Fitted, task_of
from infosem_jax.perturbation.knowledge import FAR, union
from infosem_jax.perturbation.prepare import perturbation_inputs
from infosem_jax.perturbation.selector import threshold_of
from infosem_jax.perturbation.task import Asked
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


def contexts(network: FittedNetwork, asked: Asked) -> Contexts:
    """Return the scores of the nodes that were candidates for each perturbation.

    Raises
    ------
    ValueError
        If the network has no context of nodes.
    """
    config = network.config
    if config.context in ("none", "full"):
        raise ValueError(
            f"Expected a network that chooses nodes, found one with context {config.context!r}."
        )
    given = perturbation_inputs(network.knowledge, asked, network.encoding, config)
    scores, thresholds = [], []
    for member in range(len(network.rows)):
        scores.append(np.asarray(apply_member(network, member, given).selection.score))
        thresholds.append(float(threshold_of(network.params["threshold"][member], config)))
    cut = float(np.mean(thresholds)) if config.context == "adaptive" else 0.5
    return Contexts(given.node, given.hop, np.mean(scores, axis=0).astype(np.float32), cut)


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
    fitted: Fitted, perturbed: str | tuple[str, ...], line: str | None = None
) -> Explanation:
    """Return the nodes that the prediction for a perturbation used, and how they are connected.

    Of several seeds, that of the first.

    Parameters
    ----------
    fitted
        A network that chooses nodes.
    perturbed, line
        As of `infosem_jax.perturbation.predict`, of one perturbation.

    Raises
    ------
    ValueError
        If the method is no network, or has no context of nodes.
    """
    if not fitted.networks:
        raise ValueError(f"Expected a network, found {fitted.method}, which chooses no nodes.")
    network, task = fitted.networks[0], task_of(fitted, [perturbed], line)
    found, prediction = contexts(network, task), predict_network(network, task)
    names = np.asarray(network.knowledge.nodes)
    real = found.hop[0] < FAR
    node = found.node[0][real]
    place = {gene: i for i, gene in enumerate(network.train.genes)}
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
    graph = union(network.knowledge, top=network.config.top).tocoo()
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
    """Compare the selection with the genes that responded.

    Parameters
    ----------
    found
        The selector's scores.
    truth
        Responses to the same perturbations.
    nodes
        Names of the nodes.

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
        rows["score_auroc"].append(float(auroc(found.score[i][known], de)) if de.size else np.nan)
    return {
        name: float(np.nanmean(values)) if np.isfinite(values).any() else np.nan
        for name, values in rows.items()
    }
