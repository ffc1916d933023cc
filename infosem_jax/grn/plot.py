"""Figures of a network and its fit.

Functions draw on axes of yours, ``ax``, or on a figure of their own that pyplot does not know of,
and return the axes. `losses` returns a figure.

Colours are those of Okabe and Ito, which people with colour blindness can tell apart; activation
and repression also differ by the shape of an arrow's end. Gene names are drawn as they are.
"""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch
from matplotlib.ticker import MaxNLocator

from infosem_jax._typing import Array
from infosem_jax.grn.networks import Network, edges
from infosem_jax.outputs.style import ACTIVATES, GREY, INK, REPRESSES, SECOND, WIDTH, axes_grid

WEIGHT = "Weight (latent scale, no unit)"
# Of networks with scores, which are regressions of z-scores.
COEFFICIENT = "Weight (sd of the target for one of the regulator)"


def unit(network: Network) -> str:
    """Return what weights are called, with their unit."""
    return WEIGHT if network.score is None else COEFFICIENT


def losses(table: pd.DataFrame) -> Figure:
    """Draw the loss of every seed over epochs, and below it the held-out loss where there is one.

    Parameters
    ----------
    table
        Columns ``seed, epoch, loss, held_out``; ``held_out`` may be NaN.

    Raises
    ------
    ValueError
        If columns are missing or there is no row.
    """
    _check(table, ("seed", "epoch", "loss", "held_out"))
    kinds = {"loss": ("Training loss", ACTIVATES), "held_out": ("Held-out loss", SECOND)}
    shown = [kind for kind in kinds if np.isfinite(table[kind]).sum()] or ["loss"]
    height = 0.6 + 2.2 * len(shown)
    figure, axes = axes_grid(WIDTH, height, len(shown), 1, lines=False, sharex=True)
    for ax, kind in zip(axes[:, 0], shown, strict=True):
        label, colour = kinds[kind]
        for _, run in table.dropna(subset=[kind]).groupby("seed"):
            ax.plot(run["epoch"], run[kind], color=colour, alpha=0.75, lw=1.4)
        ax.set_ylabel(label)
        ax.grid(axis="y", color=GREY, alpha=0.25, lw=0.6)
    seeds = table["seed"].nunique()
    axes[-1, 0].set_xlabel(f"Epoch (one line for each of {seeds} seeds)" if seeds > 1 else "Epoch")
    axes[-1, 0].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def top_edges(network: Network, n: int = 25, *, ax: Axes | None = None) -> Axes:
    """Draw the weights of the strongest edges with bars of one standard deviation.

    Parameters
    ----------
    network
        The network.
    n
        How many of the strongest edges to show.
    ax
        Where to draw.
    """
    table = edges(network, top=n)
    ax = ax or _axes(0.9 + 0.22 * len(table))
    place = np.arange(len(table))
    for colour, sign in ((ACTIVATES, table["weight"] > 0), (REPRESSES, table["weight"] <= 0)):
        rows = table.loc[sign]
        ax.errorbar(
            rows["weight"], place[sign], xerr=rows["sd"], fmt="o", ms=4.5, color=colour, lw=1.6
        )
    ax.axvline(0, color=GREY, lw=0.8)
    labels = [f"{a} → {b}" for a, b in zip(table["source"], table["target"], strict=True)]
    ax.set_yticks(place, labels, parse_math=False)
    ax.set_ylim(len(table) - 0.3, -0.7)
    ax.set_xlabel(f"{unit(network)} ± 1 sd")
    _sign_legend(ax, "o")
    return ax


def out_degree(
    network: Network, *, top: int | None = None, n: int = 20, ax: Axes | None = None
) -> Axes:
    """Draw how many of the strongest edges leave each of the best-connected regulators.

    In simulated networks of 100 to 2,500 genes, DREAM4 and SERGIO, as many edges as there are genes
    find the regulators with most targets better than a fixed number or share of edges, and better
    than sums of probabilities or of squared weights.

    Parameters
    ----------
    network
        The network.
    top
        How many of the strongest edges to count; None for as many as there are genes.
    n
        How many regulators to show.
    ax
        Where to draw.
    """
    table = edges(network, top=top or len(network.genes))
    counts = pd.crosstab(table["source"], np.where(table["weight"] > 0, "up", "down"))
    counts = counts.reindex(columns=["up", "down"], fill_value=0)
    shown = counts.loc[counts.sum(axis=1).sort_values(ascending=False, kind="stable").index[:n]]
    ax = ax or _axes(0.9 + 0.22 * len(shown))
    place = np.arange(len(shown))
    ax.barh(place, shown["up"], color=ACTIVATES, height=0.7)
    ax.barh(place, shown["down"], left=shown["up"], color=REPRESSES, height=0.7)
    ax.set_yticks(place, list(shown.index), parse_math=False)
    ax.set_ylim(len(shown) - 0.3, -0.7)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel(f"Targets among the {len(table)} strongest edges")
    _sign_legend(ax, "s")
    return ax


def neighbourhood(network: Network, regulator: str, n: int = 15, *, ax: Axes | None = None) -> Axes:
    """Draw the strongest edges from and to one regulator, with the regulator in the centre.

    Arrows end in a point for activation and in a bar for repression, and are wider for a larger
    ``|weight|``.

    Parameters
    ----------
    network
        The network.
    regulator
        Name of the gene in the centre.
    n
        How many edges to draw, the strongest.
    ax
        Where to draw.

    Raises
    ------
    ValueError
        If the network has no such regulator.
    """
    import networkx as nx

    if regulator not in network.regulators:
        raise ValueError(
            f"{regulator!r} is no regulator of this network; its regulators are "
            f"{', '.join(network.regulators[:5])}{', ...' if len(network.regulators) > 5 else ''}."
        )
    table = _around(network, regulator).head(n)
    others = list(dict.fromkeys([*table["source"], *table["target"]]))
    others.remove(regulator)
    at = nx.circular_layout(nx.empty_graph(others)) | {regulator: np.zeros(2)}
    ax = ax or _axes(4.1)
    largest = table["weight"].abs().max() or 1.0
    for source, target, weight in table[["source", "target", "weight"]].itertuples(index=False):
        width = 0.8 + 3.2 * abs(weight) / largest
        ends = {"shrinkA": _gap(at[source]), "shrinkB": _gap(at[target])}
        ax.add_patch(_arrow(at[source], at[target], weight, lw=width, **ends))
    for node in others:
        _ray_label(ax, node, at[node])
    box = {"boxstyle": "round,pad=0.4", "fc": "#4a5560", "ec": "none"}
    middle = {"ha": "center", "va": "center", "weight": "bold", "color": "white", "bbox": box}
    ax.text(0, 0, regulator, parse_math=False, **middle)
    ax.set(xlim=(-1.6, 1.6), ylim=(-1.2, 1.2), aspect="equal")
    ax.set_axis_off()
    _sign_legend(ax, "")
    return ax


def prior_posterior(
    prior_mean: Float[Array, "*pairs"],
    posterior_mean: Float[Array, "*pairs"],
    *,
    quantity: str = WEIGHT,
    ax: Axes | None = None,
) -> Axes:
    """Draw how many pairs have which prior and posterior mean; the dashed line is no change.

    Parameters
    ----------
    prior_mean, posterior_mean
        Means of the same pairs before and after the fit, of any shape.
    quantity
        Name and unit of what they are means of.
    ax
        Where to draw.
    """
    x, y = np.ravel(np.asarray(prior_mean)), np.ravel(np.asarray(posterior_mean))
    ax = ax or _axes(3.9)
    bins = ax.hexbin(
        x, y, gridsize=45, bins="log", mincnt=1, cmap="viridis", linewidths=0.1, edgecolors="face"
    )
    span = [max(x.min(), y.min()), min(x.max(), y.max())]
    if span[0] < span[1]:
        ax.plot(span, span, color=GREY, lw=1.2, ls="--")
    ax.set_xlabel(f"Prior: {quantity[0].lower()}{quantity[1:]}")
    ax.set_ylabel(f"Posterior: {quantity[0].lower()}{quantity[1:]}")
    bar = ax.figure.colorbar(bins, ax=ax, aspect=30)
    bar.set_label("Regulator-target pairs", color=INK)
    bar.ax.tick_params(which="both", colors=INK)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    return ax


def comparison(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw the score of every seed of every variant, with the mean over seeds as a line.

    Parameters
    ----------
    table
        Columns ``variant, seed, auprc``; variants are shown in the order of their first row.
    ax
        Where to draw.

    Raises
    ------
    ValueError
        If columns are missing or there is no row.
    """
    _check(table, ("variant", "seed", "auprc"))
    variants = list(table["variant"].unique())
    ax = ax or _axes(0.8 + 0.45 * len(variants))
    for place, variant in enumerate(variants):
        scores = table.loc[table["variant"] == variant, "auprc"]
        spread = np.linspace(-0.15, 0.15, len(scores)) if len(scores) > 1 else np.zeros(1)
        ax.plot(scores, place + spread, "o", ms=5, color=ACTIVATES, alpha=0.75, mew=0)
        ax.plot([scores.mean()] * 2, [place - 0.3, place + 0.3], color=INK, lw=2.5)
    ax.set_yticks(range(len(variants)), [str(v) for v in variants], parse_math=False)
    ax.set_ylim(len(variants) - 0.4, -0.6)
    ax.set_xlabel("AUPRC (points: seeds, lines: means)")
    ax.grid(axis="x", color=GREY, alpha=0.25, lw=0.6)
    return ax


def _axes(height: float) -> Axes:
    """Make plain axes of their own figure; sizes are in inches."""
    return axes_grid(WIDTH, height, 1, 1, lines=False)[1][0, 0]


def _sign_legend(ax: Axes, marker: str) -> None:
    line = {"ls": "none" if marker else "-", "marker": marker, "lw": 2}
    ax.legend(
        handles=[
            Line2D([], [], color=ACTIVATES, label="activates", **line),
            Line2D([], [], color=REPRESSES, label="represses", **line),
        ],
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=2,
        frameon=False,
        labelcolor=INK,
    )


def _around(network: Network, regulator: str) -> pd.DataFrame:
    """List the edges from and to a regulator, strongest first."""
    weight = np.asarray(network.weight)
    row, column = network.regulators.index(regulator), network.genes.index(regulator)
    away = {"source": regulator, "target": network.genes, "weight": weight[row]}
    home = {"source": network.regulators, "target": regulator, "weight": weight[:, column]}
    table = pd.concat([pd.DataFrame(away), pd.DataFrame(home)])
    table = table.loc[table["source"] != table["target"]]
    return table.sort_values("weight", key=np.abs, ascending=False, kind="stable")


def _arrow(start: np.ndarray, end: np.ndarray, weight: float, **style: Any) -> FancyArrowPatch:
    look = (
        {"color": ACTIVATES, "arrowstyle": "-|>,head_length=6,head_width=3"}
        if weight > 0
        else {"color": REPRESSES, "arrowstyle": "|-|,widthA=0,widthB=5"}
    )
    bend = "arc3,rad=0.12"  # keeps the two directions of a pair apart
    return FancyArrowPatch(
        tuple(start), tuple(end), mutation_scale=1.2, connectionstyle=bend, **look, **style
    )


def _gap(at: np.ndarray) -> float:
    """Points between the end of an arrow and the node there: the centre has a wide label."""
    return 8.0 if np.any(at) else 24.0


def _ray_label(ax: Axes, name: str, at: np.ndarray) -> None:
    ax.plot(*at, "o", ms=6, color=GREY)
    x, y = at * 1.06
    side = "center" if abs(x) < 0.15 else "left" if x > 0 else "right"
    height = "center" if abs(x) >= 0.15 else "bottom" if y > 0 else "top"
    ax.text(x, y, name, ha=side, va=height, color=INK, parse_math=False)


def _check(table: pd.DataFrame, columns: tuple[str, ...]) -> None:
    missing = [column for column in columns if column not in table]
    if missing or not len(table):
        raise ValueError(
            f"Expected rows with columns {', '.join(columns)}, found {len(table)} rows with "
            f"{', '.join(map(str, table.columns))}."
        )
