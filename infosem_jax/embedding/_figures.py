"""Figures of gene embeddings. Each function returns a Figure, outside pyplot's state."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure

from infosem_jax.outputs.style import ACTIVATES, COLOURS, GREY, axes_grid, draw_legend

_COLOURS = (*COLOURS, "#8c6d31", GREY)
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
    figure, grid = axes_grid(6.2, 5.0, 1, 1)
    ax, handles = grid[0, 0], {}
    for i, name in enumerate(names[:_MOST]):
        last = i == _MOST - 1
        own = group >= i if last else group == i
        colour, marker = _COLOURS[i % len(_COLOURS)], _MARKERS[i // len(_COLOURS)]
        style = {"s": 9, "c": colour, "marker": marker, "alpha": 0.65, "linewidths": 0}
        name = "others" if last and len(names) > _MOST else name
        handles[name] = ax.scatter(*places[own].T, **style)
    ax.set(xlabel=axes[0], ylabel=axes[1])
    draw_legend(figure, handles, markerscale=2)
    return figure


def ranks(found: Mapping[str, tuple[float, float, float]]) -> Figure:
    """Draw the average rank of each method with its interval, the best on top.

    Parameters
    ----------
    found
        Mean and ends of the interval, by method.
    """
    order = sorted(found, key=lambda name: -found[name][0])
    figure, axes = axes_grid(5.4, 0.9 + 0.32 * len(order), 1, 1)
    ax = axes[0, 0]
    for i, name in enumerate(order):
        mean, low, high = found[name]
        if np.isfinite(low):
            ax.plot([low, high], [i, i], color=GREY, lw=2)
        ax.plot([mean], [i], "o", color=ACTIVATES, ms=6)
    ax.set_yticks(range(len(order)), order, parse_math=False)
    ax.set(ylim=(-0.5, len(order) - 0.5), xlabel="Average rank (1 is the best)")
    return figure


def losses(values: Float[np.ndarray, "seeds epochs"]) -> Figure:
    """Draw the loss of every seed over epochs."""
    figure, axes = axes_grid(5.4, 3.0, 1, 1)
    for own in values:
        axes[0, 0].plot(np.arange(1, len(own) + 1), own, color=ACTIVATES, alpha=0.75, lw=1.2)
    axes[0, 0].set(xlabel="Epoch", ylabel="Loss, summed over studies")
    return figure
