"""What readers of a benchmark see: ``table.md``, plots, and ``report.html``."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from infosem_jax.benchmark.grn._board import (
    METRIC_NAMES,
    Board,
    about_of,
    glance,
    make_board,
    of_group,
    of_network,
    tables,
)
from infosem_jax.grn.accuracy import Cell
from infosem_jax.grn.metrics import UNIVERSE
from infosem_jax.grn.paired import Group
from infosem_jax.outputs.page import Page, Picture, Section, counted
from infosem_jax.scores import verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVES = 5
_CAPTIONS = {
    "bars": "Score per regulator on each data set",
    "bias": "Pooled score against score per regulator",
    "drops": "Scores by split",
    "precision-recall": "Precision over recall",
}
_LEADERBOARD = (
    "AUPRC ratio per regulator (1 is about chance), with its 95 % interval, and the pooled ratio "
    "below it. Methods are in order of their mean over the splits with labels held out; controls, "
    "in italics, know no mechanism. † lacks data sets."
)
_BIAS = (
    "Each point is a method. Above the diagonal the pooled score is larger than the score per "
    "regulator: part of it comes from preferring regulators with many known edges, which is bias "
    "and no mechanism."
)
_DROPS = (
    "The methods that learn from labels, on each split: what knows mechanisms stays, what knows "
    "single genes drops when these are new."
)
_RECALLS = (
    "The methods with the highest pooled AUPRC and the best control, averaged over data sets."
)

RULES = {
    "What is ranked": UNIVERSE.replace("{score}", "score"),
    "Unlabelled is not negative": (
        "A pair that is absent from the known network was not found, which is no proof that there "
        "is no edge. Such pairs are unlabelled; they count as wrong here, as is the custom, so "
        "scores are to be compared and not taken at their value."
    ),
    "Splits": (
        "all: every pair is tested and no label is used. seen: unseen pairs of seen genes. "
        "unseen_target: targets of tested pairs are no targets in training. unseen_regulator: "
        "their regulators occur in no training pair. unseen_as_regulator: these are no regulators "
        "in training, but may be targets there. unseen_both: neither gene occurs in training. "
        "transfer: labels are those of other data sets only, by name or orthologue. Ratios of "
        "different splits have different ceilings (1 over the share of true edges)."
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
    "Matched": (
        "AUROC among true edges and as many other pairs of the same regulators and targets, each "
        "as often: what a method knows of whole regulators or whole targets is worth 0.5, and a "
        "method within 0.02 of it is near chance."
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


def make_page(
    cells: Sequence[Cell],
    *,
    notes: Sequence[str],
    about: Mapping[str, str],
    versions: Mapping[str, Any],
) -> Page:
    """Bring cells into tables and figures, see `benchmark.runner.Plan`.

    Methods whose sentence in ``about`` starts with "Control:" are controls; a read-out
    ``method.name`` without a sentence has that of its method.

    Raises
    ------
    ValueError
        If there are no cells, or cells that do not go together.
    """
    from infosem_jax.benchmark.grn import _figures

    board, curves = make_board(cells, about), _curves(cells)
    found, controls = tables(board), board.controls

    def picture(kind: str, of: tuple[str, ...], figure: "Figure", *, wide: bool = False) -> Picture:
        name = "_".join([kind, *(part[:60] for part in of)])
        return Picture(figure, f"{_CAPTIONS[kind]}, {', '.join(of)}.", wide, name)

    metrics, biases, versus, each, recalls = [], [], [], [], []
    for group in board.groups:
        of = ", ".join(group)
        rows, on = of_group(board.rows, group), of_group(board.on_data_sets, group)
        metrics.append(Section(of, tables=[found["leaderboard"][group]], folded=True))
        biases.append(picture("bias", group, _figures.bias(rows, controls)))
        if group in found["controls"]:
            versus.append(Section(of, tables=[found["controls"][group]]))
        bars = picture("bars", group, _figures.bars(on, list(rows["method"]), controls), wide=True)
        each.append(Section(of, (), [bars], [found["data sets"][group]], folded=bool(each)))
        shown = {name: curves[group, name] for name in _leaders(rows, controls)}
        figure = _figures.precision_recall(shown, controls, float(rows["base_rate"].mean()))
        recall = picture("precision-recall", group, figure)
        recalls.append(Section(of, pictures=[recall], folded=True))
    drops = []
    for of in dict.fromkeys(group[:2] for group in board.groups):
        labelled = _labelled(of_network(board.rows, *of))
        if len(set(labelled["split"])) > 1:
            drops.append(picture("drops", of, _figures.drops(labelled, controls), wide=True))
    sections = [
        Section("Leaderboard", [_LEADERBOARD], tables=glance(board)),
        Section("All metrics", parts=metrics),
        Section("Where pooled scores come from", [_BIAS], biases),
        *([Section("What is left on unseen genes", [_DROPS], drops)] if drops else []),
        Section(
            "Do methods beat their controls?",
            [] if versus else ["There is no pair of a method and a control to compare."],
            parts=versus,
        ),
        Section("Each data set", parts=each),
        Section("Precision and recall", [_RECALLS], parts=recalls),
    ]
    return Page(
        "Benchmark of network inference",
        "How well do methods tell who regulates whom, on genes they have seen and on genes they "
        "have not?",
        _overview(board),
        notes,
        sections,
        {"Rules": RULES, "Methods": _sentences(board, about), "Versions": versions},
        controls,
    )


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


def _sentences(board: Board, about: Mapping[str, str]) -> dict[str, str]:
    names = sorted(board.rows["method"].unique(), key=lambda name: (name in board.controls, name))
    return {name: about_of(name, about) or "No description." for name in names}
