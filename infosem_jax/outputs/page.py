"""Pages of sections with text, tables and figures, as HTML and Markdown."""

import io
import re
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from infosem_jax._typing import Path
from infosem_jax.data._files import atomic_write

if TYPE_CHECKING:
    from bokeh.models import UIElement
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
        Name and texts of each row; of a text of several lines, the first is the value.
    title, text
        Heading and what to know before reading, or "".
    words
        How many of the columns, from the left, hold words and no numbers.
    """

    head: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]
    title: str = ""
    text: str = ""
    words: int = 0


class Picture(NamedTuple):
    """A figure with what it shows in words, and the name of its file where it has one."""

    figure: "Figure"
    caption: str
    wide: bool = False
    name: str = ""


class Section(NamedTuple):
    """A heading with what stands below it, in order of the fields.

    Attributes
    ----------
    heading
        Heading.
    text, pictures, tables
        Paragraphs, figures and tables.
    folded
        Whether it opens on a click.
    facts
        Values by name.
    parts
        Sections of this section, which have none themselves.
    tone
        ``good``, ``bad`` or ``mixed`` where its parts are judgements.
    explorer
        What readers search, sort and filter, where their browser runs scripts; of one section.
    """

    heading: str
    text: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    folded: bool = False
    facts: Mapping[str, Any] | None = None
    parts: "Sequence[Section]" = ()
    tone: str = ""
    explorer: "Sequence[UIElement]" = ()


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
    """Write a page as one HTML file that needs no other file and no network.

    Without scripts it has all but what is there to explore.
    """
    import jinja2

    from infosem_jax.outputs.explorer import embedded, library

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("infosem_jax.outputs"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    numbers = count()
    text = environment.get_template("page.html").render(
        page=page,
        svg=lambda figure: svg(figure, f"f{next(numbers)}"),
        explorable=any(section.explorer for section in page.sections),
        library=library,
        embedded=embedded,
        show=show,
        tone=lambda text: _TONES.get(text.partition(" ")[0], ""),
    )
    with atomic_write(path) as draft:
        draft.write_text(text, encoding="utf-8")


def write_board(out: Path, page: Page, *, plots: str = "png") -> None:
    """Write ``table.md``, ``plots/*`` and ``report.html``, each file whole or not at all.

    Plots of an earlier page that this one lacks are removed.

    Parameters
    ----------
    out
        An existing folder.
    page
        What is told.
    plots
        Ending of the files of plots.
    """
    out = FilePath(out)
    table = out / "table.md"
    earlier = re.findall(r"\]\((plots/[\w.=+-]+)\)", table.read_text()) if table.exists() else []
    named = _named(page, plots)
    (out / "plots").mkdir(exist_ok=True)
    for name, picture in named.items():
        with atomic_write(out / name) as draft:
            picture.figure.savefig(draft, dpi=130, facecolor="white")
        # The layout stays as it was solved for the first file.
        picture.figure.set_layout_engine("none")
    write_page(out / "report.html", page)
    with atomic_write(table) as draft:
        draft.write_text(_markdown(page, list(named)), encoding="utf-8")
    for name in set(earlier) - set(named):
        (out / name).unlink(missing_ok=True)


def show(value: object) -> str:
    """Write a value as a reader expects it."""
    if value is None:
        return "none"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{value:,}" if abs(int(value)) >= 10_000 else str(value)
    if isinstance(value, float | np.floating):
        return f"{value:.4g}"
    if isinstance(value, list | tuple | set):
        return ", ".join(map(show, value)) or "none"
    return str(value)


def counted(parts: Mapping[str, int]) -> str:
    """Write how many there are of each word, plural ``s`` before any "of"."""
    return ", ".join(f"{n:,} {_plural(word) if n != 1 else word}" for word, n in parts.items())


def number(value: float, digits: int = 3, *, sign: bool = False) -> str:
    """Write a number; a dash where it is not defined.

    Parameters
    ----------
    value
        The number.
    digits
        How many follow the point.
    sign
        Whether numbers above 0 get a plus.
    """
    if not np.isfinite(value):
        return "–"
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "−")


def interval(value: float, low: float, high: float, digits: int = 3, *, sign: bool = False) -> str:
    """Write a number with its interval in brackets, where it has one.

    Parameters
    ----------
    value, low, high
        The number and the ends of its interval; NaN where there is none.
    digits, sign
        As of `number`.
    """
    text = number(value, digits, sign=sign)
    if not np.isfinite(low):
        return text
    return f"{text} [{number(low, digits, sign=sign)}, {number(high, digits, sign=sign)}]"


def seconds(value: float) -> str:
    """Write a time, with two digits where it is short."""
    if not np.isfinite(value):
        return "–"
    return f"{value:.2g}" if value < 10 else f"{value:,.0f}"


def _named(page: Page, ending: str) -> dict[str, Picture]:
    """Return every figure of a page by the file that it goes to, in order."""
    named = {}
    for section in page.sections:
        for own in (section, *section.parts):
            for i, picture in enumerate(own.pictures):
                name = picture.name or f"{own.heading[:100]}_{i}"
                name = re.sub(r"[^A-Za-z0-9_.=+-]+", "-", name)
                while (file := f"plots/{name}.{ending}") in named:
                    name += "_"
                named[file] = picture
    return named


def _markdown(page: Page, plots: Sequence[str]) -> str:
    """Write a page as Markdown; ``plots`` are the files of its figures, in order."""
    parts = [f"# {_escape(page.title)}", _escape(" ".join(page.overview))]
    if page.notes:
        parts += ["## Notes", "\n".join(f"- {_escape(note)}" for note in page.notes)]
    files = iter(plots)
    for section in page.sections:
        for own in (section, *section.parts):
            parts.append(f"{'##' if own is section else '###'} {_escape(own.heading)}")
            parts += [_escape(text) for text in own.text]
            parts += [f"![{_escape(each.caption)}]({next(files)})" for each in own.pictures]
            for table in own.tables:
                parts += [f"### {_escape(table.title)}"] if table.title else []
                parts += [_escape(table.text)] if table.text else []
                parts.append(_rows(table, page.marked))
            parts += [_listed(own.facts)] if own.facts else []
    for heading, facts in page.facts.items():
        parts += [f"## {heading}", _listed(facts)]
    return "\n\n".join(parts) + "\n"


def _listed(facts: Mapping[str, Any]) -> str:
    return "\n".join(f"- **{_escape(key)}**: {_escape(show(text))}" for key, text in facts.items())


def _rows(table: Table, marked: frozenset[str]) -> str:
    aligned = ["---"] * (1 + table.words) + ["---:"] * (len(table.columns) - table.words)
    lines = [[table.head, *map(_escape, table.columns)], aligned]
    for name, values in table.rows:
        shown = _escape(name)
        lines.append([f"*{shown}*" if name in marked else shown, *map(_escape, values)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escape(text: str) -> str:
    """Keep names from being taken for marks or HTML."""
    return re.sub(r"([\\|<>*`]|\](?=[(\[:])|\b_|_\b)", r"\\\1", " ".join(text.split()))


# How words of a table are coloured.
_TONES = {
    **dict.fromkeys(("above", "better", "activates"), "good"),
    **dict.fromkeys(("below", "worse", "represses"), "bad"),
}


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
