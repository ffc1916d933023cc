"""DeepSEM's recipe on BEELINE data, beside the figures that were published for DeepSEM.

Reads the folder that INFOSEM_DATA names, fits all seeds of a data set at once, and scores the
candidate edges of the known network by ``|W|``: of every seed (mean and standard deviation over
seeds) and of the seeds' mean ``|W|`` (the ensemble). The pooled figures come with those per
regulator, and with what an order at random gives there. Published figures are those of DAZZLE's
authors for DeepSEM on cell-type-specific networks, and of independent runs of the recipe on STRING.
"""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from _record import Figure, parser, print_table, report

from infosem_jax.benchmark import score_matrix
from infosem_jax.data import read_expression, read_network
from infosem_jax.grn.config import Config, deepsem
from infosem_jax.grn.fit import Fit, fit
from infosem_jax.grn.priors import MeanAbsolute

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


CASES = (
    Case(
        *("hHEP/TFs+1000", "specific", deepsem("cell-type-specific"), 1.0, 1.133, 1.123),
        published="AUPRC ratio 1.133 (sd 0.013), EPR 1.123 (0.020)",
    ),
    Case(
        *("mDC/TFs+1000", "specific", deepsem("cell-type-specific"), 1.0, 0.990, 0.965),
        published="AUPRC ratio 0.990 (sd 0.067), EPR 0.965 (0.187)",
    ),
    Case(
        *("mDC/TFs+500", "string", deepsem("non-specific", epochs=90), 100.0, 1.5, 1.8),
        published="AUPRC ratio 1.5 to 1.65, EPR 1.8 to 2.1 (targets are the lower ends)",
    ),
)
QUICK = (Case("mDC/TFs+500", "string", deepsem("non-specific", epochs=10), 100.0),)


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
    report([figure for case in cases for figure in run(case, folder, seeds)], arguments.json)


def data_folder() -> Path:
    """Return the folder of BEELINE data, or leave with what is missing."""
    folder = Path(os.environ.get("INFOSEM_DATA", "")) / "beeline"
    if not ("INFOSEM_DATA" in os.environ and folder.is_dir()):
        sys.exit("Set INFOSEM_DATA to a folder that holds beeline/ (see the README).")
    return folder


def run(case: Case, folder: Path, seeds: int) -> list[Figure]:
    """Fit one data set, print a row for each seed, and return its figures."""
    data = read_expression(folder / case.folder, name=case.name)
    known = read_network(folder / case.folder / f"network_{case.network}.csv.gz")
    began = time.perf_counter()
    fitted = fit(data, MeanAbsolute(case.alpha), config=case.config, seeds=seeds)
    seconds = time.perf_counter() - began
    sizes = np.abs(fitted.weight[fitted.diverged < 0])
    by_seed = pd.DataFrame([scores(size, fitted, known) for size in sizes])
    ensemble = scores(sizes.mean(0), fitted, known)

    mean, sd = by_seed.mean(), by_seed.std()  # sd is NaN for one seed
    print(f"{case.name}: {data.x.shape[0]} cells, {data.x.shape[1]} genes, {seconds:.0f} s")
    print(f"Published for DeepSEM: {case.published}")
    named = [
        (f"seed {i}", row)
        for i, row in zip(np.flatnonzero(fitted.diverged < 0), by_seed.to_dict("records"))
    ]
    named += [("mean", mean), ("sd", sd), (f"ensemble of {len(sizes)}", ensemble)]
    print_table(
        ("", *METRICS), [(name, *(f"{row[m]:.3f}" for m in METRICS)) for name, row in named]
    )
    head = f"deepsem_grn: {case.name}, {case.config.epochs} epochs,"
    chance = ensemble["auprc_ratio_per_regulator_chance"]
    return [
        Figure(
            f"{head} AUPRC ratio, mean of seeds",
            mean["auprc_ratio"],
            "ratio",
            "higher",
            case.auprc_ratio,
        ),
        Figure(f"{head} AUPRC ratio, sd of seeds", sd["auprc_ratio"], "ratio", "lower"),
        Figure(
            f"{head} AUPRC ratio, ensemble",
            ensemble["auprc_ratio"],
            "ratio",
            "higher",
            case.auprc_ratio,
        ),
        Figure(f"{head} EPR, mean of seeds", mean["epr"], "ratio", "higher", case.epr),
        Figure(f"{head} EPR, sd of seeds", sd["epr"], "ratio", "lower"),
        Figure(f"{head} EPR, ensemble", ensemble["epr"], "ratio", "higher", case.epr),
        Figure(
            f"{head} AUPRC ratio per regulator, mean of seeds (target: chance)",
            *(mean["auprc_ratio_per_regulator"], "ratio", "higher", chance),
        ),
        Figure(f"{head} fit of {seeds} seeds", seconds, "s", "lower"),
    ]


def scores(size: np.ndarray, fitted: Fit, known: pd.DataFrame) -> dict[str, float | int]:
    """Score ``|W|`` [regulators, genes] over regulators with edges and genes of the known network."""
    regulators = sorted(set(known["source"]))
    genes = sorted(set(known["source"]) | set(known["target"]))
    table = pd.DataFrame(size, index=list(fitted.regulators), columns=list(fitted.genes))
    truth = pd.crosstab(known["source"], known["target"]).reindex(
        index=regulators, columns=genes, fill_value=0
    )
    candidate = np.asarray(regulators)[:, None] != np.asarray(genes)
    ranked = table.reindex(index=regulators, columns=genes).to_numpy(np.float64)
    return score_matrix(ranked, truth.to_numpy() > 0, candidate)


if __name__ == "__main__":
    main()
