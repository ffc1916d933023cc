"""Figures of the benchmark's scores. Each function returns a Figure that nothing else knows of.

Methods are rows or labelled points rather than colours, because there may be many. Controls are
grey, and their names italic.
"""

from collections.abc import Collection, Mapping, Sequence
from math import ceil

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from infosem_jax.grn.paired import HEADLINE, split_order
from infosem_jax.outputs.style import (
    ACTIVATES,
    COLOURS,
    GREY,
    INK,
    REPRESSES,
    SECOND,
    axes_grid,
    draw_legend,
    draw_title,
)

PER_REGULATOR = "AUPRC ratio per regulator"
POOLED = "AUPRC ratio, pooled"
_LINE = 0.18  # inches for a line of text
_LONGEST = 30  # characters of a name
_PANELS = 4  # in a row
_SPLITS = {
    "all": (GREY, "D"),
    "seen": (ACTIVATES, "o"),
    "unseen_target": (SECOND, "^"),
    "unseen_regulator": ("#e69f00", "s"),
    "unseen_as_regulator": ("#f0e442", "v"),
    "unseen_both": (REPRESSES, "X"),
}
_OTHER_SPLIT = ("#cc79a7", "P")


def bars(rows: pd.DataFrame, methods: Sequence[str], controls: Collection[str]) -> Figure:
    """Draw the score per regulator on every data set, as bars that begin at chance.

    Parameters
    ----------
    rows
        Columns ``dataset, method`` and those of :func:`~infosem_jax.grn.paired.summary`,
        made for each data set.
    methods
        The order of the methods, from the top.
    controls
        Which of them are controls.
    """
    data_sets = sorted(rows["dataset"].unique())
    columns = min(_PANELS, len(data_sets))
    lines = ceil(len(data_sets) / columns)
    height = lines * (0.75 + _LINE * len(methods)) + 0.35
    figure, axes = axes_grid(2.6 + 1.8 * columns, height, lines, columns, sharex=True, sharey=True)
    place = {method: i for i, method in enumerate(methods)}
    for ax, data_set in zip(axes.flat, data_sets, strict=False):
        of = rows.loc[(rows["dataset"] == data_set) & rows[HEADLINE].notna()]
        chance = float(of[f"{HEADLINE}_chance"].mean()) if len(of) else 1.0
        at = [place[method] for method in of["method"]]
        colours = [GREY if method in controls else ACTIVATES for method in of["method"]]
        ax.barh(at, of[HEADLINE] - chance, left=chance, color=colours, height=0.72)
        ax.hlines(at, of[f"{HEADLINE}_low"], of[f"{HEADLINE}_high"], color=INK, lw=1.1)
        ax.axvline(chance, color=INK, lw=0.8, ls=":")
        draw_title(ax, _short([data_set])[0])
        ax.xaxis.set_major_locator(MaxNLocator(4))
        if not len(of):
            _say(ax, "no regulator has\nenough edges")
    for ax in axes.flat[len(data_sets) :]:
        ax.set_visible(False)
    for ax in axes[:, 0]:
        _name_rows(ax, methods, controls)
    figure.supxlabel(f"{PER_REGULATOR} (bars begin at chance)", color=INK, fontsize=10)
    draw_legend(
        figure,
        {
            "method": Patch(color=ACTIVATES),
            "control": Patch(color=GREY),
            "95 % interval": Line2D([], [], color=INK, lw=1.1),
        },
    )
    return figure


def bias(rows: pd.DataFrame, controls: Collection[str]) -> Figure:
    """Draw the pooled score of every method against its score per regulator.

    Points above the diagonal owe part of their pooled score to which regulators and targets they
    prefer, not to which target they find for which regulator.

    Parameters
    ----------
    rows
        Columns of :func:`~infosem_jax.grn.paired.summary`, of one group.
    controls
        Which methods are controls.
    """
    rows = rows.loc[rows[[HEADLINE, "auprc_ratio"]].notna().all(axis=1)]
    figure, axes = axes_grid(6.4, max(4.0, 1.0 + _LINE * len(rows)), 1, 1)
    ax = axes[0, 0]
    ax.set(xlabel=PER_REGULATOR, ylabel=POOLED)
    if not len(rows):
        _say(ax, "no regulator has enough edges")
        return figure
    x, y = rows[HEADLINE].to_numpy(), rows["auprc_ratio"].to_numpy()
    ax.set_xlim(*_padded(np.append(x, 1.0)))
    ax.set_ylim(*_padded(np.append(y, 1.0)))
    edge = np.array(ax.get_xlim())
    ax.fill_between(edge, edge, max(ax.get_ylim()[1], edge[1]), color=REPRESSES, alpha=0.07, lw=0)
    ax.plot(edge, edge, color=GREY, lw=1.1, ls="--")
    ax.axhline(1, color=INK, lw=0.8, ls=":")
    ax.axvline(float(rows[f"{HEADLINE}_chance"].mean()), color=INK, lw=0.8, ls=":")
    control = rows["method"].isin(list(controls)).to_numpy()
    ax.plot(x[control], y[control], "s", ms=5, color=GREY, mew=0, zorder=3)
    ax.plot(x[~control], y[~control], "o", ms=5.5, color=ACTIVATES, mew=0, zorder=3)
    _label_points(figure, ax, x, y, list(rows["method"]), controls)
    draw_legend(
        figure,
        {
            "method": Line2D([], [], ls="none", marker="o", color=ACTIVATES),
            "control": Line2D([], [], ls="none", marker="s", color=GREY),
            "chance": Line2D([], [], ls=":", color=INK, lw=0.8),
            "more pooled than per regulator": Patch(color=REPRESSES, alpha=0.15),
        },
    )
    return figure


def precision_recall(
    curves: Mapping[str, Float[np.ndarray, " recalls"]],
    controls: Collection[str],
    base_rate: float,
) -> Figure:
    """Draw precision over recall, and the share of true edges as what chance gives.

    Parameters
    ----------
    curves
        Precision at evenly spaced recalls from 0 to 1, by method.
    controls
        Which of them are controls; these are dashed.
    base_rate
        Share of true edges among the tested pairs.
    """
    figure, axes = axes_grid(6.4, 3.8, 1, 1)
    ax = axes[0, 0]
    handles = []
    for i, (method, precision) in enumerate(curves.items()):
        control = method in controls
        style = {"color": INK if control else COLOURS[i % len(COLOURS)], "lw": 1.5}
        style["ls"] = (0, (4, 1.5)) if control else "-"
        handles += ax.plot(np.linspace(0, 1, len(precision)), precision, **style)
    handles.append(ax.axhline(base_rate, color=GREY, lw=1.2, ls=":"))
    ax.set(xlabel="Recall", ylabel="Precision", xlim=(0, 1))
    ax.set_ylim(0, min(1.02, 1.15 * max(base_rate, *map(np.nanmax, curves.values()))))
    marks = [" (control)" * (method in controls) for method in curves]
    names = [name + mark for name, mark in zip(_short(list(curves)), marks, strict=True)]
    names.append("share of true edges")
    draw_legend(figure, dict(zip(names, handles, strict=True)))
    return figure


def drops(rows: pd.DataFrame, controls: Collection[str]) -> Figure:
    """Draw the scores of every method on each split, per regulator and pooled.

    Parameters
    ----------
    rows
        Columns of :func:`~infosem_jax.grn.paired.summary`, of one network and gene set.
    controls
        Which methods are controls.
    """
    mean = pd.Series(rows.groupby("method")[HEADLINE].mean())
    methods = [str(name) for name in mean.sort_values(ascending=False, kind="stable").index]
    place = {method: i for i, method in enumerate(methods)}
    splits = sorted(rows["split"].unique(), key=split_order)
    figure, axes = axes_grid(8.4, 1.0 + 1.25 * _LINE * len(methods), 1, 2, sharey=True)
    for ax, column, label in zip(
        axes[0], (HEADLINE, "auprc_ratio"), (PER_REGULATOR, POOLED), strict=True
    ):
        for method, of in rows.dropna(subset=[column]).groupby("method"):
            span = [of[column].min(), of[column].max()]
            ax.plot(span, [place[str(method)]] * 2, color=GREY, lw=1.2, alpha=0.7, zorder=1)
        for split in splits:
            of = rows.loc[rows["split"] == split]
            colour, marker = _SPLITS.get(split, _OTHER_SPLIT)
            at = [place[method] for method in of["method"]]
            ax.plot(of[column], at, marker, color=colour, ms=6, mew=0, alpha=0.9)
        ax.axvline(1, color=INK, lw=0.8, ls=":")
        ax.set_xlabel(label)
    _name_rows(axes[0, 0], methods, controls)
    handles = {}
    for split, name in zip(splits, _short(splits), strict=True):
        colour, marker = _SPLITS.get(split, _OTHER_SPLIT)
        handles[name] = Line2D([], [], ls="none", marker=marker, color=colour)
    draw_legend(figure, handles)
    return figure


def _name_rows(ax: Axes, methods: Sequence[str], controls: Collection[str]) -> None:
    ax.set_yticks(range(len(methods)), _short(methods), parse_math=False)
    ax.set_ylim(len(methods) - 0.4, -0.6)
    for label, method in zip(ax.get_yticklabels(), methods, strict=True):
        label.set(fontsize=8.5, fontstyle="italic" if method in controls else "normal")


def _label_points(
    figure: Figure,
    ax: Axes,
    x: Float[np.ndarray, " points"],
    y: Float[np.ndarray, " points"],
    names: Sequence[str],
    controls: Collection[str],
) -> None:
    """Name points in the right margin, in the order of their height, with a line to each."""
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    points = np.column_stack([(x - left) / (right - left), (y - low) / (high - low)])
    labels, ends = _short(names), []
    for i, place in _spread(points[:, 1], _LINE / (figure.get_figheight() - 1.0)):
        style = "italic" if names[i] in controls else "normal"
        text = {"fontsize": 8.5, "fontstyle": style, "color": INK, "va": "center"}
        ax.text(1.03, place, labels[i], transform=ax.transAxes, parse_math=False, **text)
        ends.append([points[i], (1.02, place)])
    lines = {"colors": GREY, "linewidths": 0.5, "clip_on": False, "zorder": 2}
    ax.add_collection(LineCollection(ends, transform=ax.transAxes, **lines), autolim=False)


def _spread(wanted: Float[np.ndarray, " points"], step: float) -> list[tuple[int, float]]:
    """Places nearest to the wanted ones, from 0 to 1 where they fit, at least a step apart."""
    from sklearn.isotonic import isotonic_regression

    order = np.argsort(wanted, kind="stable")
    steps = step * np.arange(len(order))
    # Without the steps, places may be equal but not cross.
    free = np.asarray(isotonic_regression(wanted[order] - steps))
    place = np.clip(free, 0.0, max(1.0 - steps[-1], 0.0)) + steps
    return [(int(i), float(at)) for i, at in zip(order, place, strict=True)]


def _padded(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    pad = 0.07 * max(high - low, 0.1)
    return low - pad, high + pad


def _say(ax: Axes, text: str) -> None:
    place = {"transform": ax.transAxes, "ha": "center", "va": "center"}
    ax.text(0.5, 0.5, text, color=INK, fontsize=9, **place)


def _short(names: Sequence[str]) -> list[str]:
    """Shorten long names in the middle, where they stay different."""
    short = [n if len(n) <= _LONGEST else f"{n[:17]}…{n[-12:]}" for n in names]
    return [cut if short.count(cut) == 1 else name for cut, name in zip(short, names, strict=True)]
