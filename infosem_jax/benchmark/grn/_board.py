"""Scores of the benchmark brought into tables of text, which Markdown and HTML show alike."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from infosem_jax.grn.accuracy import Cell
from infosem_jax.grn.paired import (
    HEADLINE,
    Group,
    best,
    group_order,
    paired,
    split_order,
    summary,
)
from infosem_jax.outputs.page import Table, interval, number, seconds
from infosem_jax.scores import verdict

CONTROL = "Control:"
# A degree-matched AUROC this near to 0.5 is not told from it.
NEAR_CHANCE = 0.02
METRIC_NAMES = {HEADLINE: "per regulator", "auprc": "pooled"}

Column: TypeAlias = tuple[str, Callable[[Any], str]]


class Board(NamedTuple):
    """All that the table and the report show of a benchmark."""

    rows: pd.DataFrame
    on_data_sets: pd.DataFrame
    versus: pd.DataFrame
    groups: list[Group]
    controls: frozenset[str]
    cells: int


def make_board(cells: Sequence[Cell], about: Mapping[str, str]) -> Board:
    rows = summary(cells)
    rows["partial"] = rows["data_sets"] < rows["of_data_sets"]
    names = sorted({cell.at.dataset for cell in cells})
    on_data_sets = pd.concat(
        [summary([c for c in cells if c.at.dataset == name]).assign(dataset=name) for name in names]
    )
    methods = rows["method"].unique()
    controls = frozenset(name for name in methods if about_of(name, about).startswith(CONTROL))
    places = rows[list(Group._fields)].itertuples(index=False, name=None)
    groups = sorted({Group(*place) for place in places}, key=group_order)
    versus = []
    for metric in METRIC_NAMES:
        champions = best(cells, controls, metric)
        others = [name for name in methods if name not in controls] if champions else []
        versus += [paired(cells, m, champions, metric).assign(metric=metric) for m in others]
    return Board(
        rows.sort_values("partial", kind="stable"),
        on_data_sets,
        pd.concat(versus) if versus else pd.DataFrame(columns=pd.Index([*Group._fields, "metric"])),
        groups,
        controls,
        len(cells),
    )


def of_group(rows: pd.DataFrame, group: Group) -> pd.DataFrame:
    """Select the rows of a group."""
    same = [rows[field] == value for field, value in group._asdict().items()]
    return rows.loc[np.logical_and.reduce(same)]


def about_of(method: str, about: Mapping[str, str]) -> str:
    return about.get(method, about.get(method.rpartition(".")[0], ""))


def of_network(rows: pd.DataFrame, network: str, genes: str) -> pd.DataFrame:
    """Select the rows of a network and gene set, by their names."""
    return rows.loc[(rows["network"] == network) & (rows["genes"] == genes)]


def tables(board: Board) -> dict[str, dict[Group, Table]]:
    """Every table of a group, by what it is about."""
    found: dict[str, dict[Group, Table]] = {"leaderboard": {}, "controls": {}, "data sets": {}}
    for group in board.groups:
        rows, on = of_group(board.rows, group), of_group(board.on_data_sets, group)
        found["leaderboard"][group] = _leaderboard(rows)
        versus = of_group(board.versus, group)
        if len(versus):
            found["controls"][group] = _versus(versus, list(rows["method"]))
        found["data sets"][group] = _by_data_set(on, list(rows["method"]))
    return found


def _leaderboard(rows: pd.DataFrame) -> Table:
    columns: list[Column] = [
        ("Per regulator", lambda r: _interval(r, HEADLINE, 2)),
        ("sd", lambda r: number(r[f"{HEADLINE}_sd"], 2)),
        ("Chance", lambda r: number(r[f"{HEADLINE}_chance"], 2)),
        ("Pooled", lambda r: number(r["auprc_ratio"], 2)),
        ("by regulator", lambda r: number(r["auprc_ratio_regulator_mean"], 2)),
        ("by target", lambda r: number(r["auprc_ratio_target_mean"], 2)),
        ("AUROC, matched", lambda r: _matched(r["auroc_degree_matched"])),
        ("AUPRC", lambda r: _interval(r, "auprc", 3)),
        ("AUROC", lambda r: number(r["auroc"], 3)),
        ("EPR", lambda r: number(r["epr"], 2)),
        ("Hit at 1 %", lambda r: number(r["hit_at_1pct"], 3)),
        ("Seconds", lambda r: seconds(r["seconds"])),
        ("Cells", lambda r: f"{r['cells']} of {r['of_cells']}" + " †" * bool(r["partial"])),
    ]
    rate = number(float(rows["base_rate"].mean()), 4)
    text = f"{rows['of_data_sets'].max()} data sets; share of true edges {rate}."
    return Table("Method", *_cells(rows, columns), text=text)


def _matched(value: float) -> str:
    """Show the degree-matched AUROC, and say where it is near chance."""
    return number(value, 3) + " (near chance)" * bool(abs(value - 0.5) < NEAR_CHANCE)


def _versus(rows: pd.DataFrame, order: Sequence[str]) -> Table:
    by = {(row["method"], row["metric"]): row for row in rows.to_dict("records")}
    values = []
    for method in order:
        of = [by.get((method, metric)) for metric in METRIC_NAMES]
        if any(of):
            missing = max(row["missing"] for row in of if row)
            values.append((method, [text for row in of for text in _compared(row)]))
            values[-1][1].append(str(missing))
    champion = {
        metric: ", ".join(rows.loc[rows["metric"] == metric, "against"].unique())
        for metric in METRIC_NAMES
    }
    text = f"Best control per regulator: {champion[HEADLINE] or '–'}; "
    text += f"pooled: {champion['auprc'] or '–'}."
    gaps = sorted({f"{m}: {r['missing_places']}" for (m, _), r in by.items() if r["missing"]})
    if gaps:
        text += f" Left out, as only one of the two has them: {'; '.join(gaps)}."
    columns = [
        f"{name} ({kind})"
        for kind in METRIC_NAMES.values()
        for name in ("Difference", "Ratio", "Won", "Verdict")
    ]
    return Table("Method", [*columns, "Left out"], values, text=text)


def _compared(row: Mapping[str, Any] | None) -> list[str]:
    if row is None:
        return ["–"] * 4
    digits = 2 if row["metric"] == HEADLINE else 3
    return [
        _interval(row, "difference", digits, sign=True),
        _interval(row, "ratio", 2),
        f"{row['won']} of {row['pairs']}",
        verdict(row["difference_low"], row["difference_high"]),
    ]


def _by_data_set(rows: pd.DataFrame, order: Sequence[str]) -> Table:
    by = {(row["method"], row["dataset"]): row for row in rows.to_dict("records")}
    names = sorted(rows["dataset"].unique())
    columns = [f"{name}, {kind}" for name in names for kind in ("per regulator", "pooled")]
    values = []
    for method in order:
        of = [by.get((method, name)) for name in names]
        texts = [(_interval(r, HEADLINE, 2), number(r["auprc_ratio"], 2)) if r else () for r in of]
        values.append((method, [text for pair in texts for text in pair or ("–", "–")]))
    return Table("Method", columns, values)


def glance(board: Board) -> list[Table]:
    """One table for each network: methods by splits, best on unseen genes first."""
    found = []
    for network, genes in dict.fromkeys(group[:2] for group in board.groups):
        rows = of_network(board.rows, network, genes)
        splits = sorted(rows["split"].unique(), key=split_order)
        by = {(row["method"], row["split"]): row for row in rows.to_dict("records")}
        compared = [name for name in splits if name != "all"] or splits
        on = rows.loc[rows["split"].isin(compared)]
        value = on[HEADLINE].fillna(on["auprc_ratio"]).groupby(on["method"])
        rank = value.agg(["size", "mean"]).sort_values(["size", "mean"], ascending=False)
        order = [*rank.index, *sorted(set(rows["method"]) - set(rank.index))]
        values = [(m, [_glimpse(by.get((m, name))) for name in splits]) for m in order]
        found.append(Table("Method", splits, values, f"{network}, {genes}"))
    return found


def _glimpse(row: Mapping[str, Any] | None) -> str:
    """Score, interval and pooled score, on three lines."""
    if row is None:
        return "–"
    low, high = (number(row[f"{HEADLINE}_{end}"], 2) for end in ("low", "high"))
    mark = " †" * bool(row["partial"])
    lines = [number(row[HEADLINE], 2) + mark, f"{low} to {high}" if low != "–" else ""]
    return "\n".join([*lines, f"pooled {number(row['auprc_ratio'], 2)}"])


def _cells(
    rows: pd.DataFrame, columns: Sequence[Column]
) -> tuple[list[str], list[tuple[str, list[str]]]]:
    records = rows.to_dict("records")
    texts = [(str(row["method"]), [text(row) for _, text in columns]) for row in records]
    return [name for name, _ in columns], texts


def _interval(row: Mapping[str, Any], key: str, digits: int, *, sign: bool = False) -> str:
    return interval(row[key], row[f"{key}_low"], row[f"{key}_high"], digits, sign=sign)
