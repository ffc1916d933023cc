"""What Kim et al. (2025) claim of graph networks for inferring expression, tested.

    INFOSEM_DATA=DATA python benchmarks/paper_l1000.py --out DIR [--resume] [--seeds 5]

runs what ``infosem benchmark expression`` runs: all inputs, a half, a third, a ninth, 10 and 1 of
them, drawn at random, greedily and by the lasso, with and without the organ; on GTEx, from GTEx to
the Human Protein Atlas, from the microarrays of cell lines to their RNA-seq, on lymphoblastoid
lines and on breast tumours. ``--from DIR`` takes the results of a run that was made before. The
authors' 37 rows are printed beside them; their data (GSE92743, 3,176 samples) are not part of
DATA, so only the order of methods and the shape of the curves can be compared. With
``--gse92743 FOLDER``, which holds the two GCTX files of that series (L1000 level 3 and RNA-seq),
the paper's own table is computed, on its own split and with its scaling; inputs are chosen by this
package, not taken from the authors' lists.

Claims, each a paired difference over seeds with its 95 % interval: the graph network is above the
best of the others (chosen on the tested samples, and so favoured); with a ninth of the inputs, or
10, it is above the best of the others with all; greedy inputs are above random ones; the organ
helps. mean, ridge, least_squares and knn are fitted again to training and validation samples once
their settings are chosen; mlp and trees are not, nor is the graph network with one member.
"""

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from _record import (
    Figure,
    benchmark_parser,
    cells_of,
    data_folder,
    print_progress,
    print_table,
    report,
    run,
)

if TYPE_CHECKING:
    from infosem_jax.benchmark.expression.cells import Cell
    from infosem_jax.benchmark.expression.compare import Group
    from infosem_jax.benchmark.expression.sources import Source
    from infosem_jax.scores import Estimate

DATASETS = (
    *("gtex_520x467", "gtex_520x467@hpa_tissues_200x467"),
    *("lincs_celllines_affx:lincs_celllines_rnaseq", "lcl_rnaseq_counts_129x8124"),
    "tcga_brca_200x3437",
)
# The ninth is the paper's 108 of 970.
INPUTS = (
    *("all", "random:1/2", "random:1/3"),
    *(f"{how}:{n}" for n in ("1/9", "10", "1") for how in ("random", "greedy", "lasso")),
    *("all+tissue", "greedy:1/9+tissue"),
)
QUICK_INPUTS = ("all", "random:1/9", "greedy:1/9", "all+tissue")
METRICS = {"rank_correlation": "gene ranks", "gene_pearson": "per gene"}
REFERENCE = "kim2025_reference_results.csv"
# In the order of the file, as in the paper.
PAPER_SPLIT = "ordered:2500:500"


DATA = ("l1000", "l1000/gtex_520x467.npz and the others")


class Claim(NamedTuple):
    """A difference that the paper says is above 0."""

    name: str
    group: "Group"
    metric: str
    against: str
    gap: "Estimate"


def main() -> None:
    from infosem_jax.benchmark.expression.cells import STORE

    options = benchmark_parser(__doc__, seeds=5)
    options.add_argument("--gse92743", type=Path, metavar="FOLDER", help="the paper's own data")
    options.add_argument("--datasets", default="", help="split by commas; those above")
    options.add_argument("--methods", default="", help="split by commas; graph and baselines")
    options.add_argument("--graph", default="graph", help="the graph network that claims are of")
    options.add_argument("--inputs", default="", help="split by commas; those above")
    options.add_argument("--split", default="auto", help="of samples, such as grouped:tissue")
    arguments = options.parse_args()
    cells = cells_of(arguments, STORE.read_all, compute)
    print_scores(cells)
    print_reference()
    found = list(claims(cells, arguments.graph))
    columns = ("claim", "data", "score", "against", "difference [95 %]", "won", "verdict")
    print_table(columns, [_line(claim) for claim in found])
    report([*scores(cells), *(_figure(claim) for claim in found)], arguments)


def compute(arguments) -> "list[Cell]":
    """Run the comparison, or a small form of it, and return the cells."""
    from infosem_jax._settings import choose
    from infosem_jax.benchmark.expression.runner import Grid
    from infosem_jax.benchmark.expression.sources import find_sources, reduce
    from infosem_jax.benchmark.runner import run_grid
    from infosem_jax.cli._common import words
    from infosem_jax.expression.methods import USUAL, methods

    known = methods(quick=arguments.quick)
    quick = (arguments.graph, "ridge", "knn", "mean")
    wanted = words(arguments.methods) or (quick if arguments.quick else USUAL)
    inputs = tuple(words(arguments.inputs)) or (QUICK_INPUTS if arguments.quick else INPUTS)
    notes: tuple[str, ...] = ()
    if arguments.gse92743 is not None:
        sources, split, scaling = [paper_source(arguments.gse92743)], (PAPER_SPLIT,), "max"
        inputs = tuple(text for text in inputs if "+" not in text)
    else:
        names = words(arguments.datasets) or DATASETS
        sources, _ = find_sources(data_folder(*DATA), names)
        split, scaling = (arguments.split,), "standard"
        if arguments.quick:
            sources, note = reduce(sources, count=len(sources))
            notes = (note,)
    grid = Grid(
        sources,
        choose("method", wanted, known),
        inputs,
        split,
        "landmarks" if arguments.gse92743 is not None else "auto",
        scaling,
        2 if arguments.quick else arguments.seeds,
        arguments.quick,
        notes,
    )

    return run_grid(grid, arguments.out, resume=arguments.resume, on_chunk=print_progress).cells


def paper_source(folder: Path) -> "Source":
    """Read the two platforms of GSE92743 with the landmarks of the paper, all by Entrez number."""
    from infosem_jax.benchmark.expression.sources import Source
    from infosem_jax.expression.readers import read_gse92743, read_landmarks

    files = [sorted(folder.glob(f"*{kind}*.gct*")) for kind in ("L1000", "RNAseq")]
    if any(len(found) != 1 for found in files):
        sys.exit(f"{folder}: expected one *L1000*.gctx and one *RNAseq*.gctx, unpacked.")
    pair = read_gse92743(files[0][0], files[1][0])
    landmarks = read_landmarks(
        data_folder(*DATA) / "kim2025_gene_selections.json.gz", key="landmark_970_in_author_order"
    )
    return Source("GSE92743 L1000", "GSE92743 RNA-seq", pair, None, landmarks, ())


def claims(cells: "list[Cell]", graph: str) -> Iterator[Claim]:
    """Yield each claim of a graph network for every data set and score."""
    from infosem_jax.benchmark.expression.compare import by_method, gains_of_labels
    from infosem_jax.benchmark.table import difference
    from infosem_jax.expression.methods import CONTROLS

    found = dict(by_method(cells))
    for metric in METRICS:
        for (group, genes), of in found.items():
            own, whole = of.get(graph), found.get((group, "all"), {})
            rivals = _others(of, graph)
            if own and rivals:
                best = max(rivals, key=lambda name: _mean(rivals[name], metric))
                gap = difference(own, rivals[best], metric)
                yield Claim(f"{graph}, {genes}", group, metric, best, gap)
            rivals = _others(whole, graph)
            if own and rivals and genes in ("greedy:1/9", "greedy:10"):
                best = max(rivals, key=lambda name: _mean(rivals[name], metric))
                gap = difference(own, rivals[best], metric)
                yield Claim(f"{graph}, {genes}", group, metric, f"{best}, all", gap)
            random = found.get((group, genes.replace("greedy", "random")), {})
            if own and genes.startswith("greedy") and graph in random:
                gap = difference(own, random[graph], metric)
                yield Claim(f"{graph}, {genes}", group, metric, f"{graph}, random", gap)
        learned = [cell for cell in cells if cell.at.method not in CONTROLS]
        for group, genes, method, gap in gains_of_labels(learned, metric):
            yield Claim(f"{method}, {genes}", group, metric, f"{method}, no organ", gap)


def scores(cells: "list[Cell]") -> Iterator[Figure]:
    """Yield the mean over seeds of each method's scores."""
    from infosem_jax.benchmark.expression.compare import by_method
    from infosem_jax.scores import mean_interval

    for (group, genes), of in by_method(cells):
        for method, own in of.items():
            for metric, title in METRICS.items():
                mean, low, high, *_ = mean_interval([cell.metrics[metric] for cell in own])
                name = f"paper_l1000: {group.title}, {genes}, {title}, {method}"
                yield Figure(name, mean, "correlation", "higher", None, low, high)


def print_scores(cells: "list[Cell]") -> None:
    """Print each data set as the paper prints its own."""
    from infosem_jax.benchmark.expression.compare import by_method

    rows = []
    for (group, genes), of in by_method(cells):
        for method, own in of.items():
            percent = [_text(own, name, 1) for name in ("r95_percent", "r99_percent")]
            scores = [_text(own, name, 3) for name in METRICS]
            size = _text(own, "n_inputs", 0)
            rows.append((group.title, genes, size, method, *percent, *scores, f"{len(own)}"))
    columns = ("data", "inputs", "n", "method", "r95 %", "r99 %", *METRICS.values(), "seeds")
    print_table(columns, rows)


def print_reference() -> None:
    """Print what the authors report for their own data."""
    import pandas as pd

    path = data_folder(*DATA) / REFERENCE
    if not path.exists():
        print(f"{path} is not there, so the authors' figures are not shown.")
        return
    table = pd.read_csv(path)
    print("\nThe authors' figures on GSE92743 (one run each, 176 test samples):")
    columns = ("model", "selection", "n_landmarks", "pct_recall95", "pct_recall99",
               "rankcorr_all_mean", "rankcorr_best_mean")  # fmt: skip
    print_table(columns, [tuple(map(str, row)) for row in table[list(columns)].to_numpy()])


def _others(of: "dict[str, list[Cell]]", graph: str) -> "dict[str, list[Cell]]":
    """Leave out all graph networks, and the method that claims are of."""
    return {k: each for k, each in of.items() if k != graph and not k.startswith("graph")}


def _mean(cells: "list[Cell]", metric: str) -> float:
    # Constants have no correlation; they are never the best.
    found = sum(cell.metrics[metric] for cell in cells) / len(cells)
    return found if found == found else float("-inf")


def _text(cells: "list[Cell]", metric: str, digits: int) -> str:
    mean = _mean(cells, metric)
    return f"{mean:.{digits}f}" if math.isfinite(mean) else "-"


def _line(claim: Claim) -> tuple[str, ...]:
    gap = claim.gap
    text = f"{gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]"
    won = f"{gap.won} of {gap.n}"
    score = METRICS[claim.metric]
    return claim.name, claim.group.title, score, claim.against, text, won, gap.verdict


def _figure(claim: Claim) -> Figure:
    name = f"paper_l1000: {claim.name} minus {claim.against}, {claim.group.title}"
    ends = {"low": claim.gap.low, "high": claim.gap.high}
    name = f"{name}, {METRICS[claim.metric]}"
    return Figure(name, claim.gap.mean, "correlation", "higher", 0.0, **ends)


if __name__ == "__main__":
    run(main)
