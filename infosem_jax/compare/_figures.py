"""Figures of a comparison of priors. Each function returns a Figure that nothing else knows of."""

from collections.abc import Sequence
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from infosem_jax.compare.summary import CONTROL, REFERENCE
from infosem_jax.outputs.style import (
    ACTIVATES,
    GREY,
    INK,
    REPRESSES,
    SECOND,
    WIDTH,
    axes_grid,
    draw_legend,
)

LINE = 0.3  # inches for a prior
KINDS = {REFERENCE: (ACTIVATES, "o", -0.14), CONTROL: (REPRESSES, "s", 0.14)}


def differences(paired: pd.DataFrame, measure: str, label: str, reference: str) -> Figure:
    """Draw the difference of every prior from the reference and from its own control.

    Parameters
    ----------
    paired
        As in `Comparison`.
    measure
        Which measure.
    label
        What it is called, with its unit.
    reference
        Name of the reference.
    """
    rows = paired.loc[(paired["measure"] == measure) & paired["kind"].isin(list(KINDS))]
    priors = list(dict.fromkeys(rows["prior"]))
    figure, (ax,) = _figure(WIDTH + 0.6, 1.0 + LINE * 1.3 * len(priors), 1)
    names = {REFERENCE: f"against {reference}", CONTROL: "against its own shuffled control"}
    handles = {}
    for kind, (colour, marker, shift) in KINDS.items():
        of = rows.loc[rows["kind"] == kind]
        at = np.array([priors.index(name) for name in of["prior"]], float) + shift
        ax.hlines(at, of["low"], of["high"], color=colour, lw=1.6)
        ax.plot(of["difference"], at, marker, color=colour, ms=5.5, mew=0)
        if len(of):
            handles[names[kind]] = Line2D([], [], color=colour, marker=marker, lw=1.6)
    ax.axvline(0, color=INK, lw=0.8, ls=":")
    _name_rows(ax, priors)
    ax.set_xlabel(label)
    ax.locator_params(axis="x", nbins=5)
    draw_legend(figure, handles, ncols=2)
    return figure


def scores(summary: pd.DataFrame, measure: str, label: str) -> Figure:
    """Draw accuracy against held-out density, one point for each prior and control.

    Parameters
    ----------
    summary
        As in `Comparison`; means over data sets are drawn.
    measure
        The accuracy.
    label
        What it is called.
    """
    rows = summary.loc[(summary["dataset"] == "") & summary[measure].notna()]
    figure, (ax,) = _figure(WIDTH + 0.6, 3.8, 1)
    handles = {}
    for control, colour, marker in ((False, ACTIVATES, "o"), (True, GREY, "s")):
        of = rows.loc[rows["control"] == control]
        ax.plot(of["density"], of[measure], marker, color=colour, ms=6, mew=0)
        for name, x, y in of[["prior", "density", measure]].itertuples(index=False):
            style = {"fontsize": 8, "color": colour if control else INK, "parse_math": False}
            place = {"xytext": (5, 3), "textcoords": "offset points"}
            ax.annotate(
                str(name), (x, y), fontstyle="italic" if control else "normal", **style, **place
            )
        if len(of):
            what = "genes permuted" if control else "prior"
            handles[what] = Line2D([], [], ls="none", color=colour, marker=marker)
    ax.margins(x=0.25, y=0.12)
    ax.set(xlabel="Held-out density (nats per value)", ylabel=label)
    draw_legend(figure, handles, ncols=2)
    return figure


def agreement(summary: pd.DataFrame) -> Figure:
    """Draw how far seeds, and halves of the cells, agree on the strengths of edges.

    Parameters
    ----------
    summary
        As in `Comparison`; means over data sets are drawn.
    """
    rows = summary.loc[(summary["dataset"] == "") & ~summary["control"].astype(bool)]
    priors = list(rows["prior"])
    figure, (ax,) = _figure(WIDTH + 0.6, 1.0 + LINE * len(priors), 1)
    handles = {}
    for column, name, colour, marker in (
        ("seeds_spearman", "seeds", ACTIVATES, "o"),
        ("halves_spearman", "halves of the cells", SECOND, "^"),
    ):
        if column in rows and pd.Series(rows[column]).notna().any():
            ax.plot(rows[column], range(len(priors)), marker, color=colour, ms=6, mew=0)
            handles[name] = Line2D([], [], ls="none", color=colour, marker=marker)
    _name_rows(ax, priors)
    low, high = ax.get_xlim()
    spare = max(0.0, 0.1 - (high - low)) / 2  # a thousandth is not drawn as a difference
    ax.set(xlabel="Rank correlation of edge strengths", xlim=(low - spare, high + spare))
    ax.grid(axis="x", color=GREY, alpha=0.25, lw=0.6)
    draw_legend(figure, handles, ncols=2)
    return figure


def strengths(summary: pd.DataFrame, accuracy: str | None, label: str) -> Figure:
    """Draw held-out density, and accuracy where it is known, over the strengths of a scan.

    Parameters
    ----------
    summary
        As in `Comparison`; priors with a number for a name are drawn, others are lines across.
    accuracy
        A measure of accuracy, or None.
    label
        What it is called.
    """
    rows = summary.loc[(summary["dataset"] == "") & ~summary["control"].astype(bool)]
    weight = _numbers(rows["prior"])
    scan = rows.assign(weight=weight).loc[~np.isnan(weight)].sort_values("weight")
    others = rows.loc[np.isnan(weight)]
    panels: list[tuple[Any, str, str]] = [
        ("density", "Held-out density\n(nats per value)", ACTIVATES)
    ]
    if accuracy is not None:
        panels.append((accuracy, label, SECOND))
    figure, axes = _figure(WIDTH, 0.8 + 1.9 * len(panels), len(panels))
    for ax, (column, name, colour) in zip(axes, panels, strict=True):
        ax.plot(scan["weight"], scan[column], "o-", color=colour, ms=5, lw=1.4)
        best = scan.loc[scan[column].idxmax()]
        ax.plot(best["weight"], best[column], "o", ms=11, mfc="none", mec=INK)
        for other, value in others[["prior", column]].itertuples(index=False):
            ax.axhline(value, color=GREY, lw=1, ls="--")
            ax.annotate(
                str(other), (1, value), xycoords=("axes fraction", "data"), ha="right",
                va="bottom", fontsize=8, color=INK, parse_math=False,
            )  # fmt: skip
        ax.set_ylabel(name)
    if (scan["weight"] > 0).all():
        axes[-1].set_xscale("log")
    axes[-1].set_xlabel("Strength of the prior (circle: best)")
    return figure


def curves(table: pd.DataFrame) -> Figure:
    """Draw log Bayes factors over the strength of each prior, its control dashed.

    Parameters
    ----------
    table
        As in `Comparison`.
    """
    figure, (ax,) = _figure(WIDTH, 3.2, 1)
    colours = (ACTIVATES, REPRESSES, SECOND, INK)
    handles = {}
    for name, colour in zip(dict.fromkeys(table["prior"]), cycle(colours), strict=False):
        for (control, _), rows in table.loc[table["prior"] == name].groupby(["control", "dataset"]):
            style = "--" if control else "-"
            ax.plot(rows["strength"], rows["log_bayes_factor"], style, color=colour, lw=1.4)
        handles[str(name)] = Line2D([], [], color=colour, lw=1.4)
    ax.axhline(0, color=INK, lw=0.8, ls=":")
    ax.set(xlabel="Strength of the prior means", ylabel="Log Bayes factor (nats)")
    # Far from the top, all priors are bad alike.
    top = float(table["log_bayes_factor"].max())
    ax.set_ylim(-max(top, 1.0), 1.15 * max(top, 1.0))
    draw_legend(figure, handles, ncols=2)
    return figure


def is_scan(names: Sequence[str]) -> bool:
    """Tell whether three or more priors are called by their strengths, as `priors.scan` does."""
    return int((~np.isnan(_numbers(names))).sum()) >= 3


def _numbers(names: Any) -> np.ndarray:
    return np.asarray(pd.to_numeric(pd.Series(list(names)), errors="coerce"), np.float64)


def _figure(width: float, height: float, rows: int) -> tuple[Figure, np.ndarray]:
    figure, axes = axes_grid(width, height, rows, 1, lines=False, sharex=True)
    return figure, axes[:, 0]


def _name_rows(ax: Axes, names: Sequence[str]) -> None:
    ax.set_yticks(range(len(names)), list(names), parse_math=False)
    ax.set_ylim(len(names) - 0.4, -0.6)
