"""Tables to search, sort, filter and save in a page, by Bokeh, whose script the page carries."""

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from bokeh.models import BooleanFilter, ColumnDataSource, CustomJS, TextInput, UIElement

HEIGHT, WIDTH = 360, 120  # of a table and of its columns, in pixels


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
    refresh
        Finds anew which rows are shown.
    """

    layout: "list[UIElement]"
    source: "ColumnDataSource"
    shown: "BooleanFilter"
    passing: "BooleanFilter"
    search: "TextInput"
    refresh: "CustomJS"


def explore(
    table: pd.DataFrame,
    *,
    search: Sequence[str],
    label: str,
    file: str,
    sliders: Mapping[str, str] | None = None,
    hidden: Sequence[str] = (),
) -> Explorer:
    """Return a table to search and sort, with a slider for the least value of some columns.

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
    ranged = {name: _slider(Slider, table[name], title) for name, title in (sliders or {}).items()}
    count = Div(text=f"{len(table):,} rows are shown.")
    refresh = CustomJS(
        args={
            "source": source,
            "filter": shown,
            "passed": passing,
            "search": field,
            "sliders": ranged,
            "count": count,
            "names": list(search),
        },
        code=script("filter.js"),
    )
    field.js_on_change("value_input", refresh)
    for slider in ranged.values():
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
    )
    button = Button(label="Download what is shown as CSV")
    saved = {"source": source, "filter": shown, "file": file, "columns": list(map(str, table))}
    button.js_on_click(CustomJS(args=saved, code=script("download.js")))
    layout = [field, *ranged.values(), count, grid, button]
    return Explorer(layout, source, shown, passing, field, refresh)


def script(name: str) -> str:
    """Return what a page runs, from the file that it is kept in."""
    return (resources.files("infosem_jax.outputs") / "templates" / name).read_text("utf-8")


def library() -> str:
    """Return Bokeh's own script, which a page carries so that it needs no network."""
    from bokeh.resources import Resources

    parts: list[Any] = ["bokeh", "bokeh-widgets", "bokeh-tables"]
    return "\n".join(Resources(mode="inline", components=parts).js_raw)


def embedded(parts: Explorer, place: str) -> str:
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

    layout, document = column(*parts.layout, sizing_mode="stretch_width"), Document()
    document.add_root(layout)
    document.js_on_event(DocumentReady, parts.refresh)
    item = json_item(layout, target=place)  # pyright: ignore[reportArgumentType]
    # Bokeh counts models on and on within a process; the same page is to have the same text.
    text = json.dumps(_renumbered(item, {}), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _values(column: Any) -> Any:
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy(np.float32)
    return column.astype(str).tolist()


def _slider(kind: Any, column: Any, title: str) -> Any:
    values = column[np.isfinite(column)]
    low, high = np.floor(100 * values.min()) / 100, np.floor(100 * values.max()) / 100
    end = max(high, low + 0.01)
    step = max(0.01, round((end - low) / 200, 2))
    return kind(start=low, end=end, value=low, step=step, title=title, sizing_mode="stretch_width")


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
