"""What readers of a benchmark see: ``table.md``, plots, and ``report.html``."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from infosem_jax._typing import Path
from infosem_jax.benchmark.grn._board import (
    METRIC_NAMES,
    Board,
    Table,
    about_of,
    glance,
    make_board,
    of_group,
    of_network,
    tables,
)
from infosem_jax.data._files import atomic_write
from infosem_jax.grn.accuracy import Cell
from infosem_jax.grn.metrics import UNIVERSE
from infosem_jax.grn.paired import Group
from infosem_jax.outputs.page import counted
from infosem_jax.outputs.render import render
from infosem_jax.scores import verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVES = 5
_PLOTS = ("bars", "bias", "precision-recall", "drops")

RULES = {
    "What is ranked": UNIVERSE.replace("{score}", "score"),
    "Unlabelled is not negative": (
        "A pair that is absent from the known network was not found, which is no proof that there "
        "is no edge. Such pairs are unlabelled; they count as wrong here, as is the custom, so "
        "scores are to be compared and not taken at their value."
    ),
    "Splits": (
        "all: every pair is tested and no label is used. seen: unseen pairs of seen genes. "
        "unseen_target, unseen_regulator: the targets, or the regulators, of tested pairs occur in "
        "no training pair in that role. unseen_both: neither does. Ratios of different splits have "
        "different ceilings (1 over the share of true edges)."
    ),
    "Per regulator": (
        "The headline: for each regulator with enough edges, how well its own targets are ranked, "
        "as AUPRC over its share of true edges; then the mean over regulators. Chance gives a "
        "little more than 1, since with few edges luck can come early; the table says how much."
    ),
    "Pooled, and what it is made of": (
        "The same for all pairs in one ranking. It also rewards knowing which regulators have many "
        "known edges. The columns for regulators and for targets replace each score by the mean "
        "of its regulator, or target: what remains knows nothing about pairs. Where these reach "
        "the pooled score, that score is no sign of knowing who regulates whom."
    ),
    "Averages": (
        "Scores are averaged over seeds first and over data sets then, so that every data set "
        "counts the same. Methods that lack a data set come last and are marked †, because their "
        "averages are of something else. Where no regulator has enough edges there is a dash."
    ),
    "Intervals": (
        "95 % bootstrap intervals in brackets. Regulators are drawn with replacement, in the same "
        "way for all methods, and the draws averaged like the scores. They are about these data "
        "sets with other regulators. The column sd is the standard deviation over seeds on one "
        "data set."
    ),
    "Comparisons": (
        "Two methods are compared on the data sets and seeds that both have, draw by draw, with "
        "seeds resampled as well; “above” and “below” say that the whole interval lies there. The "
        "best control is chosen for each network and split by the scores that it is then compared "
        "with, which favours the controls. Of many comparisons without any difference, about one "
        "in forty is “above” by luck."
    ),
    "Seconds": "Time for a fit on the machine of this run, divided among the cells that share it.",
}


def write(
    out: Path,
    cells: Sequence[Cell],
    *,
    notes: Sequence[str],
    about: Mapping[str, str],
    versions: Mapping[str, Any],
) -> None:
    """Write ``table.md``, ``plots/*.png`` and ``report.html``, each file whole or not at all.

    Plots of an earlier run that this one does not draw are removed.

    Parameters
    ----------
    out
        An existing folder.
    cells
        What was measured.
    notes
        Sentences that readers need: reduced sizes, what was skipped, what failed.
    about
        A sentence for each method; methods whose sentence starts with "Control:" are controls. A
        read-out ``method.name`` without a sentence has that of its method.
    versions
        Software and hardware, by name.

    Raises
    ------
    ValueError
        If there are no cells, or cells that do not go together.
    """
    out = FilePath(out)
    board = make_board(cells, about)
    figures = _draw(out / "plots", board, cells)
    with atomic_write(out / "table.md") as draft:
        draft.write_text(_markdown(board, notes, about, versions), encoding="utf-8")
    with atomic_write(out / "report.html") as draft:
        draft.write_text(_page(board, figures, notes, about, versions), encoding="utf-8")


def _draw(folder: FilePath, board: Board, cells: Sequence[Cell]) -> dict[tuple, str]:
    """Write every figure as PNG, and return them as SVG by kind and what they are of."""
    from infosem_jax.benchmark.grn import _figures
    from infosem_jax.outputs.page import svg

    folder.mkdir(exist_ok=True)
    drawn: dict[tuple, str] = {}
    files: set[str] = set()

    def keep(kind: str, of: tuple[str, ...], figure: "Figure") -> None:
        name = _file_name(kind, of)
        while f"{name}.png" in files:
            name += "_"
        files.add(f"{name}.png")
        with atomic_write(folder / f"{name}.png") as draft:
            figure.savefig(draft, dpi=130, facecolor="white")
        # The layout stays as it was solved for the first file.
        figure.set_layout_engine("none")
        drawn[(kind, *of)] = svg(figure, f"f{len(files)}")

    curves = _curves(cells)
    for group in board.groups:
        rows, on = of_group(board.rows, group), of_group(board.on_data_sets, group)
        keep("bars", group, _figures.bars(on, list(rows["method"]), board.controls))
        keep("bias", group, _figures.bias(rows, board.controls))
        shown = {name: curves[group, name] for name in _leaders(rows, board.controls)}
        rate = float(rows["base_rate"].mean())
        keep("precision-recall", group, _figures.precision_recall(shown, board.controls, rate))
    for of in dict.fromkeys(group[:2] for group in board.groups):
        labelled = _labelled(of_network(board.rows, *of))
        if len(set(labelled["split"])) > 1:
            keep("drops", of, _figures.drops(labelled, board.controls))
    for old in folder.glob("*.png"):
        if old.name.startswith(tuple(f"{kind}_" for kind in _PLOTS)) and old.name not in files:
            old.unlink()
    return drawn


def _file_name(kind: str, of: Collection[str]) -> str:
    parts = [re.sub(r"[^\w.+=-]", "-", part)[:60] for part in of]
    return "_".join([kind, *parts])


def _curves(cells: Sequence[Cell]) -> dict[tuple[Group, str], np.ndarray]:
    """Precision at each recall, averaged over seeds and then over data sets."""
    found: dict[tuple[Group, str], dict[str, list[np.ndarray]]] = {}
    for cell in sorted(cells, key=lambda cell: cell.at):
        key = Group(cell.at.network, cell.at.genes, cell.at.split), cell.at.method
        found.setdefault(key, {}).setdefault(cell.at.dataset, []).append(cell.precision)
    return {
        key: np.mean([np.mean(seeds, axis=0) for seeds in of.values()], axis=0)
        for key, of in found.items()
    }


def _leaders(rows: pd.DataFrame, controls: Collection[str]) -> list[str]:
    """Choose the methods with the highest pooled AUPRC, and the best control."""
    names = rows.sort_values(["partial", "auprc"], ascending=[True, False])["method"].tolist()
    methods = [name for name in names if name not in controls][:CURVES]
    return methods + [name for name in names if name in controls][:1]


def _labelled(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of methods that learn from labels: those without a score on ``all``, if any has one."""
    free = rows.loc[rows["split"] == "all", "method"]
    return rows.loc[~rows["method"].isin(free.tolist()) & (rows["split"] != "all")]


def _overview(board: Board) -> list[str]:
    """Say what was compared, and how methods stand to their controls."""
    rows, on = board.rows, board.on_data_sets
    methods = set(rows["method"])
    counts = counted(
        {
            "method": len(methods - board.controls),
            "control": len(board.controls),
            "data set": len(set(on["dataset"])),
            "network": len(set(rows["network"])),
            "split": len(set(rows["split"])),
        }
    )
    sentences = [f"{counts}: {board.cells:,} cells."]
    for metric, name in METRIC_NAMES.items():
        of = board.versus.loc[board.versus["metric"] == metric].to_dict("records")
        if of:
            verdicts = [verdict(row["difference_low"], row["difference_high"]) for row in of]
            sentences.append(
                f"{name.capitalize()}, {verdicts.count('above')} of {len(of)} comparisons of a "
                f"method with the best control are above it with their whole interval, "
                f"{verdicts.count('below')} below."
            )
    return sentences


def _markdown(
    board: Board, notes: Sequence[str], about: Mapping[str, str], versions: Mapping[str, Any]
) -> str:
    found = tables(board)
    parts = ["# Benchmark of network inference", " ".join(_overview(board))]
    parts += ["## Rules"] + [f"**{name}.** {_escape(text)}" for name, text in RULES.items()]
    if notes:
        parts += ["## Notes", "\n".join(f"- {_escape(note)}" for note in notes)]
    for heading, kind in (
        ("Leaderboard", "leaderboard"),
        ("Do methods beat their controls?", "controls"),
        ("Each data set", "data sets"),
    ):
        parts.append(f"## {heading}")
        if not found[kind]:
            parts.append("There is no pair of a method and a control to compare.")
        for group, table in found[kind].items():
            parts.append(f"### {_escape(', '.join(group))}")
            parts += [_escape(table.text)] if table.text else []
            parts.append(_rows_markdown(table, board.controls))
    methods = [f"- **{_escape(m)}**: {_escape(text)}" for m, text in _sentences(board, about)]
    parts += ["## Methods", "Controls are in italics in all tables.", "\n".join(methods)]
    software = [f"- {_escape(name)}: {_escape(str(value))}" for name, value in versions.items()]
    parts += ["## Versions", "\n".join(software)] if versions else []
    return "\n\n".join(parts) + "\n"


def _rows_markdown(table: Table, controls: Collection[str]) -> str:
    lines = [["Method", *map(_escape, table.columns)], ["---"] + ["---:"] * len(table.columns)]
    for method, values in table.rows:
        name = _escape(method)
        lines.append([f"*{name}*" if method in controls else name, *values])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escape(text: str) -> str:
    """Keep names from being taken for marks or HTML."""
    return re.sub(r"([\\|<>*`\[\]]|\b_|_\b)", r"\\\1", " ".join(text.split()))


def _sentences(board: Board, about: Mapping[str, str]) -> list[tuple[str, str]]:
    names = sorted(board.rows["method"].unique(), key=lambda name: (name in board.controls, name))
    return [(name, about_of(name, about) or "No description.") for name in names]


def _page(
    board: Board,
    figures: Mapping[tuple, str],
    notes: Sequence[str],
    about: Mapping[str, str],
    versions: Mapping[str, Any],
) -> str:
    return render(
        "benchmark.html",
        overview=_overview(board),
        notes=notes,
        glance=glance(board),
        tables=tables(board),
        figures=figures,
        groups=board.groups,
        drops=[key[1:] for key in figures if key[0] == "drops"],
        controls=board.controls,
        rules=RULES,
        methods=_sentences(board, about),
        versions=versions,
    )
