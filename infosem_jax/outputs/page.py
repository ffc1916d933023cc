"""Pages of sections with text, tables and figures, as HTML and Markdown."""

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from infosem_jax._typing import Path
from infosem_jax.data._files import atomic_write
from infosem_jax.outputs.render import render

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
    drawn = [
        [svg(picture.figure, f"s{i}p{j}") for j, picture in enumerate(section.pictures)]
        for i, section in enumerate(page.sections)
    ]
    text = render("page.html", page=page, drawn=drawn)
    with atomic_write(path) as draft:
        draft.write_text(text, encoding="utf-8")


def write_board(out: Path, page: Page) -> None:
    """Write ``table.md``, ``plots/*.png`` and ``report.html``, each file whole or not at all.

    Plots of an earlier page that this one lacks are removed.

    Parameters
    ----------
    out
        An existing folder.
    page
        What is told.
    """
    out = FilePath(out)
    _save_plots(out / "plots", page)
    write_page(out / "report.html", page)
    with atomic_write(out / "table.md") as draft:
        draft.write_text(_markdown(page), encoding="utf-8")


def counted(parts: Mapping[str, int]) -> str:
    """Write how many there are of each word, plural ``s`` before any "of"."""
    return ", ".join(f"{n:,} {_plural(word) if n != 1 else word}" for word, n in parts.items())


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


def _save_plots(folder: FilePath, page: Page) -> None:
    """Write every figure of a page as PNG to a folder, and remove those of an earlier run."""
    folder.mkdir(exist_ok=True)
    files = set()
    for section in page.sections:
        for i, picture in enumerate(section.pictures):
            name = f"{re.sub(r'[^A-Za-z0-9_.=-]+', '-', section.heading)[:100]}_{i}.png"
            with atomic_write(folder / name) as draft:
                picture.figure.savefig(draft, dpi=130, facecolor="white")
            # The layout stays as it was solved for the first file.
            picture.figure.set_layout_engine("none")
            files.add(name)
    for old in folder.glob("*.png"):
        if old.name not in files:
            old.unlink()


def _markdown(page: Page) -> str:
    """Write a page as Markdown, without its figures."""
    parts = [f"# {page.title}", " ".join(page.overview)]
    if page.notes:
        parts += ["## Notes", "\n".join(f"- {_escape(note)}" for note in page.notes)]
    for section in page.sections:
        parts.append(f"## {_escape(section.heading)}")
        parts += [_escape(text) for text in section.text]
        for table in section.tables:
            parts += [f"### {_escape(table.title)}"] if table.title else []
            parts.append(_rows(table, page.marked))
    for heading, facts in page.facts.items():
        lines = [f"- **{_escape(name)}**: {_escape(str(text))}" for name, text in facts.items()]
        parts += [f"## {heading}", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _rows(table: Table, marked: frozenset[str]) -> str:
    lines = [[table.head, *map(_escape, table.columns)], ["---"] + ["---:"] * len(table.columns)]
    for name, values in table.rows:
        shown = _escape(name)
        lines.append([f"*{shown}*" if name in marked else shown, *map(_escape, values)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escape(text: str) -> str:
    """Keep names from being taken for marks or HTML."""
    return re.sub(r"([\\|<>*`\[\]]|\b_|_\b)", r"\\\1", " ".join(text.split()))


def _plural(words: str) -> str:
    head, _, tail = words.partition(" of ")
    return f"{head}s of {tail}" if tail else f"{head}s"


def svg(figure: "Figure", name: str) -> str:
    """Return a figure as SVG that takes ink and font from the page around it.

    Parameters
    ----------
    figure
        What is drawn.
    name
        Begins all ids, as many figures share one page, where each id may occur once.
    """
    import matplotlib

    from infosem_jax.outputs.style import INK

    written = io.StringIO()
    nothing = {"Creator": None, "Date": None, "Format": None, "Type": None}
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(written, format="svg", facecolor="none", metadata=nothing)
    text = written.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    return re.sub(r"<[^>]+>", lambda tag: _own_ids(tag.group(), name), text)


def _own_ids(tag: str, name: str) -> str:
    return re.sub(r'(\bid="|\bhref="#|url\(#)', rf"\g<1>{name}-", tag)
