"""Figures of predicted responses. Each function returns a Figure that nothing else knows of."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Num
from matplotlib.figure import Figure

from infosem_jax.outputs.style import (
    ACTIVATES,
    GREY,
    INK,
    REPRESSES,
    SECOND,
    axes_grid,
    draw_legend,
    method_styles,
)

MOST_DRAWN = 40


def by_size(
    scores: Mapping[str, Float[np.ndarray, " n"]], n_de: Num[np.ndarray, " n"], label: str
) -> Figure:
    """Draw scores of each perturbation against how many genes it changes, a style per method.

    Parameters
    ----------
    scores
        Of each perturbation, by method.
    n_de
        Number of genes that it changes.
    label
        Name of the score.
    """
    figure, axes = axes_grid(6.2, 3.6, 1, 1)
    ax, handles = axes[0, 0], {}
    for (name, values), style in zip(scores.items(), method_styles(len(scores)), strict=True):
        marker = {"color": style["color"], "marker": style["marker"], "ls": "none", "ms": 4}
        known = np.isfinite(values)
        handles[name] = ax.plot(n_de[known] + 1, values[known], alpha=0.7, mew=0, **marker)[0]
    ax.set(xscale="log", xlabel="Differentially expressed genes + 1", ylabel=label)
    if len(handles) > 1:
        draw_legend(figure, handles)
    return figure


def bars(values: Mapping[str, tuple[float, float]], label: str) -> Figure:
    """Draw a score of each method with its deviation over seeds, the best on top."""
    order = sorted(values, key=lambda name: values[name][0])
    figure, axes = axes_grid(6.2, 0.9 + 0.26 * max(len(order), 3), 1, 1)
    ax = axes[0, 0]
    means = [values[name][0] for name in order]
    spread = [values[name][1] if np.isfinite(values[name][1]) else 0.0 for name in order]
    ax.errorbar(means, range(len(order)), xerr=spread, fmt="o", ms=5, color=ACTIVATES, ecolor=GREY)
    ax.set_yticks(range(len(order)), order, parse_math=False)
    ax.set(xlabel=label)
    return figure


def subgraph(nodes: pd.DataFrame, edges: pd.DataFrame, perturbed: Sequence[str]) -> Figure:
    """Draw the nodes that a prediction used: size by score, colour by predicted direction.

    Parameters
    ----------
    nodes, edges
        As of `explanation.Explanation`; at most 40 selected nodes are drawn, best first.
    perturbed
        Perturbed genes, drawn as squares.
    """
    import networkx as nx

    chosen = nodes.loc[nodes["selected"]].head(MOST_DRAWN)
    graph = nx.Graph()
    graph.add_nodes_from(chosen["gene"])
    for source, target, weight in edges.itertuples(index=False):
        if source in graph and target in graph:
            graph.add_edge(source, target, weight=weight)
    place = nx.spring_layout(graph, seed=0, k=1.6 / np.sqrt(max(len(graph), 1)))
    figure = Figure(figsize=(7.0, 6.0), layout="constrained")
    ax = figure.subplots()
    ax.set_axis_off()
    for a, b in graph.edges:
        (x0, y0), (x1, y1) = place[a], place[b]
        ax.plot([x0, x1], [y0, y1], color=GREY, lw=0.8, alpha=0.5, zorder=1)
    colours = {1.0: ACTIVATES, -1.0: REPRESSES}
    shown = zip(chosen["gene"], chosen["score"], chosen["direction"], strict=True)
    for gene, score, direction in shown:
        direct = gene in set(perturbed)
        x, y = place[gene]
        colour = SECOND if direct else colours.get(direction, GREY)
        marker = "s" if direct else "o"
        ax.plot(x, y, marker, ms=5 + 9 * score, color=colour, mec="white", mew=0.6, zorder=2)
        ax.annotate(
            gene, (x, y), xytext=(0, 7), textcoords="offset points", ha="center", fontsize=8,
            color=INK, zorder=3, parse_math=False,
        )  # fmt: skip
    keys = {"up": ACTIVATES, "down": REPRESSES, "not measured": GREY, "perturbed": SECOND}
    handles = {
        name: ax.plot([], [], "s" if name == "perturbed" else "o", ms=7, color=colour)[0]
        for name, colour in keys.items()
    }
    draw_legend(figure, handles)
    return figure
