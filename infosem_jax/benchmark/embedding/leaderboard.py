"""What readers of the benchmark see: ``table.md``, plots, and ``report.html``."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from infosem_jax.benchmark.embedding.cells import Cell
from infosem_jax.benchmark.embedding.compare import (
    average_ranks,
    difference,
    rank_estimates,
    undefined,
)
from infosem_jax.benchmark.table import board, wide
from infosem_jax.embedding.methods import CONTROLS
from infosem_jax.embedding.metrics import SIX
from infosem_jax.outputs.page import Page, Picture, Section, Table, interval, number, seconds
from infosem_jax.scores import Estimate, mean_interval

FUNCTION = {
    "function_auroc": "AUROC of function",
    "function_auroc_within": "Within a study",
    "function_precision_ratio": "Precision of function, times chance",
}
ORTHOLOGUES = {
    "orthologue_percentile": "Percentile",
    "orthologue_mrr": "Mean 1 / rank",
    "orthologue_recall": "Among the first ten",
    "orthologue_recall_chance": "By chance",
}
RULES = {
    "Average rank": (
        "Methods are ranked by each of the six metrics of MuSe-GNN (Liu et al. 2023) for each "
        "seed, and ranks averaged; 1 is the best. A method of which a metric is not defined, for "
        "instance because each of its clusters holds one study only, comes last in it. Controls "
        "(in italics) are not ranked."
    ),
    "Six metrics": (
        "All are better when higher. Silhouette of studies, iLISI and graph connectivity are of "
        "genes that all studies have; clusters are Louvain's on the 15 nearest neighbours of all "
        "rows. A method that gives all genes one place would do well in some of them and badly in "
        "the AUC of edges: look at all, and at functions."
    ),
    "Functions": (
        "Gene sets take no part in graphs or training. AUROC: a gene's mean cosine to the other "
        "members of a set, as a score of membership; 0.5 by chance. Precision: of the ten nearest "
        "annotated genes, the share with a set in common, over that of all genes. Means over "
        "collections; each gene counts once, by the mean of its vectors at unit length. Means over "
        "studies blur spaces that nothing joins, so that the AUROC is also given within each study."
    ),
    "Orthologues": (
        "Three tenths of the known pairs, drawn by the seed, are withheld from training: these "
        "genes have names of their own species there. Each is looked for among all genes of the "
        "other study. By chance the percentile is 0.5."
    ),
    "Intervals": (
        "95 % intervals of t over seeds, which share their data. The best method and the next are "
        "chosen by the scores that are then compared, which favours the best."
    ),
    "Seconds": "For one fit on the machine of this run, compilation included.",
}


def make_page(cells: Sequence[Cell], **told: Any) -> Page:
    """Bring cells into tables and figures, see `benchmark.table.board`."""
    table = wide(cells)
    names = sorted(table["method"].unique())
    datasets = sorted(table["dataset"].unique())
    ranks = rank_estimates(average_ranks(table))
    sections = [_ranking(ranks, names)] if ranks else []
    for dataset in datasets:
        of = table.loc[table["dataset"] == dataset]
        studies = next(cell.studies for cell in cells if cell.at.dataset == dataset)
        sections += _of_group(dataset, of, studies, ranks.get(dataset, {}))
    return board(
        cells,
        "Benchmark of gene embeddings",
        "Which way of embedding genes brings genes of like function together, across studies?",
        sections,
        counts={"group of studies": len(datasets)},
        rules=RULES,
        controls=CONTROLS,
        **told,
    )


def _ranking(ranks: Mapping[str, Mapping[str, Estimate]], names: Sequence[str]) -> Section:
    from infosem_jax.embedding import _figures

    found = {name: [own[name].mean for own in ranks.values() if name in own] for name in names}
    means = {name: np.mean(own) for name, own in found.items() if own}
    rows = [
        (name, [_text(own.get(name), 2) for own in ranks.values()])
        for name in sorted(means, key=lambda name: means[name])
    ]
    return Section(
        "Average ranks",
        ["Over the six metrics, with 95 % intervals over seeds; 1 is the best."],
        [
            Picture(
                _figures.ranks({name: each[:3] for name, each in own.items()}),
                f"Average rank of each method, {dataset}; bars are 95 % intervals over seeds.",
            )
            for dataset, own in ranks.items()
        ],
        [Table("Method", list(ranks), rows)],
    )


def _of_group(
    dataset: str,
    of: pd.DataFrame,
    studies: Sequence[tuple[str, int, int, float]],
    ranks: Mapping[str, Estimate],
) -> list[Section]:
    names = sorted(of["method"].unique(), key=lambda n: ranks[n].mean if n in ranks else np.inf)
    sizes = [
        (name, [f"{genes:,}", f"{cells:,}", f"{degree:.1f}"])
        for name, genes, cells, degree in studies
    ]
    known = {**{k: v for k, v in FUNCTION.items() if k in of}, "seconds": "Seconds"}
    tables = [
        Table("Study", ["Genes", "Cells", "Neighbours"], sizes),
        Table("Method", list(SIX.values()), [(n, _scores(of, n, SIX)) for n in names],
              "Means over seeds, with 95 % intervals"),
        Table("Method", list(known.values()), [(n, _scores(of, n, known)) for n in names],
              "Functions, and time"),
    ]  # fmt: skip
    if "orthologue_percentile" in of and np.isfinite(of["orthologue_percentile"].to_numpy()).any():
        rows = [(n, _scores(of, n, ORTHOLOGUES)) for n in names]
        title = "Withheld orthologues, found across species"
        tables.append(Table("Method", list(ORTHOLOGUES.values()), rows, title))
    contests = [*SIX, *(name for name in (*FUNCTION, "orthologue_percentile") if name in of)]
    rows = [row for metric in contests for row in _contest(of, metric)]
    return [
        Section(dataset, _left_out(of), tables=tables),
        Section(
            f"{dataset}: the best method of each metric against the next",
            tables=[Table("Metric", ["Best", "Next", "Difference"], rows)],
            folded=True,
        ),
    ]


def _left_out(of: pd.DataFrame) -> list[str]:
    names = [SIX[name] for name in undefined(of)]
    if not names:
        return []
    return [
        f"Ranks are over {len(SIX) - len(names)} metrics only: {', '.join(names)} compare studies "
        "by the genes that all of them have, of which there are too few here."
    ]


def _contest(of: pd.DataFrame, metric: str) -> list[tuple[str, list[str]]]:
    means = {str(name): float(own[metric].mean()) for name, own in of.groupby("method")}
    known = sorted((name for name in means if np.isfinite(means[name])), key=lambda n: -means[n])
    if len(known) < 2:
        return []
    best, second = known[:2]
    gap = difference(of, best, second, metric)
    return [(metric, [best, second, interval(gap.mean, gap.low, gap.high, sign=True)])]


def _scores(of: pd.DataFrame, method: str, shown: Mapping[str, str]) -> list[str]:
    own = of.loc[of["method"] == method]
    return [
        seconds(float(own[name].mean()))
        if name == "seconds"
        else _text(mean_interval(own[name].to_numpy()))
        for name in shown
    ]


def _text(found: Estimate | None, digits: int = 3) -> str:
    if found is None:
        return number(np.nan)
    return interval(found.mean, found.low, found.high, digits)
