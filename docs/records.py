"""Write what the records hold into README and the pages of results: ``python docs/records.py``.

A record is what a script in ``benchmarks/`` wrote with ``--json docs/records/NAME.json``. A page
says where its figures go, and what stands between the two marks is written here:

- ``<!-- NAME: PATTERN -->...<!-- end -->`` in a line: a figure with its interval;
- the same on lines of their own: a table of all figures that match, of one record or of several
  (``NAME, NAME: PATTERN``). Each ``*`` is any text, each ``{a|b}`` one of these; the last of them
  names the columns, those before it the rows;
- ``<!-- records -->`` on a line of its own: command, settings, commit and machine of each record.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RECORDS, PLOTS = HERE / "records", HERE / "_static" / "results"
PAGES = [HERE.parent / "README.md", *sorted((HERE / "results").glob("*.md"))]
ERROR = ", standard error"
SPACE = "\N{NO-BREAK SPACE}"  # an interval stays on one line
MARK = re.compile(r"<!-- (\w+(?:, \w+)*: [^\n]+?|records) -->(.*?)<!-- end -->", re.DOTALL)


def main() -> None:
    """Fill all pages, and draw all plots."""
    for page in PAGES:
        page.write_text(filled(page.read_text()))
    PLOTS.mkdir(parents=True, exist_ok=True)
    for name in DRAWN:
        draw(name)


def record(name: str) -> dict[str, Any]:
    """Read a record."""
    return json.loads((RECORDS / f"{name}.json").read_text())


def filled(text: str) -> str:
    """Return a page with the figures of the records between its marks.

    Raises
    ------
    ValueError
        If no figure matches.
    """
    return MARK.sub(_filled, text)


def found(names: str, pattern: str) -> dict[tuple[str, ...], dict[str, Any]]:
    """Return the figures of records that match, by what stands for each ``*``.

    Where a figure is followed by its standard error, it has an entry ``error``.

    Raises
    ------
    ValueError
        If a record has no figure that matches.
    """
    return {key: one for name in names.split(", ") for key, one in _found(name, pattern).items()}


def _found(name: str, pattern: str) -> dict[tuple[str, ...], dict[str, Any]]:
    parts = (_part(text) for text in re.split(r"(\*|\{.+?\})", pattern))
    whole = re.compile("".join(parts))
    made, figures = record(name), {}
    script = Path(made["command"].split()[1]).stem
    errors = {f["name"]: f["value"] for f in made["figures"] if f["name"].endswith(ERROR)}
    for figure in made["figures"]:
        if figure["name"] in errors:
            continue
        if match := whole.fullmatch(figure["name"].removeprefix(f"{script}: ")):
            figures[match.groups()] = figure | {"error": errors.get(f"{figure['name']}{ERROR}")}
    if not figures:
        raise ValueError(f"docs/records/{name}.json has no figure {pattern!r}.")
    return figures


def figure_text(figure: dict[str, Any]) -> str:
    """Write a figure with its interval or standard error, a difference with its sign."""
    sign = "+" if " minus " in figure["name"] else ""
    text = _number(figure["value"], sign)
    if figure.get("error") is not None:
        return f"{text}{SPACE}±{SPACE}{_number(figure['error'])}"
    if figure.get("low") is None or figure.get("high") is None:
        return text
    low, high = figure["low"], figure["high"]
    if math.isclose(low, high, rel_tol=1e-5):  # the same for all seeds, up to rounding
        return text
    return f"{text} [{_number(low, sign)},{SPACE}{_number(high, sign)}]"


def digest(name: str) -> str:
    """Return a sum of a record, which its plot carries."""
    return hashlib.sha256((RECORDS / f"{name}.json").read_bytes()).hexdigest()[:16]


def draw(name: str) -> None:
    """Draw the plot of a record to ``_static/results/NAME.svg``."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    with mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "none", "font.size": 9}):
        figure = DRAWN[name]()
        metadata = {"Date": None, "Creator": None, "Description": digest(name)}
        figure.savefig(PLOTS / f"{name}.svg", metadata=metadata)
        plt.close(figure)


def _filled(match: re.Match[str]) -> str:
    mark, old = match.groups()
    if mark == "records":
        text = f"\n\n{_about_all()}\n\n"
    else:
        names, _, pattern = mark.partition(": ")
        figures = found(names, pattern)
        on_lines = old.startswith("\n")
        text = f"\n\n{_table(names, figures)}\n\n" if on_lines else figure_text(figures[()])
    return f"<!-- {mark} -->{text}<!-- end -->"


def _part(text: str) -> str:
    if text == "*":
        return "(.+?)"
    if text.startswith("{"):
        return f"({'|'.join(map(re.escape, text[1:-1].split('|')))})"
    return re.escape(text)


def _number(value: float | None, sign: str = "") -> str:
    if value is None:
        return "none"
    whole = abs(value) >= 1000 or float(value).is_integer()
    return f"{value:{sign},.0f}" if whole else f"{value:{sign}#.3g}".rstrip(".")


def _table(names: str, figures: dict[tuple[str, ...], dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(key[-1] for key in figures))
    rows = list(dict.fromkeys(key[:-1] for key in figures))
    if not any(rows):  # one star: a row for each figure
        head, body = ["", ""], [[key[0], figure_text(f)] for key, f in figures.items()]
    else:
        texts = {key: figure_text(figure) for key, figure in figures.items()}
        head = [*([""] * len(rows[0])), *columns]
        body = [[*row, *(texts.get((*row, c), "") for c in columns)] for row in rows]
    lines = [head, ["---"] * len(head), *body]
    table = "\n".join(
        "| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines
    )
    return f"{table}\n\n*{_about(names)}*"


def _about(names: str) -> str:
    if ", " in names:
        links = ", ".join(f"[{name}](records.md#{name})" for name in names.split(", "))
        return f"Commands, commits and machine: {links}."
    made = record(names)
    return f"`{made['command']}`, commit {made['commit']}, {made['date']}; [all of it](records.md)."


def _about_all() -> str:
    parts = []
    for path in sorted(RECORDS.glob("*.json")):
        made = record(path.stem)
        machine, versions = made["hardware"], made["versions"]
        settings = ", ".join(f"{k} {v}" for k, v in made["settings"].items() if v) or "none"
        parts.append(
            f"## {path.stem}\n\n"
            f"- `{made['command']}`\n"
            f"- {made['date']}, commit {made['commit']}; {len(made['figures'])} figures\n"
            f"- settings: {settings}\n"
            f"- {machine['cores']} cores of {machine['cpu']}, {machine['memory_gib']} GiB, "
            f"{machine['device']}\n"
            f"- {', '.join(f'{k} {v}' for k, v in versions.items())}"
        )
    return "\n\n".join(parts)


def _draw_exact():
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        1, 3, figsize=(8.6, 3.1), layout="constrained", sharex=True, sharey=True
    )
    networks = {"string": "STRING", "nonspecific": "ChIP-seq, any cell", "specific": "ChIP-seq"}
    for ax, method in zip(axes, ("no prior", "texts alone", "texts and expression"), strict=True):
        own = found("exact_grn", f"*, *, *, {method}")
        for network, label in networks.items():
            data = [key[0] for key in own if key[1:] == (network, "pooled") and key[0] != "mean"]
            pooled, each = (
                [own[d, network, score]["value"] for d in data]
                for score in ("pooled", "per regulator")
            )
            ax.scatter(pooled, each, label=label, s=22)
        ax.axline((1, 1), slope=1, color="grey", lw=0.8, ls="--")
        ax.set(title=method, xlabel="pooled")
    axes[0].set_ylabel("per regulator")
    axes[0].legend(frameon=False)
    return figure


def _draw_speed():
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(5, 3.2), layout="constrained")
    seconds: dict[str, list[tuple[float, float]]] = {}
    for (_, cells, name), one in found("speed_cells", "cells, * genes, *, *").items():
        seconds.setdefault(name, []).append((float(cells), one["value"]))
    for name, values in seconds.items():
        ax.plot(*zip(*values, strict=True), "o-", ms=4, label=name)
    ax.set(xscale="log", yscale="log", xlabel="cells", ylabel="seconds")
    ax.legend(frameon=False)
    return figure


def _draw_calibration():
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(3.6, 3.4), layout="constrained")
    ax.plot([0, 1], [0, 1], color="grey", lw=0.8, ls="--")
    for name in ("stated", "recalibrated"):
        own = found("calibration_grn", f"edges, {name}, *, share of true edges")
        x, y = [float(at) for (at,) in own], [one["value"] for one in own.values()]
        reach = [
            [y_i - one["low"], one["high"] - y_i] for y_i, one in zip(y, own.values(), strict=True)
        ]
        ax.errorbar(x, y, list(zip(*reach, strict=True)), fmt="o", ms=4, lw=1, label=name)
    ax.set(xlabel="probability of an edge", ylabel="share of true edges")
    ax.legend(frameon=False)
    return figure


def _draw_inputs():
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(7, 3), layout="constrained", sharey=True)
    for ax, how in zip(axes, ("greedy", "random"), strict=True):
        curves: dict[str, list[tuple[int, float, float, float]]] = {}
        for (n, method), one in found("few_inputs_expression", f"{how}, *, *").items():
            ends = (one.get(end, one["value"]) for end in ("low", "high"))
            curves.setdefault(method, []).append((int(n), one["value"], *ends))
        for method, values in curves.items():
            n, mean, low, high = zip(*sorted(values), strict=True)
            (line,) = ax.plot(n, mean, "o-", ms=4, label=method)
            ax.fill_between(n, low, high, alpha=0.15, color=line.get_color(), lw=0)
        ax.set(title=f"{how} inputs", xscale="log", xlabel="measured genes")
    axes[0].set_ylabel("correlation per gene")
    axes[0].legend(frameon=False)
    return figure


DRAWN: dict[str, Callable[[], Any]] = {
    "exact_grn": _draw_exact,
    "speed_cells": _draw_speed,
    "calibration_grn": _draw_calibration,
    "few_inputs_expression": _draw_inputs,
}

if __name__ == "__main__":
    main()
