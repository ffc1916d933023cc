"""Colours of figures, and what figures of several systems share.

Colours are those of Okabe and Ito, which people with colour blindness can tell apart.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#20262e"
GREY = "#808890"
ACTIVATES = "#0072b2"
REPRESSES = "#d55e00"
SECOND = "#009e73"
WIDTH = 5.2  # inches, so that a page as narrow as a phone leaves text readable

COLOURS = (ACTIVATES, REPRESSES, SECOND, "#e69f00", "#56b4e9", "#cc79a7")
_MARKERS = "osD^vPX*<>"
_LINES = ("-", "--", "-.", ":")


def method_styles(n: int) -> list[dict[str, Any]]:
    """Return styles that differ in more than colour."""
    styles = zip(cycle(COLOURS), cycle(_MARKERS), range(n), strict=False)
    return [
        {"color": colour, "marker": marker, "ls": _LINES[i // len(COLOURS) % len(_LINES)]}
        for colour, marker, i in styles
    ]


def axes_grid(
    width: float, height: float, rows: int, columns: int, *, lines: bool = True, **shared: Any
) -> tuple["Figure", np.ndarray]:
    """Return a figure with a grid of plain axes, [rows, columns].

    Parameters
    ----------
    width, height
        In inches.
    rows, columns
        Of axes.
    lines
        Whether grid lines are drawn.
    shared
        ``sharex`` and ``sharey``: whether axes share their scales.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **shared)
    for ax in axes.flat:
        ax.set_facecolor("none")
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(GREY)
        ax.tick_params(color=GREY, labelcolor=INK, labelsize=9, which="both")
        ax.xaxis.label.set_color(INK)
        ax.yaxis.label.set_color(INK)
        if lines:
            ax.grid(color=GREY, alpha=0.2, lw=0.6)
    return figure, axes


def draw_title(ax: "Axes", text: str) -> None:
    """Set a title as it is, whatever signs it holds."""
    ax.set_title(text, color=INK, fontsize=10, parse_math=False)


def draw_legend(figure: "Figure", handles: Mapping[str, Any], **style: Any) -> None:
    """Set a legend above all axes; names are drawn as they are, whatever signs they hold."""
    placeholders = [str(i) for i in range(len(handles))]
    # About eighty letters fit beside each other, with their markers.
    columns = min(5, len(handles), max(1, 80 // (max(map(len, handles), default=0) + 8)))
    style = {"frameon": False, "labelcolor": INK, "fontsize": 9, "ncols": columns, **style}
    legend = figure.legend(
        list(handles.values()), placeholders, loc="outside upper center", **style
    )
    for text, name in zip(legend.get_texts(), handles, strict=True):
        text.set(text=name, parse_math=False)  # as a label, a name may be hidden or a formula


def draw_pairs(
    names: Sequence[str],
    x: Float[np.ndarray, "names n"],
    y: Float[np.ndarray, "names n"],
    sd: Float[np.ndarray, "names n"] | None = None,
    *,
    labels: tuple[str, str],
) -> "Figure":
    """Draw values against each other, a panel for each name, with the line of equality.

    Parameters
    ----------
    names
        Of the panels.
    x, y, sd
        Values, and deviations of ``y`` where they are known.
    labels
        What ``x`` and ``y`` are.
    """
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure, axes = axes_grid(0.8 + 2.2 * columns, 0.5 + 2.2 * rows, rows, columns)
    for i, (ax, name) in enumerate(zip(axes.flat, names, strict=False)):
        if sd is not None and np.isfinite(sd[i]).all():
            bars = {"ecolor": GREY, "elinewidth": 0.6, "alpha": 0.5, "fmt": "none"}
            ax.errorbar(x[i], y[i], yerr=sd[i], **bars)
        ax.plot(x[i], y[i], "o", ms=3, mew=0, color=ACTIVATES, alpha=0.7)
        ends = [x[i].min(), x[i].max()]
        ax.plot(ends, ends, color=INK, lw=0.8, ls=":")
        ax.locator_params(nbins=4)
        draw_title(ax, name)
    for ax in axes.flat[len(names) :]:
        ax.set_visible(False)
    figure.supxlabel(labels[0], color=INK, fontsize=10)
    figure.supylabel(labels[1], color=INK, fontsize=10)
    return figure
