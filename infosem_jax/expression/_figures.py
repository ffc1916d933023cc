"""Figures of inferred expression. Each function returns a Figure that nothing else knows of."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from infosem_jax.outputs.style import (
    INK,
    axes_grid,
    draw_legend,
    draw_title,
    method_styles,
)


class Curve(NamedTuple):
    """Accuracy at some numbers of inputs, with ends of intervals where there are any."""

    sizes: Sequence[float]
    accuracy: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


def accuracy(
    panels: Mapping[str, Mapping[str, Curve]], label: str, methods: Sequence[str] = ()
) -> Figure:
    """Draw accuracy against the number of inputs, a line for each method, a panel for each choice.

    Parameters
    ----------
    panels
        Curves by method, by how inputs were chosen.
    label
        What accuracy is measured by.
    methods
        All that figures beside this one show, so that each looks alike in all.
    """
    figure, axes = axes_grid(0.9 + 3.1 * max(len(panels), 1.4), 3.5, 1, len(panels), sharey=True)
    drawn = dict.fromkeys(name for curves in panels.values() for name in curves)
    methods = list(dict.fromkeys((*methods, *drawn)))
    styles = dict(zip(methods, method_styles(len(methods)), strict=True))
    handles: dict[str, Any] = {}
    for ax, (title, curves) in zip(axes.flat, panels.items(), strict=True):
        for name, curve in curves.items():
            if curve.low is not None and curve.high is not None:
                band = {"color": styles[name]["color"], "alpha": 0.13, "lw": 0}
                ax.fill_between(curve.sizes, curve.low, curve.high, **band)
            handles[name] = ax.plot(curve.sizes, curve.accuracy, ms=5, lw=1.4, **styles[name])[0]
        ax.set(xscale="log", xlabel="Measured genes")
        sizes = sorted({size for curve in curves.values() for size in curve.sizes})
        # Few sizes are tried, so each is named; those too near to each other are left out.
        named = [s for i, s in enumerate(sizes) if not i or s > 1.3 * sizes[i - 1]]
        ax.set_xticks(named, [f"{size:g}" for size in named])
        ax.minorticks_off()
        draw_title(ax, title)
    axes.flat[0].set_ylabel(label)
    if len(handles) > 1:
        draw_legend(figure, handles)
    return figure


def recall(distributions: Mapping[str, Float[np.ndarray, " genes"]]) -> Figure:
    """Draw, for each method, the share of genes whose recall is at least so high.

    Parameters
    ----------
    distributions
        Recall of each gene, by method.
    """
    figure, axes = axes_grid(6.2, 3.6, 1, 1)
    ax, handles = axes[0, 0], {}
    for (name, values), style in zip(
        distributions.items(), method_styles(len(distributions)), strict=True
    ):
        ordered = np.sort(values)
        style = {"color": style["color"], "ls": style["ls"], "lw": 1.4}
        share = 1 - np.arange(len(ordered)) / len(ordered)
        handles[name] = ax.step(ordered, share, where="post", **style)[0]
    ax.axvline(0.95, color=INK, lw=0.8, ls=":")
    ax.set(xlabel="Recall of a gene", ylabel="Share of genes with at least that", xlim=(0, 1))
    ax.set_ylim(0, 1.02)
    if len(handles) > 1:
        draw_legend(figure, handles)
    return figure
