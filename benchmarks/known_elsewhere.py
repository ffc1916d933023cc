"""What networks of other cell types add where the cell type itself has no labels.

    INFOSEM_DATA=DATA python benchmarks/known_elsewhere.py --out DIR [--resume]

runs the split ``transfer`` of ``infosem benchmark grn`` on BEELINE's hESC, hHEP, mDC and mESC;
``--from DIR`` takes the results of a run. Figures are AUPRC ratios per regulator and pooled, and
the AUROC against pairs of the same regulator and target degrees, of each data set and as means;
and `KnownElsewhere` over what it is made of (expression alone, popularity alone) and over its
control, whose other networks have their targets permuted. Intervals are of 95 % over regulators.
The last part takes one other network at a time, of the cell-type-specific ones.
"""

import sys
from typing import TYPE_CHECKING

import pandas as pd
from _record import (
    Figure,
    benchmark_parser,
    cells_of,
    data_folder,
    print_progress,
    report,
    run,
)

if TYPE_CHECKING:
    from infosem_jax.grn.accuracy import Cell

DATASETS, QUICK = ("hESC", "hHEP", "mDC", "mESC"), ("mHSC-E",)
METHODS = (
    *("exact_elsewhere", "exact_elsewhere_shuffled", "exact_none", "exact_B", "exact_C"),
    *("exact_BC", "one_hot", "matrix_completion", "target_positive_rate", "target_mean"),
    *("text_cosine", "correlation", "partial_correlation_ridge", "random"),
)
SCORES = {
    "auprc_ratio_per_regulator": "per regulator",
    "auprc_ratio": "pooled",
    "auroc_degree_matched": "matched degrees",
}
PAIRS = {"auprc_ratio_per_regulator": "per regulator", "auprc": "pooled"}
AGAINST = {
    "expression alone": "exact_none",
    "popularity alone": "target_positive_rate",
    "shuffled": "exact_elsewhere_shuffled",
}
NETWORK = "specific"


def main() -> None:
    options = benchmark_parser(__doc__, seeds=1)
    options.add_argument("--methods", default=",".join(METHODS), help="split by commas")
    arguments = options.parse_args()
    cells = cells_of(arguments, _read, compute)
    report([*scores_of(cells), *ratios_of(cells), *one_by_one(arguments.quick)], arguments)


def compute(arguments) -> "list[Cell]":
    """Run the split, and return its cells."""
    from infosem_jax.benchmark.grn.runner import make_grid
    from infosem_jax.benchmark.runner import run_grid

    grid = make_grid(
        data_folder("beeline", "beeline/hESC/TFs+500/expression.npz"),
        datasets=QUICK if arguments.quick else DATASETS,
        methods=arguments.methods.split(","),
        splits=("transfer",),
        seeds=arguments.seeds,
    )
    return run_grid(grid, arguments.out, resume=arguments.resume, on_chunk=print_progress).cells


def scores_of(cells: "list[Cell]") -> list[Figure]:
    """Return the scores of each data set, means over seeds, and their means over data sets."""
    from infosem_jax.grn.paired import summary, table

    figures = []
    means = pd.DataFrame(table(cells).groupby(["dataset", "network", "method"])[[*SCORES]].mean())
    for row in means.reset_index().to_dict("records"):
        for metric, name in SCORES.items():
            what = f"known_elsewhere: {row['dataset']}, {row['network']}, {name}, {row['method']}"
            figures.append(Figure(what, float(row[metric]), _unit(metric), "higher"))
    for row in summary(cells).to_dict("records"):
        for metric, name in SCORES.items():
            what = f"known_elsewhere: mean, {row['network']}, {name}, {row['method']}"
            low, high = (row.get(f"{metric}_{end}") for end in ("low", "high"))
            figures.append(Figure(what, row[metric], _unit(metric), "higher", None, low, high))
    return figures


def ratios_of(cells: "list[Cell]") -> list[Figure]:
    """Return what networks of other cell types give over each of `AGAINST`."""
    from infosem_jax.grn.paired import paired

    figures = []
    for metric, name in PAIRS.items():
        for what, method in AGAINST.items():
            for row in paired(cells, "exact_elsewhere", method, metric).to_dict("records"):
                about = f"known_elsewhere: over, {row['network']}, {name}, {what}"
                ends = {"low": float(row["ratio_low"]), "high": float(row["ratio_high"])}
                figures.append(Figure(about, float(row["ratio"]), "ratio", "higher", 1.0, **ends))
    return figures


def one_by_one(quick: bool) -> list[Figure]:
    """Return the scores per regulator with one other network at a time."""
    from infosem_jax.benchmark.grn.references import find_references, load
    from infosem_jax.benchmark.grn.transfer import add_others
    from infosem_jax.grn import exact
    from infosem_jax.grn.metrics import score_matrix
    from infosem_jax.grn.priors import KnownElsewhere
    from infosem_jax.grn.splits import candidates

    folder = data_folder("beeline", "beeline/hESC/TFs+500/expression.npz")
    names = QUICK if quick else DATASETS
    references, _ = find_references(folder, datasets=names, networks=(NETWORK,))
    figures = []
    for each in add_others([load(reference) for reference in references], folder):
        others = [name for name in sorted({*DATASETS, *QUICK}) if name != each.reference.dataset]
        universe = candidates(each.data, each.networks[NETWORK])
        for name, table in zip(others, each.others[NETWORK], strict=True):
            print(f"{each.reference.dataset} from {name}", file=sys.stderr)
            fitted = exact.fit(each.data, edge=KnownElsewhere((table,)))
            rows, columns = (
                [at.index(x) for x in those]
                for at, those in (
                    (fitted.regulators, universe.regulators),
                    (fitted.genes, universe.genes),
                )
            )
            scores = fitted.score[rows][:, columns]
            found = score_matrix(scores, universe.truth, universe.candidate)
            value = float(found["auprc_ratio_per_regulator"])
            about = f"known_elsewhere: from one, {each.reference.dataset}, {name}"
            figures.append(Figure(about, value, "ratio", "higher"))
    return figures


def _unit(metric: str) -> str:
    return "AUROC" if metric.startswith("auroc") else "ratio"


def _read(folder) -> "list[Cell]":
    from infosem_jax.benchmark.grn.cells import STORE

    return STORE.read_all(folder)


if __name__ == "__main__":
    run(main)
