"""InfoSEM's claims, tested: what texts (B) and known interactions (BC) add, and against whom.

    INFOSEM_DATA=DATA python benchmarks/paper_infosem.py --out DIR [--resume] [--networks specific]

runs what ``infosem benchmark grn`` runs with the methods that the claims are about, their baselines
and controls, on BEELINE's hESC, hHEP, mDC and mESC; ``--from DIR`` takes the results of a benchmark
that was run before. Claims: B scores 38.5 % above the model without priors, BC 11.1 % above B
(abstract of Cui et al. 2025). Each is a paired comparison, with 95 % intervals over regulators and
seeds; a ratio of 1 says that nothing was gained. All are of the exact engine, whose BC, B and none
must not lose to those of the engine svi, each of which stands beside what it is made of. Each must
also beat itself with texts permuted among genes, and what it is made of: B texts alone, none ridge
partial correlation, BC labels alone (C) and expression alone; and BC the best baseline, which is
chosen on the tested pairs and so favoured. In the split ``transfer``, the networks of the other
data sets must not lose to how popular a target is there.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from _record import (
    Figure,
    benchmark_parser,
    cells_of,
    data_folder,
    paired_texts,
    print_progress,
    print_table,
    report,
    run,
)

if TYPE_CHECKING:
    from infosem_jax.grn.accuracy import Cell

Row = dict[Any, Any]
DATASETS = ("hESC", "hHEP", "mDC", "mESC")
BASELINES = (
    *("one_hot", "matrix_completion", "genelink", "gnnlink", "gnnlink_directed", "scgreat"),
    *("genie3", "deepsem", "deepsem_specific"),
)
CONTROLS = (
    *("regulator_positive_rate", "target_positive_rate", "target_mean", "correlation"),
    *("partial_correlation_ridge", "regulator_variance", "text_cosine"),
)
VARIANTS = (
    *("exact_none", "exact_B", "exact_B_shuffled", "exact_C", "exact_BC", "exact_BC_shuffled"),
    *("exact_BC_elsewhere", "exact_elsewhere", "exact_elsewhere_shuffled"),
)
SVI = ("infosem_none", "infosem_B", "infosem_BC", "infosem_BC_shuffled", "infosem_BC_known")
# By name: the method, and what it is compared with.
PAIRS = {
    "B against none": ("exact_B", "exact_none"),
    "shuffled B against none": ("exact_B_shuffled", "exact_none"),
    "B against shuffled B": ("exact_B", "exact_B_shuffled"),
    "B against texts alone": ("exact_B", "text_cosine"),
    "none against ridge": ("exact_none", "partial_correlation_ridge"),
    "C against none": ("exact_C", "exact_none"),
    "BC against none": ("exact_BC", "exact_none"),
    "BC against B": ("exact_BC", "exact_B"),
    "BC against C": ("exact_BC", "exact_C"),
    "BC against shuffled BC": ("exact_BC", "exact_BC_shuffled"),
    "BC and elsewhere against BC": ("exact_BC_elsewhere", "exact_BC"),
    "elsewhere against none": ("exact_elsewhere", "exact_none"),
    "elsewhere against popularity": ("exact_elsewhere", "target_positive_rate"),
    "elsewhere against shuffled": ("exact_elsewhere", "exact_elsewhere_shuffled"),
    "none against none of svi": ("exact_none", "infosem_none"),
    "B against B of svi": ("exact_B", "infosem_B"),
    "BC against BC of svi": ("exact_BC", "infosem_BC"),
    "B of svi against none of svi": ("infosem_B", "infosem_none"),
    "BC of svi against B of svi": ("infosem_BC", "infosem_B"),
    "BC of svi against shuffled BC of svi": ("infosem_BC", "infosem_BC_shuffled"),
    "BC as in the paper against B of svi": ("infosem_BC_known.weight", "infosem_B"),
    "B of svi against its prior alone": ("infosem_B", "infosem_B.prior"),
}
METRICS = {"auprc": "pooled", "auprc_ratio_per_regulator": "per regulator"}
PAPER_B, PAPER_BC = 1.385, 1.111


def main() -> None:
    from infosem_jax.benchmark.grn.cells import STORE

    options = benchmark_parser(__doc__, seeds=3)
    options.add_argument("--networks", default="", help="split by commas; all if not given")
    arguments = options.parse_args()
    cells = cells_of(arguments, STORE.read_all, compute)
    rows = list(claims(cells))
    columns = ("claim", "network", "split", "score", "ratio [95 %]", "difference [95 %]", "won")
    print_table(columns, [_line(claim, row) for claim, row in rows])
    report([_figure(claim, row) for claim, row in rows], arguments)


def compute(arguments) -> "list[Cell]":
    """Run the methods of the claims, or a small form of it, and return the cells."""
    from infosem_jax.benchmark.grn.runner import make_grid
    from infosem_jax.benchmark.runner import run_grid

    folder = data_folder("beeline", "beeline/hESC/TFs+500/expression.npz")
    others = ("one_hot", "matrix_completion") if arguments.quick else (*SVI, *BASELINES)
    grid = make_grid(
        folder,
        datasets=DATASETS[:1] if arguments.quick else DATASETS,
        networks=tuple(filter(None, arguments.networks.split(","))),
        methods=(*VARIANTS, *others, *CONTROLS),
        seeds=arguments.seeds,
        quick=arguments.quick,
    )
    return run_grid(grid, arguments.out, resume=arguments.resume, on_chunk=print_progress).cells


def claims(cells: "list[Cell]") -> Iterator[tuple[str, Row]]:
    """Yield each comparison for every network and split, by what it is called."""
    from infosem_jax.grn.paired import best, paired

    there = {cell.at.method for cell in cells}
    for metric in METRICS:
        comparisons: list[tuple[str, str, Any]] = [
            (name, *pair) for name, pair in PAIRS.items() if {*pair} <= there
        ]
        for method in ("exact_none", "exact_B", "exact_BC"):
            for what, among in (("baseline", BASELINES), ("control", CONTROLS)):
                if method in there and there & set(among):
                    yardstick = best(cells, sorted(there & set(among)), metric)
                    name = f"{method.removeprefix('exact_')} against best {what}"
                    comparisons.append((name, method, yardstick))
        for name, method, against in comparisons:
            for row in paired(cells, method, against, metric).to_dict("records"):
                yield name, {**row, "metric": metric}


def _line(claim: str, row: Row) -> tuple[str, ...]:
    other = f" ({row['against']})" if "best" in claim else ""
    return (
        claim + other,
        row["network"],
        row["split"],
        METRICS[row["metric"]],
        *paired_texts(row),
    )


def _figure(claim: str, row: Row) -> Figure:
    targets = {
        "B against none": PAPER_B,
        "B of svi against none of svi": PAPER_B,
        "BC against B": PAPER_BC,
        "BC of svi against B of svi": PAPER_BC,
        "BC as in the paper against B of svi": PAPER_BC,
        # Texts that mean nothing should cost next to nothing.
        "shuffled B against none": 0.95,
    }
    split = row["split"].replace("_", " ")
    name = f"paper_infosem: {claim}, {row['network']}, {split}, {METRICS[row['metric']]}"
    ends = {"low": float(row["ratio_low"]), "high": float(row["ratio_high"])}
    return Figure(name, float(row["ratio"]), "ratio", "higher", targets.get(claim, 1.0), **ends)


if __name__ == "__main__":
    run(main)
