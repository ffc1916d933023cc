"""Learning from labels beside all that it is made of, and beside networks that learn from labels.

    INFOSEM_DATA=DATA python benchmarks/labels_grn.py --out DIR --datasets mHSC-E --seeds 10
    INFOSEM_DATA=DATA python benchmarks/labels_grn.py --out DIR [--resume]

runs what ``infosem benchmark grn`` runs, the second on BEELINE's data sets that nothing was chosen
on; ``--from DIR`` takes the results of a benchmark that was run before. Reported are means over
draws of each split and then, with 95 % intervals, over data sets; ratios of ``exact_BC`` to the
best baseline, which is chosen on the tested pairs of each data set and so favoured; and its AUPRC
minus that of the best of its parts, chosen in the same way.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from _record import Figure, benchmark_parser, cells_of, data_folder, print_progress, report, run

from infosem_jax.scores import mean_interval

if TYPE_CHECKING:
    from infosem_jax.grn.accuracy import Cell

DATASETS = "hESC,hHEP,mDC,mESC"
NETWORKS = ("specific", "nonspecific", "string")
SPLITS = ("seen", "unseen_target", "unseen_as_regulator", "unseen_regulator", "unseen_both")
# What exact_BC knows, each alone: labels in three ways, texts, expression; and some together.
LABELS = ("matrix_completion", "one_hot", "target_positive_rate")
PARTS = (*LABELS, "text_cosine", "exact_none", "exact_B")
OTHERS = ("genelink", "gnnlink", "scgreat", "genie3")
OWN = ("exact_C", "exact_BC", "exact_BC_shuffled")
RATIOS = {"auprc_ratio": "pooled", "auprc_ratio_per_regulator": "per regulator"}
AREAS = {"auprc": "pooled", "auprc_per_regulator": "per regulator"}
MATCHED = "auroc_degree_matched"


def main() -> None:
    from infosem_jax.benchmark.grn.cells import STORE

    options = benchmark_parser(__doc__, seeds=1)
    options.add_argument("--datasets", default=DATASETS, help="split by commas")
    arguments = options.parse_args()
    report(list(figures(cells_of(arguments, STORE.read_all, compute))), arguments)


def compute(arguments) -> "list[Cell]":
    """Run the methods, or a small form of it, and return the cells."""
    from infosem_jax.benchmark.grn.runner import make_grid
    from infosem_jax.benchmark.grn.transfer import TRANSFER
    from infosem_jax.benchmark.runner import run_grid

    grid = make_grid(
        data_folder("beeline", "beeline/hESC/TFs+500/expression.npz"),
        datasets=tuple(arguments.datasets.split(",")[: 1 if arguments.quick else None]),
        networks=NETWORKS,
        methods=(*OWN, *PARTS, *(() if arguments.quick else OTHERS)),
        splits=(*SPLITS, TRANSFER),
        seeds=arguments.seeds,
        quick=arguments.quick,
    )
    return run_grid(grid, arguments.out, resume=arguments.resume, on_chunk=print_progress).cells


def figures(cells: "list[Cell]") -> Iterator[Figure]:
    """Yield means, ratios and differences for every network, split and score."""
    table = pd.DataFrame([{**cell.at._asdict(), **cell.metrics} for cell in cells])
    table["split"] = table["split"].str.replace("_", " ")
    for where, part in table.groupby(table["network"] + ", " + table["split"]):
        scores = (*RATIOS, *AREAS, MATCHED)
        found = {name: part.pivot_table(name, "dataset", "method") for name in scores}
        datasets = sorted(set(part["dataset"]))
        what = datasets[0] if len(datasets) == 1 else "mean"
        for metric, score in {**RATIOS, MATCHED: "matched degrees"}.items():
            unit = "AUROC" if metric == MATCHED else "ratio"
            for method, values in found[metric].items():
                if np.isfinite(values).any():
                    yield _figure(f"{what}, {where}, {score}, {method}", values, unit)
        for metric, score in RATIOS.items():
            for over, among in (("best baseline", ()), ("best, exact_C too", ("exact_C",))):
                ratio = found[metric]["exact_BC"] / _best(found[metric], (*PARTS, *OTHERS, *among))
                figure = _figure(
                    f"exact_BC over the {over}, {where}, {score}", np.log(ratio), "ratio"
                )
                ends = {k: _exp(getattr(figure, k)) for k in ("value", "low", "high")}
                yield figure._replace(**ends)
        for metric, score in AREAS.items():
            for method, among in (
                ("exact_BC", (*PARTS, "exact_C")),
                ("exact_C", (*LABELS, "exact_none")),
            ):
                above = found[metric][method] - _best(found[metric], among)
                for dataset, value in zip(datasets, above, strict=True):
                    name = f"AUPRC of {method} minus the best part, {where}, {score}, {dataset}"
                    yield Figure(name, float(value), "AUPRC", "higher")


def _best(scores: pd.DataFrame, among: tuple[str, ...]) -> pd.Series:
    """Return the highest score of each data set among methods that were run."""
    return scores[[name for name in among if name in scores]].max(axis=1)


def _figure(name: str, values: pd.Series, unit: str) -> Figure:
    estimate = mean_interval(values.to_numpy())
    ends = {k: v for k, v in (("low", estimate.low), ("high", estimate.high)) if np.isfinite(v)}
    return Figure(name, estimate.mean, unit, "higher", **ends)


def _exp(value: float | None) -> float | None:
    return None if value is None else float(np.exp(value))


if __name__ == "__main__":
    run(main)
