"""The part of a report to explore: search genes, sort and filter edges, look at neighbourhoods."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from infosem_jax._typing import Array
from infosem_jax.grn.networks import Network, edges
from infosem_jax.outputs.explorer import OF_ROW, SIZE, Explorer, explore, plain, script
from infosem_jax.outputs.style import ACTIVATES, GREY, INK, REPRESSES

if TYPE_CHECKING:
    from bokeh.models import UIElement

# Pages stay below five megabytes, of which Bokeh's script takes two.
MOST_EDGES = 10_000
OF_EACH_GENE = 5
NEIGHBOURS, COMPANIONS = 12, 4
HIDDEN = ("prior",)


def explored(network: Network, prior_mean: Float[Array, "regulators genes"] | None) -> pd.DataFrame:
    """List the edges that a page holds: the strongest of all, and of each regulator and target.

    Parameters
    ----------
    network
        The network.
    prior_mean
        Mean of the weights before the fit; None where the prior tells no pairs apart.

    Returns
    -------
    DataFrame
        Columns of `edges` that the network has, and ``prior``; strongest first.
    """
    table = edges(network, top=MOST_EDGES, each=OF_EACH_GENE).dropna(axis="columns", how="all")
    if prior_mean is not None:
        row = pd.Index(network.regulators).get_indexer(pd.Index(table["source"]))
        column = pd.Index(network.genes).get_indexer(pd.Index(table["target"]))
        table["prior"] = np.asarray(prior_mean)[row, column]
    return table


def explorer(table: pd.DataFrame) -> "list[UIElement]":
    """Return the search, the table of edges from `explored`, and the figures that hang on it."""
    least = {
        "score": "Score at least",
        "sign_agreement": "Sign agreement at least",
    }
    parts = explore(
        table,
        search=["source", "target"],
        label="Gene",
        file="edges.csv",
        sliders={name: text for name, text in least.items() if name in table},
        hidden=HIDDEN,
    )
    genes = sorted({*table["source"], *table["target"]})
    figures = [_neighbourhood(parts, str(table["source"].iloc[0]), genes)]
    if "prior" in table:
        figures.append(_prior_and_weight(parts))
    return [*parts.layout, *figures]


def _neighbourhood(parts: Explorer, centre: str, genes: list[str]) -> "UIElement":
    from bokeh.layouts import column
    from bokeh.models import (
        Arrow,
        AutocompleteInput,
        ColumnDataSource,
        CustomJS,
        Div,
        LabelSet,
        NormalHead,
        Range1d,
        TeeHead,
    )
    from bokeh.plotting import figure

    field = AutocompleteInput(
        title="Neighbourhood of (or choose a row above)",
        tags=[OF_ROW],
        value=centre,
        completions=genes,
        case_sensitive=False,
        min_characters=1,
        sizing_mode="stretch_width",
    )
    plot = figure(
        name="The neighbourhood as a picture",
        height=SIZE,
        sizing_mode="stretch_width",
        match_aspect=True,
        x_range=Range1d(start=-1.9, end=1.9),
        y_range=Range1d(start=-1.3, end=1.3),
        tools="pan,wheel_zoom,reset,save",
        toolbar_location="below",
        output_backend="svg",
    )
    plain(plot)
    plot.axis.visible = plot.grid.visible = False
    ends: dict[str, Any] = {"x_start": "xs", "y_start": "ys", "x_end": "xe", "y_end": "ye"}
    empty = {name: [] for name in ("xs", "ys", "xe", "ye", "width", "alpha")}
    arrows = {}
    point = NormalHead(size=9, line_color=ACTIVATES, fill_color=ACTIVATES)
    bar = TeeHead(size=9, line_color=REPRESSES, line_width=2)
    for name, end, colour in (("up", point, ACTIVATES), ("down", bar, REPRESSES)):
        arrows[name] = ColumnDataSource(dict(empty))
        lines: dict[str, Any] = {"line_color": colour, "line_width": "width", "line_alpha": "alpha"}
        plot.add_layout(Arrow(source=arrows[name], end=end, **ends, **lines))
    nodes = ColumnDataSource(
        {name: [] for name in ("x", "y", "lx", "ly", "name", "align", "marker")}
    )
    plot.scatter("x", "y", source=nodes, size=7, color=GREY, marker="marker")
    plot.add_layout(
        LabelSet(
            x="lx",
            y="ly",
            text="name",
            text_align="align",
            source=nodes,
            text_font_size="12px",
            text_color=INK,
            text_baseline="middle",
            background_fill_color="white",
            background_fill_alpha=0.8,
        )
    )
    summary = Div()
    draw = CustomJS(
        args={
            "source": parts.source,
            "passing": parts.passing,
            "field": field,
            "nodes": nodes,
            "summary": summary,
            "most": NEIGHBOURS,
            "companions": COMPANIONS,
            **arrows,
        },
        code=script("neighbourhood.js"),
    )
    field.js_on_change("value", draw)
    parts.passing.js_on_change("booleans", draw)
    known = {"source": parts.source, "field": field, "search": parts.search}
    parts.source.selected.js_on_change("indices", CustomJS(args=known, code=_OF_ROW))
    parts.search.js_on_change("value_input", CustomJS(args=known, code=_OF_SEARCH))
    return column(field, summary, plot, sizing_mode="stretch_width")


# A click on a row moves the picture to its regulator; a gene that is found, to that gene.
_OF_ROW = """
const [row] = source.selected.indices
if (row !== undefined) field.value = source.data.source[row]
"""
_OF_SEARCH = """
const sought = search.value_input.trim().toUpperCase()
const found = field.completions.find((name) => name.toUpperCase() === sought)
if (found !== undefined) field.value = found
"""


def _prior_and_weight(parts: Explorer) -> "UIElement":
    from bokeh.models import CDSView, HoverTool
    from bokeh.plotting import figure

    plot = figure(
        name="Weights of the edges by their prior means",
        height=SIZE,
        sizing_mode="stretch_width",
        title="Edges that are shown, before and after",
        x_axis_label="Prior mean of the weight",
        y_axis_label="Weight after the fit",
        tools="pan,box_zoom,wheel_zoom,tap,reset,save",
        toolbar_location="below",
        output_backend="svg",
    )
    plain(plot)
    points = {"x": "prior", "y": "weight", "source": parts.source, "size": 6}
    seen = CDSView(filter=parts.shown)
    plot.scatter(**points, color=ACTIVATES, alpha=0.5, line_color=None, view=seen)
    told = [("Edge", "@source → @target"), ("Prior, weight", "@prior, @weight"), ("sd", "@sd")]
    plot.add_tools(HoverTool(tooltips=told))
    return plot
