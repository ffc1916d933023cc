"""Pages of activities and of differences: what changed between groups of cells, to look at."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure

from infosem_jax.grn.activities import OF_REGULATORS, Activity
from infosem_jax.grn.differences import LIKELY, SURE, Contrast, changes, rewired
from infosem_jax.outputs.explorer import explore
from infosem_jax.outputs.page import Page, Picture, Section, Table, number
from infosem_jax.outputs.style import COLOURS, axes_grid, draw_legend, draw_title

if TYPE_CHECKING:
    from bokeh.models import UIElement

# Rows of tables, regulators that are drawn, and differences to search.
ROWS, DRAWN, LISTED = 40, 5, 5000
# Share of cells whose activities the colours span.
SPAN = 0.98
LEAST_RATE = 1e-10
LISTED_ARE = f"Those with a local false sign rate below {LIKELY}, at most {ROWS}."
NONE = f"all local false sign rates are at least {LIKELY}."
READING = {
    "Shared": "The effect in all cells together: the centre that the effects of both groups are "
    "drawn to. Change of the target, in its standard deviations, for one of the regulator.",
    "Difference": "The effect in the second group less that in the first, drawn to zero as far as "
    "it is unsure; sd is its standard deviation.",
    "lfsr": "Local false sign rate: the probability that the difference is none, or has the other "
    "sign. Of those with at most 0.05, fewer than one in twenty should be wrong.",
}


def activities_on_plane(
    at: Float[np.ndarray, "cells 2"],
    found: Activity,
    groups: np.ndarray,
    names: list[str],
    axes: tuple[str, str],
) -> Figure:
    """Draw cells on a plane, by group and by the activity of some regulators.

    Parameters
    ----------
    at
        Coordinates of the cells.
    found, groups
        Activities, and the group of each cell.
    names
        Regulators, at most five.
    axes
        What the coordinates are.
    """
    figure, grid = axes_grid(9.0, 6.0, 2, 3, lines=False)
    first, *others = grid.ravel()
    handles = {}
    for i, group in enumerate(dict.fromkeys(groups.tolist())):
        style = {"s": 4, "c": COLOURS[i % len(COLOURS)], "linewidths": 0, "rasterized": True}
        handles[group] = first.scatter(*at[groups == group].T, **style)
    draw_title(first, "group")
    draw_legend(figure, handles, markerscale=3)
    for ax, name in zip(others, names, strict=False):
        values = found.mean[:, found.regulators.index(name)]
        most = max(float(np.quantile(np.abs(values), SPAN)), 1e-6)
        style = {"s": 4, "cmap": "PuOr_r", "vmin": -most, "vmax": most, "rasterized": True}
        points = ax.scatter(*at.T, c=values, linewidths=0, **style)
        draw_title(ax, name)
        figure.colorbar(points, ax=ax)
    for ax in (first, *others):
        ax.set(xticks=[], yticks=[], xlabel=axes[0], ylabel=axes[1])
    for ax in others[len(names) :]:
        ax.set_visible(False)
    return figure


def activity_page(
    table: pd.DataFrame,
    picture: Figure,
    cells: "Sequence[UIElement]",
    facts: Mapping[str, Mapping[str, Any]],
) -> Page:
    """Return the page of activities.

    Parameters
    ----------
    table
        Mean activities of groups, as `infosem_jax.grn.compare_activity` returns them.
    picture
        Cells on a plane.
    cells
        The same for readers to colour, see `infosem_jax.outputs.explorer.coloured_cells`.
    facts
        Lists of names and texts that close the page.
    """
    groups = [name for name in table if name not in OF_REGULATORS]
    apart = len(groups) > 1
    rows = [
        (
            row["regulator"],
            [
                *(number(row[name], 2, sign=True) for name in groups),
                number(row["sd"], 2),
                *([number(row["between"], 2)] if apart else []),
            ],
        )
        for row in table.head(ROWS).to_dict("records")
    ]
    heads = [*groups, "sd of a cell", *(["share between groups"] if apart else [])]
    means = Table("regulator", heads, rows, "Mean activity of each group")
    return Page(
        "Activities of regulators",
        "Which regulators are active in which cells?",
        [
            "An activity is read from the targets of a regulator, in standard deviations of its "
            "expression; edges count by weight, sign and how sure they are.",
            "The sd is that of one cell: near 1, the targets say nothing.",
            *(
                [
                    "Activities are drawn to 0 as far as targets say little. Regulators are sorted "
                    "by the share of the variance of their activity that is between groups."
                ]
                if apart
                else []
            ),
        ],
        [],
        [
            Section(
                "Cells",
                [
                    f"Choose among the {len(rows)} regulators whose activities "
                    f"{'are surest' if len(groups) == 1 else 'differ most between groups'}; "
                    "activity.csv holds all."
                ],
                [Picture(picture, "Cells by group and activity", wide=True)],
                explorer=cells,
            ),
            Section("Groups", [], tables=[means]),
        ],
        facts,
    )


def contrast_page(found: Contrast, facts: Mapping[str, Mapping[str, Any]]) -> Page:
    """Return the page of a contrast.

    Parameters
    ----------
    found
        The contrast.
    facts
        Lists of names and texts that close the page.
    """
    first, second = found.groups
    edges = [
        (
            row["source"],
            [
                row["target"],
                *(number(row[name], 3, sign=True) for name in ("shared", "difference")),
                number(row["sd"]),
                _rate(row["lfsr"]),
            ],
        )
        for row in changes(found, top=ROWS, below=LIKELY).to_dict("records")
    ]
    grown = rewired(found).query("lfsr < @LIKELY").head(ROWS)
    regulators = [
        (
            row["regulator"],
            [
                number(row["strength"], 2, sign=True),
                number(row["sd"], 2),
                _rate(row["lfsr"]),
                str(row["changed"]),
            ],
        )
        for row in grown.to_dict("records")
    ]
    sure = int((found.lfsr <= SURE).sum())
    counts = ", ".join(map(str, found.learned["shuffled"])) or "not tried"
    return Page(
        f"{second} against {first}",
        "Which effects of regulators differ between two groups of cells?",
        [
            f"{sure:,} of {found.lfsr.size:,} effects differ with a local false sign rate of at "
            f"most {SURE:.0%}; after labels were shuffled: {counts}.",
            "Differences of mean expression are taken out. Groups of cells that differ in the "
            "shares of cell types differ in effects as well: compare within a type.",
        ],
        [],
        [
            Section(
                "Effects",
                [] if edges else [f"No effect is likely to differ: {NONE}"],
                tables=[
                    Table("regulator", ["target", "shared", "difference", "sd", "lfsr"], edges,
                          "The surest differences", LISTED_ARE, words=1)
                ] if edges else [],
                explorer=explore(
                    changes(found, top=LISTED),
                    search=["source", "target"],
                    label="Gene",
                    file="differences.csv",
                    ceilings={"lfsr": "Local false sign rate at most"},
                ).layout,
            ),
            Section(
                "Regulators",
                [
                    "Strength: how the effects of a regulator grow (above zero) or shrink "
                    "together, relative to their mean over the groups: 0 as they are, −2 where "
                    "they are gone in the second group."
                    if regulators
                    else f"The effects of no regulator are likely to grow or shrink: {NONE}"
                ],
                tables=[
                    Table("regulator", ["strength", "sd", "lfsr", "effects that differ"],
                          regulators, "Regulators whose effects grow or shrink")
                ] if regulators else [],
            ),
            Section("How to read this", facts=READING),
        ],
        facts,
    )  # fmt: skip


def _rate(value: float) -> str:
    """Write a local false sign rate; what is left of the smallest is rounding."""
    return f"{value:.2g}" if value >= LEAST_RATE else f"< {LEAST_RATE:g}"
