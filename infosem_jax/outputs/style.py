"""Colours of figures, and what figures of several systems share.

Colours are those of Okabe and Ito, which people with colour blindness can tell apart.
"""

from collections.abc import Mapping
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#20262e"
GREY = "#808890"
ACTIVATES = "#0072b2"
REPRESSES = "#d55e00"
SECOND = "#009e73"
WIDTH = 5.2  # inches, so that a page as narrow as a phone leaves text readable

_COLOURS = (ACTIVATES, REPRESSES, SECOND, "#e69f00", "#56b4e9", "#cc79a7")
_MARKERS = "osD^vPX*<>"
_LINES = ("-", "--", "-.", ":")


def method_styles(n: int) -> list[dict[str, Any]]:
    """Return styles that differ in more than colour."""
    looks = zip(cycle(_COLOURS), cycle(_MARKERS), range(n), strict=False)
    return [
        {"color": colour, "marker": marker, "ls": _LINES[i // len(_COLOURS) % len(_LINES)]}
        for colour, marker, i in looks
    ]


def axes_grid(
    width: float, height: float, rows: int, columns: int, *, sharey: bool = False
) -> tuple["Figure", np.ndarray]:
    """Return a figure with a grid of plain axes, [rows, columns].

    Parameters
    ----------
    width, height
        In inches.
    rows, columns
        Of axes.
    sharey
        Whether axes share their vertical scale.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=sharey)
    for ax in axes.flat:
        ax.set_facecolor("none")
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(GREY)
        ax.tick_params(color=GREY, labelcolor=INK, labelsize=9)
        ax.xaxis.label.set_color(INK)
        ax.yaxis.label.set_color(INK)
        ax.grid(color=GREY, alpha=0.2, lw=0.6)
    return figure, axes


def draw_title(ax: "Axes", text: str) -> None:
    """Set a title as it is, whatever signs it holds."""
    ax.set_title(text, color=INK, fontsize=10, parse_math=False)


def draw_legend(figure: "Figure", handles: Mapping[str, Any]) -> None:
    """Set a legend above all axes; names are drawn as they are, whatever signs they hold."""
    style = {"frameon": False, "labelcolor": INK, "fontsize": 9}
    placeholders = [str(i) for i in range(len(handles))]
    legend = figure.legend(
        handles=list(handles.values()),
        labels=placeholders,
        loc="outside upper center",
        ncols=min(5, len(handles)),
        **style,
    )
    for text, name in zip(legend.get_texts(), handles, strict=True):
        text.set(text=name, parse_math=False)  # as a label, a name may be hidden or a formula
