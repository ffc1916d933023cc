"""InfoSEM's claims, tested: what texts (B) and known interactions (BC) add, and against whom.

    INFOSEM_DATA=DATA python benchmarks/paper_infosem.py --out DIR [--resume] [--networks specific]
        [--engine exact]

runs what ``infosem benchmark grn`` runs with the methods that the claims are about, their baselines
and controls, on BEELINE's hESC, hHEP, mDC and mESC; ``--from DIR`` takes the results of a benchmark
that was run before. Claims: B scores 38.5 % above the model without priors, BC 11.1 % above B
(abstract of Cui et al. 2025). Each is a paired comparison, with 95 % intervals over regulators and
seeds; a ratio of 1 says that nothing was gained. B must also beat itself with texts permuted
among genes, and BC the best baseline, which is chosen on the tested pairs and so favoured. The
exact engine has B and no prior, which must not lose to texts alone and to ridge partial
correlation, and in the split ``transfer`` the networks of the other data sets, which must not lose
to how popular a target is there; ``--engine exact`` runs these only, in minutes.
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
    *("infosem_none", "infosem_B", "infosem_B_shuffled", "infosem_C", "infosem_BC"),
    "infosem_BC_shuffled",
)
EXACT = (
    *("exact_none", "exact_B", "exact_B_shuffled"),
    *("exact_elsewhere", "exact_elsewhere_shuffled"),
)
INGREDIENTS = ("text_cosine", "partial_correlation_ridge", "target_positive_rate")
METRICS = {"auprc": "pooled", "auprc_ratio_per_regulator": "per regulator"}
PAPER_B, PAPER_BC = 1.385, 1.111


def main() -> None:
    from infosem_jax.benchmark.grn.cells import STORE

    options = benchmark_parser(__doc__, seeds=3)
    options.add_argument("--networks", default="", help="split by commas; all if not given")
    options.add_argument(
        "--engine", choices=("both", "exact"), default="both", help="which engines to run"
    )
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
    baselines = ("one_hot", "matrix_completion") if arguments.quick else BASELINES
    chosen = (*EXACT, *VARIANTS, *baselines, *CONTROLS)
    if arguments.engine == "exact":
        chosen = (*EXACT, *INGREDIENTS)
    grid = make_grid(
        folder,
        datasets=DATASETS,
        networks=tuple(filter(None, arguments.networks.split(","))),
        methods=chosen,
        seeds=arguments.seeds,
        quick=arguments.quick,
    )
    return run_grid(grid, arguments.out, resume=arguments.resume, on_chunk=print_progress).cells


def claims(cells: "list[Cell]") -> Iterator[tuple[str, Row]]:
    """Yield each comparison for every network and split, by what it is called."""
    from infosem_jax.grn.paired import best, paired

    there = {cell.at.method for cell in cells}
    for metric in METRICS:
        pairs = (
            ("B against none", "infosem_B", "infosem_none"),
            ("shuffled B against none", "infosem_B_shuffled", "infosem_none"),
            ("B against shuffled B", "infosem_B", "infosem_B_shuffled"),
            ("BC against B", "infosem_BC", "infosem_B"),
            ("BC against C", "infosem_BC", "infosem_C"),
            ("BC against shuffled BC", "infosem_BC", "infosem_BC_shuffled"),
            ("exact B against exact none", "exact_B", "exact_none"),
            ("shuffled exact B against exact none", "exact_B_shuffled", "exact_none"),
            ("exact B against texts alone", "exact_B", "text_cosine"),
            ("exact B against B", "exact_B", "infosem_B"),
            ("exact none against ridge", "exact_none", "partial_correlation_ridge"),
            ("exact elsewhere against exact none", "exact_elsewhere", "exact_none"),
            ("exact elsewhere against popularity", "exact_elsewhere", "target_positive_rate"),
            (
                "exact elsewhere against shuffled",
                *("exact_elsewhere", "exact_elsewhere_shuffled"),
            ),
            ("exact none against none", "exact_none", "infosem_none"),
        )
        comparisons: list[tuple[str, str, Any]] = [p for p in pairs if {*p[1:]} <= there]
        for method in ("infosem_none", "infosem_B", "infosem_BC"):
            for what, among in (("baseline", BASELINES), ("control", CONTROLS)):
                if method in there and there & set(among):
                    yardstick = best(cells, sorted(there & set(among)), metric)
                    name = f"{method.removeprefix('infosem_')} against best {what}"
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
    targets = {"B against none": PAPER_B, "BC against B": PAPER_BC, "shuffled B against none": None}
    targets["shuffled exact B against exact none"] = 0.95
    name = f"paper_infosem: {claim}, {row['network']}, {row['split']}, {METRICS[row['metric']]}"
    ends = {"low": float(row["ratio_low"]), "high": float(row["ratio_high"])}
    return Figure(name, float(row["ratio"]), "ratio", "higher", targets.get(claim, 1.0), **ends)


if __name__ == "__main__":
    run(main)
