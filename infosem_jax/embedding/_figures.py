"""Figures of gene embeddings. Each function returns a Figure, outside pyplot's state."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure

from infosem_jax.outputs.style import ACTIVATES, GREY, INK, REPRESSES, SECOND

_COLOURS = (ACTIVATES, REPRESSES, SECOND, "#e69f00", "#56b4e9", "#cc79a7", "#8c6d31", "#808890")
_MARKERS = "osD^vPX*"
# Clusters beyond these are drawn as the smallest.
_MOST = 16


def scatter(
    places: Float[np.ndarray, "rows 2"],
    group: Int[np.ndarray, " rows"],
    names: Sequence[str],
    axes: tuple[str, str],
) -> Figure:
    """Draw rows at their places, groups apart by colour and shape.

    Parameters
    ----------
    places
        Coordinates.
    group
        Number of the group of each row.
    names
        Of the groups.
    axes
        What the coordinates are.
    """
    figure = Figure(figsize=(6.2, 5.0), layout="constrained")
    ax = figure.subplots()
    ax.set_facecolor("none")
    handles, labels = [], []
    for i, name in enumerate(names[:_MOST]):
        own = group >= i if i == _MOST - 1 else group == i
        colour, marker = _COLOURS[i % len(_COLOURS)], _MARKERS[i // len(_COLOURS)]
        labels.append("others" if i == _MOST - 1 and len(names) > _MOST else name)
        style = {"s": 9, "c": colour, "marker": marker, "alpha": 0.65, "linewidths": 0}
        handles.append(ax.scatter(*places[own].T, **style))
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(GREY)
    ax.set_xlabel(axes[0], color=INK)
    ax.set_ylabel(axes[1], color=INK)
    ax.tick_params(color=GREY, labelcolor=INK, labelsize=8)
    style = {"frameon": False, "labelcolor": INK, "fontsize": 8, "markerscale": 2}
    placeholders = [str(i) for i in range(len(labels))]
    # About eighty letters fit beside each other, with their markers.
    columns = min(4, max(1, 80 // (max(map(len, labels)) + 8)))
    where = {"loc": "outside upper center", "ncols": columns}
    legend = figure.legend(handles, placeholders, **where, **style)
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set(text=label, parse_math=False)  # as a label, a name may be hidden or a formula
    return figure


def ranks(found: Mapping[str, tuple[float, float, float]]) -> Figure:
    """Draw the average rank of each method with its interval, the best on top.

    Parameters
    ----------
    found
        Mean and ends of the interval, by method.
    """
    order = sorted(found, key=lambda name: -found[name][0])
    figure = Figure(figsize=(5.4, 0.9 + 0.32 * len(order)), layout="constrained")
    ax = figure.subplots()
    ax.set_facecolor("none")
    for i, name in enumerate(order):
        mean, low, high = found[name]
        if np.isfinite(low):
            ax.plot([low, high], [i, i], color=GREY, lw=2)
        ax.plot([mean], [i], "o", color=ACTIVATES, ms=6)
    ax.set_yticks(range(len(order)), order, parse_math=False)
    ax.set_ylim(-0.5, len(order) - 0.5)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(GREY)
    ax.tick_params(color=GREY, labelcolor=INK, labelsize=9)
    ax.set_xlabel("Average rank (1 is the best)", color=INK)
    ax.grid(axis="x", color=GREY, alpha=0.25, lw=0.6)
    return figure


def losses(values: Float[np.ndarray, "seeds epochs"]) -> Figure:
    """Draw the loss of every seed over epochs."""
    figure = Figure(figsize=(5.4, 3.0), layout="constrained")
    ax = figure.subplots()
    ax.set_facecolor("none")
    for own in values:
        ax.plot(np.arange(1, len(own) + 1), own, color=ACTIVATES, alpha=0.75, lw=1.2)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(GREY)
    ax.tick_params(color=GREY, labelcolor=INK, labelsize=9)
    ax.set_xlabel("Epoch", color=INK)
    ax.set_ylabel("Loss, summed over studies", color=INK)
    ax.grid(axis="y", color=GREY, alpha=0.25, lw=0.6)
    return figure
