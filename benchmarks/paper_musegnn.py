"""What Liu et al. (2023) claim of MuSe-GNN, tested: the best average rank, orthologues found.

    INFOSEM_DATA=DATA python benchmarks/paper_musegnn.py --out DIR [--resume] [--seeds 5]

runs what ``infosem benchmark embedding`` runs: slices of a breast tumour, blood cells with and
without interferon, BEELINE's human and mouse cells, marrow by RNA and by open chromatin, and human
blood or tumour with the olfactory bulb of mice. ``--from DIR`` takes the results of a run that was
made before. The paper's own data are too large to be here, and its tables could not be had, so only
the claims are compared. A difference of average ranks below 0 says that MuSe-GNN is ahead of the
best of the others, which is chosen by the same scores and so favoured. ``auto`` is held against the
best of its parts too. ``--texts`` adds what texts about genes (TF-IDF) tell of functions.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

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
    from pandas import DataFrame

    from infosem_jax.benchmark.embedding.cells import Cell
    from infosem_jax.benchmark.embedding.runner import Grid
    from infosem_jax.scores import Estimate

OURS, JOINED = "musegnn", "auto"
# What is joined there.
PARTS = ("musegnn", "pca_aligned")
_SLICES = ":".join(f"human_breastcancer_ST_layer{i}" for i in (1, 2, 3))
GROUPS = (
    f"breast={_SLICES}",
    "pbmc=human_pbmc_ctrl:human_pbmc_stim",
    "beeline human=hESC/TFs+500:hHEP/TFs+500",
    "beeline mouse=mDC/TFs+500:mESC/TFs+500",
    "marrow RNA and ATAC=human_bmmc_rna:human_bmmc_atac",
    "pbmc and bulb=human_pbmc_ctrl:mouse_olfactorybulb_ST",
    "breast and bulb=human_breastcancer_ST_layer1:mouse_olfactorybulb_ST",
)
QUICK_GROUPS = (GROUPS[1], GROUPS[5])
QUICK_METHODS = (OURS, "pca", "gae", "mae")
CHANCE = 0.5
ALL = "mean of groups"


class Claim(NamedTuple):
    """A difference, what would bear the claim out, and its estimate over seeds."""

    name: str
    dataset: str
    ours: str
    against: str
    better: str
    gap: "Estimate"


def main() -> None:
    from infosem_jax.benchmark.embedding.cells import STORE

    options = benchmark_parser(__doc__, seeds=5)
    options.add_argument("--datasets", default="", help="split by commas; those above")
    options.add_argument("--methods", default="", help="split by commas; musegnn and baselines")
    options.add_argument("--genes", type=int, default=1000)
    options.add_argument("--texts", action="store_true", help="measure texts about genes as well")
    arguments = options.parse_args()
    cells = cells_of(arguments, STORE.read_all, compute)
    print_ranks(cells)
    found = list(claims(cells))
    columns = ("claim", "data", "of", "against", "difference [95 %]", "better")
    print_table(columns, [_line(claim) for claim in found])
    known = texts(arguments) if arguments.texts else ()
    report([*scores(cells), *known, *(_figure(claim) for claim in found)], arguments)


def compute(arguments) -> "list[Cell]":
    """Run the comparison, or a small form of it, and return the cells."""
    from infosem_jax.benchmark.runner import run_grid

    grid = grid_of(arguments)
    return run_grid(grid, arguments.out, resume=arguments.resume, on_chunk=print_progress).cells


def grid_of(arguments) -> "Grid":
    """Read the groups and gene sets, and choose methods."""
    from infosem_jax.benchmark.embedding.runner import make_grid
    from infosem_jax.cli._common import words
    from infosem_jax.embedding.graph import GraphSettings

    folder = data_folder("expression", "expression/ and beeline/").parent
    quick = arguments.quick
    grid = make_grid(
        folder,
        datasets=words(arguments.datasets) or (QUICK_GROUPS if quick else GROUPS),
        methods=words(arguments.methods) or (QUICK_METHODS if quick else ()),
        quick=quick,
        graphs=GraphSettings(genes=arguments.genes),
    )
    return grid._replace(seeds=2 if quick else arguments.seeds)


def texts(arguments) -> Iterator[Figure]:
    """Yield how well texts about genes (TF-IDF) tell functions in each group.

    Texts name functions, so they are no fair rival of methods that see expression alone. Genes
    without a text lie nowhere: their cosines are 0.
    """
    import numpy as np

    from infosem_jax.benchmark.embedding.sources import rename, study_graphs
    from infosem_jax.data.gene_text import embed_genes, read_gene_text
    from infosem_jax.embedding.gene_sets import function_recovery
    from infosem_jax.scores import mean_interval

    grid = grid_of(arguments)
    folder = data_folder("embeddings", "embeddings/gene_text/human_gene_text.csv.gz")
    about = embed_genes(read_gene_text(folder / "gene_text" / "human_gene_text.csv.gz"))
    vector = dict(zip(about.names, about.vectors, strict=True))
    nowhere = np.zeros_like(about.vectors[0])
    for source in grid.sources:
        graphs, found = study_graphs(source, grid.graphs), []
        for seed in range(grid.seeds):
            own = rename(source, graphs, seed).graphs
            genes = list(dict.fromkeys(gene for graph in own for gene in graph.genes))
            z = np.stack([vector.get(gene, nowhere) for gene in genes])
            each = [function_recovery(genes, z, sets) for sets in grid.sets.values()]
            found.append(np.nanmean([scores["function_auroc"] for scores in each]))
        mean, low, high, *_ = mean_interval(found)
        name = f"paper_musegnn: {source.name}, function auroc, texts"
        yield Figure(name, mean, "score", "higher", None, low, high)


def claims(cells: "list[Cell]") -> Iterator[Claim]:
    """Yield each claim for every group, and of ``auto`` over all groups."""
    from infosem_jax.benchmark.embedding.compare import difference
    from infosem_jax.scores import mean_interval

    ranks, table = tables(cells)
    for dataset, own in ranks.groupby("dataset"):
        means = own.groupby("method")["rank"].mean()
        for ours in [name for name in (OURS, JOINED) if name in means and len(means) > 1]:
            best = str(means.drop(ours).idxmin())
            gap = difference(own, ours, best, "rank")
            yield Claim("average rank", str(dataset), ours, best, "lower", gap)
    for metric in ("function_auroc", "orthologue_percentile"):
        for dataset, own in table.groupby("dataset"):
            if metric not in own or not own[metric].notna().to_numpy().any():
                continue
            known = own.groupby("method")[metric].mean().dropna()
            means = {str(name): float(mean) for name, mean in known.items()}
            for ours, among in ((OURS, tuple(means)), (JOINED, PARTS)):
                others = [name for name in among if name in means and name != ours]
                if ours in means and others:
                    best = max(others, key=means.__getitem__)
                    gap = difference(own, ours, best, metric)
                    yield Claim(metric, str(dataset), ours, best, "higher", gap)
            if OURS in means:
                values = own.loc[own["method"] == OURS, metric].to_numpy()
                gap = mean_interval(values - CHANCE)
                yield Claim(metric, str(dataset), OURS, "chance", "higher", gap)


def scores(cells: "list[Cell]") -> Iterator[Figure]:
    """Yield average ranks and functions found, of each method in each group and over all."""
    from infosem_jax.scores import mean_interval

    for rows, column in zip(tables(cells), ("rank", "function_auroc"), strict=True):
        better: Literal["higher", "lower"] = "lower" if column == "rank" else "higher"
        for dataset, methods in rows.groupby("dataset"):
            for method, own in methods.groupby("method") if column in rows else ():
                mean, low, high, *_ = mean_interval(own[column].to_numpy())
                name = f"paper_musegnn: {dataset}, {column.replace('_', ' ')}, {method}"
                yield Figure(name, mean, "score", better, None, low, high)


def tables(cells: "list[Cell]") -> "tuple[DataFrame, DataFrame]":
    """Return average ranks, and metrics, with means over groups for seeds that have all."""
    import pandas as pd

    from infosem_jax.benchmark.embedding.compare import average_ranks
    from infosem_jax.benchmark.table import wide

    table = wide(cells)
    found = []
    for rows, column in ((average_ranks(table), "rank"), (table, "function_auroc")):
        groups = rows["dataset"].nunique()
        if groups > 1 and column in rows:
            own = rows.groupby(["method", "seed"])[column].agg(["mean", "count"])
            own = own.loc[own["count"] == groups, "mean"].rename(column).reset_index()
            rows = pd.concat([rows, own.assign(dataset=ALL)], ignore_index=True)
        found.append(rows)
    return found[0], found[1]


def print_ranks(cells: "list[Cell]") -> None:
    """Print the six metrics and their average rank for each group."""
    from infosem_jax.benchmark.embedding.compare import (
        average_ranks,
        rank_estimates,
        undefined,
    )
    from infosem_jax.benchmark.table import wide
    from infosem_jax.embedding.metrics import SIX
    from infosem_jax.outputs.page import interval

    table = wide(cells)
    for dataset, ranks in rank_estimates(average_ranks(table)).items():
        own = table.loc[table["dataset"] == dataset]
        means, rows = own.groupby("method").mean(numeric_only=True), []
        for name, found in sorted(ranks.items(), key=lambda pair: pair[1].mean):
            scores = [f"{means.loc[name, metric]:.3f}" for metric in SIX]
            text = interval(found.mean, found.low, found.high, 2)
            rows.append((name, *scores, text, str(found.n)))
        print(f"\n{dataset}")
        print_table(("method", *SIX, "average rank [95 %]", "seeds"), rows)
        if missing := undefined(own):
            print(f"Ranks leave out {', '.join(missing)}: too few genes are common to all studies.")


def _line(claim: Claim) -> tuple[str, ...]:
    from infosem_jax.outputs.page import interval

    gap = claim.gap
    text = interval(gap.mean, gap.low, gap.high, sign=True)
    return claim.name, claim.dataset, claim.ours, claim.against, text, claim.better


def _figure(claim: Claim) -> Figure:
    better = "lower" if claim.better == "lower" else "higher"
    name = f"{claim.name} minus {claim.against}, {claim.dataset}"
    if claim.ours == JOINED:
        # The best differs between groups, and their figures are to stand in one column.
        best = "next" if claim.name == "average rank" else "best part"
        what = claim.name.removeprefix("average ").replace("_", " ")
        name = f"{claim.dataset}, {what}, {JOINED} minus {best}"
    ends = {"low": claim.gap.low, "high": claim.gap.high}
    return Figure(f"paper_musegnn: {name}", claim.gap.mean, "difference", better, 0.0, **ends)


if __name__ == "__main__":
    run(main)
