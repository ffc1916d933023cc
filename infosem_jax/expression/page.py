"""Pages about inferred expression: sections of text, tables and figures, as HTML."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from infosem_jax._typing import Path
from infosem_jax.data._files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Table(NamedTuple):
    """A table in words: the names of its rows' column, of the others, and the rows.

    Attributes
    ----------
    head
        What the first column holds.
    columns
        Names of the others.
    rows
        Name and texts of each row.
    title
        Heading, or "".
    """

    head: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]
    title: str = ""


class Picture(NamedTuple):
    """A figure with what it shows in words."""

    figure: "Figure"
    caption: str
    wide: bool = False


class Section(NamedTuple):
    """A heading with paragraphs, figures and tables; ``folded`` ones open on a click."""

    heading: str
    text: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    folded: bool = False


class Page(NamedTuple):
    """All of a page.

    Attributes
    ----------
    title, lede
        Heading, and the question that the page answers.
    overview
        Sentences that everybody should read.
    notes
        Warnings, in sentences.
    sections
        The body, in order.
    facts
        Lists of names and texts that close the page: rules, methods, versions.
    marked
        Rows whose names are in italics, such as controls.
    """

    title: str
    lede: str
    overview: Sequence[str]
    notes: Sequence[str]
    sections: Sequence[Section]
    facts: Mapping[str, Mapping[str, Any]]
    marked: frozenset[str] = frozenset()


def write_page(path: Path, page: Page) -> None:
    """Write a page as one HTML file that needs no other file, no script and no network."""
    import jinja2

    from infosem_jax.report import svg

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("infosem_jax"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    drawn = [
        [svg(picture.figure, f"s{i}p{j}") for j, picture in enumerate(section.pictures)]
        for i, section in enumerate(page.sections)
    ]
    text = environment.get_template("expression.html").render(page=page, drawn=drawn)
    with atomic_write(path) as draft:
        draft.write_text(text, encoding="utf-8")


def number(value: float, digits: int = 3, *, sign: bool = False) -> str:
    """Write a number; a dash where it is not defined."""
    if not np.isfinite(value):
        return "–"
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "−")


def interval(value: float, low: float, high: float, digits: int = 3, *, sign: bool = False) -> str:
    """Write a number with its interval in brackets, where it has one."""
    text = number(value, digits, sign=sign)
    if not np.isfinite(low):
        return text
    return f"{text} [{number(low, digits, sign=sign)}, {number(high, digits, sign=sign)}]"


def seconds(value: float) -> str:
    """Write a time, with two digits where it is short."""
    if not np.isfinite(value):
        return "–"
    return f"{value:.2g}" if value < 10 else f"{value:,.0f}"
