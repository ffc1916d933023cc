"""Tables to search, sort, filter and save in a page, by Bokeh, whose script the page carries."""

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

if TYPE_CHECKING:
    from bokeh.models import BooleanFilter, ColumnDataSource, TextInput, UIElement

HEIGHT, WIDTH = 360, 120  # of a table and of its columns, in pixels
SIZE = 420  # of a figure
MOST_CELLS = 3000
# Which table and which row keys act on.
FOCUS = """
:host(:focus-within) { outline: 2px solid #0072b2; outline-offset: 1px; }
.slick-header-column:focus { outline: 2px solid #0072b2; outline-offset: -2px; }
.slick-row .slick-cell.selected { background: #d3e6f4; }
"""
# What runs as soon as a page is shown, and the field that Enter on a row of a table leads to.
AT_START, OF_ROW = "at start", "of row"


class Explorer(NamedTuple):
    """A table to explore, and what figures beside it hang on.

    Attributes
    ----------
    layout
        Search field, sliders, table and button, below each other.
    source
        All rows.
    shown, passing
        Which rows are shown; and which pass the sliders, whatever is sought.
    search
        The search field.
    """

    layout: "list[UIElement]"
    source: "ColumnDataSource"
    shown: "BooleanFilter"
    passing: "BooleanFilter"
    search: "TextInput"


def explore(
    table: pd.DataFrame,
    *,
    search: Sequence[str],
    label: str,
    file: str,
    sliders: Mapping[str, str] | None = None,
    ceilings: Mapping[str, str] | None = None,
    hidden: Sequence[str] = (),
) -> Explorer:
    """Return a table to search and sort, with sliders for least and largest values of some columns.

    Parameters
    ----------
    table
        What is shown: words and numbers.
    search
        Columns of words that are searched.
    label
        What is sought, such as "Gene".
    file
        What the downloaded table is called.
    sliders
        What the least value is called, by the column that it is of.
    ceilings
        What the largest value is called, likewise.
    hidden
        Columns that are not shown.
    """
    from bokeh.models import (
        BooleanFilter,
        Button,
        CDSView,
        ColumnDataSource,
        CustomJS,
        DataTable,
        Div,
        Slider,
        TextInput,
    )

    source = ColumnDataSource({str(name): _values(table[name]) for name in table.columns})
    shown, passing = BooleanFilter(), BooleanFilter()
    field = TextInput(title=f"{label}: type part of a name", sizing_mode="stretch_width")
    ranged = {
        name: _slider(Slider, table[name], title)
        for name, title in (sliders or {}).items()
        if np.isfinite(table[name]).any()
    }
    capped = {
        name: _slider(Slider, table[name], title, at_end=True)
        for name, title in (ceilings or {}).items()
        if np.isfinite(table[name]).any()
    }
    count = Div(text=f"{len(table):,} rows are shown.")
    refresh = CustomJS(
        args={
            "source": source,
            "filter": shown,
            "passed": passing,
            "search": field,
            "sliders": ranged,
            "ceilings": capped,
            "count": count,
            "names": list(search),
        },
        code=script("filter.js"),
        tags=[AT_START],
    )
    field.js_on_change("value_input", refresh)
    for slider in (*ranged.values(), *capped.values()):
        slider.js_on_change("value", refresh)
    columns = [_column(table, name) for name in table if name not in hidden]
    grid = DataTable(
        source=source,
        view=CDSView(filter=shown),
        columns=columns,
        index_position=None,
        height=HEIGHT,
        sizing_mode="stretch_width",
        autosize_mode="none",  # narrow windows scroll the table
        reorderable=False,
        name=file.removesuffix(".csv"),
        stylesheets=[FOCUS],
    )
    button = Button(label="Download what is shown as CSV")
    saved = {"source": source, "filter": shown, "file": file, "columns": list(map(str, table))}
    button.js_on_click(CustomJS(args=saved, code=script("download.js")))
    layout = [field, *ranged.values(), *capped.values(), count, grid, button]
    return Explorer(layout, source, shown, passing, field)


def script(name: str) -> str:
    """Return what a page runs, from the file that it is kept in."""
    return (resources.files("infosem_jax.outputs") / "templates" / name).read_text("utf-8")


def library() -> str:
    """Return Bokeh's own script, which a page carries so that it needs no network."""
    from bokeh.resources import Resources

    parts: list[Any] = ["bokeh", "bokeh-widgets", "bokeh-tables"]
    return "\n".join(Resources(mode="inline", components=parts).js_raw)


def coloured_cells(
    place: Float[np.ndarray, "cells 2"], values: pd.DataFrame, *, label: str
) -> "list[UIElement]":
    """Return cells in a plane, coloured by one of several values that the reader chooses.

    Parameters
    ----------
    place
        Of the cells, such as a UMAP; at most `MOST_CELLS`, evenly taken, are drawn.
    values
        A row for each cell; the first column is shown first.
    label
        What is chosen, such as "Activity of".
    """
    from bokeh.models import ColorBar, ColumnDataSource, CustomJS, LinearColorMapper, Select
    from bokeh.palettes import PuOr11
    from bokeh.plotting import figure

    some = np.unique(np.linspace(0, len(place) - 1, MOST_CELLS).astype(int))
    columns = {f"v{i}": values.iloc[some, i].to_numpy(np.float32) for i in range(values.shape[1])}
    at = {"x": place[some, 0].astype(np.float32), "y": place[some, 1].astype(np.float32)}
    source = ColumnDataSource({**at, "value": columns["v0"], **columns})
    far = float(np.abs(columns["v0"]).max())
    colours = LinearColorMapper(palette=PuOr11, low=-far, high=far)
    options = [(f"v{i}", str(name)) for i, name in enumerate(values)]
    chosen = Select(title=label, value="v0", options=options)  # pyright: ignore[reportArgumentType]
    chosen.js_on_change(
        "value",
        CustomJS(args={"source": source, "colours": colours, "chosen": chosen}, code=_RECOLOUR),
    )
    plot = figure(
        name=f"Cells, coloured by {label[0].lower()}{label[1:]} what is chosen",
        height=SIZE,
        max_width=2 * SIZE,
        sizing_mode="stretch_width",
        tools="pan,wheel_zoom,reset,save",
        toolbar_location="below",
    )
    plain(plot)
    plot.axis.visible = plot.grid.visible = False
    colour: Any = {"field": "value", "transform": colours}
    plot.scatter(
        "x", "y", source=source, size=4, line_color="#b0b6bc", line_width=0.3, fill_color=colour
    )
    plot.add_layout(ColorBar(color_mapper=colours, width=10), "right")
    return [chosen, plot]


# Colours are even on both sides of 0.
_RECOLOUR = """
const values = source.data[chosen.value]
const far = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
colours.low = -far
colours.high = far
source.data = {...source.data, value: values}
"""


def plain(plot: Any) -> None:
    """Leave the library's mark and frame out of a figure."""
    plot.toolbar.logo = None
    plot.outline_line_color = None


def embedded(parts: "Sequence[UIElement]", place: str) -> str:
    """Return what Bokeh draws at a place of a page, as JSON that can stand within HTML.

    Parameters
    ----------
    parts
        What is drawn.
    place
        Identifier of the element that it goes to.
    """
    from bokeh.document import Document
    from bokeh.embed import json_item
    from bokeh.events import DocumentReady
    from bokeh.layouts import column
    from bokeh.models import CustomJS

    layout, document = column(*parts, sizing_mode="stretch_width"), Document()
    document.add_root(layout)
    for model in layout.references():
        if isinstance(model, CustomJS) and AT_START in model.tags:
            document.js_on_event(DocumentReady, model)
    item = json_item(layout, target=place)  # pyright: ignore[reportArgumentType]
    # Bokeh counts models on and on within a process; the same page is to have the same text.
    text = json.dumps(_renumbered(item, {}), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _values(column: Any) -> Any:
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy(np.float32)
    return column.astype(str).tolist()


def _slider(kind: Any, column: Any, title: str, *, at_end: bool = False) -> Any:
    values = column[np.isfinite(column)]
    whole = np.ceil if at_end else np.floor  # no row is left out at the start
    low, high = np.floor(100 * values.min()) / 100, whole(100 * values.max()) / 100
    end = max(high, low + 0.01)
    step = max(0.01, round((end - low) / 200, 2))
    value = end if at_end else low
    return kind(
        start=low, end=end, value=value, step=step, title=title, sizing_mode="stretch_width"
    )


def _column(table: pd.DataFrame, name: str) -> Any:
    from bokeh.models import ScientificFormatter, StringFormatter, TableColumn

    title = name.replace("_", " ")
    if not pd.api.types.is_numeric_dtype(table[name]):
        return TableColumn(field=name, title=title, formatter=StringFormatter(), width=WIDTH)
    shape = ScientificFormatter(precision=3, power_limit_high=4, power_limit_low=-3)
    return TableColumn(
        field=name, title=title, formatter=shape, default_sort="descending", width=WIDTH
    )


def _renumbered(item: Any, names: dict[str, str]) -> Any:
    """Give every model the number of its first mention."""
    if isinstance(item, Mapping):
        return {
            key: names.setdefault(value, f"m{len(names)}")
            if key in ("id", "root_id") and isinstance(value, str)
            else _renumbered(value, names)
            for key, value in item.items()
        }
    if isinstance(item, list | tuple):
        return [_renumbered(value, names) for value in item]
    return item
