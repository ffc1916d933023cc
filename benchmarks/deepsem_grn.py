"""DeepSEM's recipe on BEELINE data, beside the figures that were published for DeepSEM.

Reads the folder that INFOSEM_DATA names, fits all seeds of a data set at once, and scores the
candidate edges of the known network by ``|W|``: of every seed (mean and standard deviation over
seeds) and of the seeds' mean ``|W|`` (the ensemble). The pooled figures come with those per
regulator, and with what an order at random gives there. Published figures: for cell-type-specific
networks, DeepSEM as run ten times by the authors of RegDiffusion; for STRING, the range of
independent runs of the recipe.
"""

import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from _record import Figure, parser, print_table, report

from infosem_jax.data import read_expression, read_network
from infosem_jax.grn.config import Config, deepsem
from infosem_jax.grn.fitting import fit
from infosem_jax.grn.metrics import score_matrix
from infosem_jax.grn.priors import MeanAbsolute
from infosem_jax.grn.result import Fit

METRICS = (
    "auprc_ratio",
    "epr",
    "auprc_ratio_per_regulator",
    "epr_per_regulator",
    "auprc_ratio_per_regulator_chance",
    "auprc_ratio_regulator_mean",
)


@dataclass(frozen=True)
class Case:
    """One data set, the recipe for it, and the published mean and spread (or range) in words."""

    folder: str
    network: str
    config: Config
    alpha: float
    auprc_ratio: float | None = None
    epr: float | None = None
    published: str = "no published figure for a short run"

    @property
    def name(self) -> str:
        return f"{self.folder} {self.network}"


SPECIFIC, STRING = deepsem("cell-type-specific", epochs=120), deepsem("non-specific", epochs=90)
CASES = (
    Case(
        folder="hHEP/TFs+1000",
        network="specific",
        config=SPECIFIC,
        alpha=1.0,
        auprc_ratio=1.133,
        epr=1.123,
        published="AUPRC ratio 1.133 (sd 0.013), EPR 1.123 (0.020)",
    ),
    Case(
        folder="mDC/TFs+1000",
        network="specific",
        config=SPECIFIC,
        alpha=1.0,
        auprc_ratio=0.990,
        epr=0.965,
        published="AUPRC ratio 0.990 (sd 0.067), EPR 0.965 (0.187)",
    ),
    Case(
        folder="mDC/TFs+500",
        network="string",
        config=STRING,
        alpha=100.0,
        auprc_ratio=1.5,
        epr=1.8,
        published="AUPRC ratio 1.5 to 1.65, EPR 1.8 to 2.1; the targets are the lower ends",
    ),
)
QUICK = (Case("mDC/TFs+500", "string", replace(STRING, epochs=10), alpha=100.0),)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--seeds", type=int, help="fits of each data set (10; quick: 2)")
    options.add_argument("--only", default="", metavar="TEXT", help="data sets whose name holds it")
    arguments = options.parse_args()
    seeds = arguments.seeds or (2 if arguments.quick else 10)
    folder = data_folder()
    cases = [c for c in (QUICK if arguments.quick else CASES) if arguments.only in c.name]
    if not cases:
        sys.exit(f"--only {arguments.only}: no such data set; see CASES in {__file__}.")
    report([figure for case in cases for figure in run(case, folder, seeds)], arguments)


def data_folder() -> Path:
    """Return the folder of BEELINE data, or leave with what is missing."""
    folder = Path(os.environ.get("INFOSEM_DATA", "")) / "beeline"
    if not ("INFOSEM_DATA" in os.environ and folder.is_dir()):
        sys.exit(
            "Set INFOSEM_DATA to a folder that holds beeline/mDC/TFs+500/expression.npz, "
            "network_string.csv.gz beside it, and the same for the other data sets."
        )
    return folder


def run(case: Case, folder: Path, seeds: int) -> list[Figure]:
    """Fit one data set, print a row for each seed, and return its figures."""
    data = read_expression(folder / case.folder, name=case.name)
    known = read_network(folder / case.folder / f"network_{case.network}.csv.gz")
    began = time.perf_counter()
    fitted = fit(data, MeanAbsolute(case.alpha, rows=None), config=case.config, seeds=seeds)
    seconds = time.perf_counter() - began
    sizes = np.abs(fitted.weight[fitted.diverged < 0])
    by_seed = [scores(size, fitted, known) for size in sizes]
    ensemble = scores(sizes.mean(0), fitted, known)
    values = {metric: np.array([row[metric] for row in by_seed]) for metric in METRICS}
    mean = {metric: float(v.mean()) for metric, v in values.items()}
    sd = {m: float(v.std(ddof=1)) if len(v) > 1 else float("nan") for m, v in values.items()}
    print(f"{case.name}: {data.x.shape[0]} cells, {data.x.shape[1]} genes, {seconds:.0f} s")
    print(f"Published for DeepSEM: {case.published}")
    sound = np.flatnonzero(fitted.diverged < 0)
    named = [(f"seed {seed}", row) for seed, row in zip(sound, by_seed, strict=True)]
    named += [("mean", mean), ("sd", sd), (f"ensemble of {len(sizes)}", ensemble)]
    print_table(
        ("", *METRICS), [(name, *(f"{row[m]:.3f}" for m in METRICS)) for name, row in named]
    )
    head = f"deepsem_grn: {case.name}, {case.config.epochs} epochs,"
    figures = []
    for metric, title, target in (
        ("auprc_ratio", "AUPRC ratio", case.auprc_ratio),
        ("epr", "EPR", case.epr),
        # Chance is what there is to beat here, and it is not 1: see `score_matrix`.
        (
            "auprc_ratio_per_regulator",
            "AUPRC ratio per regulator (target: chance)",
            ensemble["auprc_ratio_per_regulator_chance"],
        ),
    ):
        name = f"{head} {title},"
        figures += [
            Figure(f"{name} mean of seeds", mean[metric], "ratio", "higher", target),
            Figure(f"{name} sd of seeds", sd[metric], "ratio", "lower"),
            Figure(f"{name} ensemble", ensemble[metric], "ratio", "higher", target),
        ]
    return [*figures, Figure(f"{head} fit of {seeds} seeds", seconds, "s", "lower")]


def scores(size: np.ndarray, fitted: Fit, known: pd.DataFrame) -> dict[str, float | int]:
    """Score ``|W|`` [regulators, genes] over the candidate pairs of the known network."""
    regulators = sorted(set(known["source"]))
    genes = sorted(set(known["source"]) | set(known["target"]))
    table = pd.DataFrame(size, index=pd.Index(fitted.regulators), columns=pd.Index(fitted.genes))
    truth = pd.crosstab(known["source"], known["target"]).reindex(
        index=regulators, columns=genes, fill_value=0
    )
    candidate = np.asarray(regulators)[:, None] != np.asarray(genes)
    ranked = table.reindex(index=regulators, columns=genes).to_numpy(np.float64)
    return score_matrix(ranked, truth.to_numpy() > 0, candidate)


if __name__ == "__main__":
    main()
