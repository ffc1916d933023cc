"""All genes of single cells, most of them found in few cells: which edges come first?

    INFOSEM_DATA=DATA python benchmarks/rare_genes.py [--files human_pbmc_ctrl,human_pbmc_stim]

Files of DATA/expression with all of their genes and the transcription factors of the species,
without prior, beside two lines of numpy, correlation and ridge partial correlation, and beside
detection: the share of cells that the regulator is found in times that of the target. AUPRC ratio
against STRING, per regulator and pooled, and how much more often the 500 first edges are in STRING
than pairs are; AUROC among pairs whose regulators and targets have as many known edges; and in what
share of cells the rarer gene of these 500 is detected.
The rule for rare genes was chosen on two of the files, as the figures' names say.
"""

import os
import sys
from pathlib import Path

import numpy as np
from _record import Figure, parser, print_table, report, run
from exact_grn import scores_of

from infosem_jax.benchmark.grn import controls
from infosem_jax.data import normalise, read_expression, read_network
from infosem_jax.data.io import read_regulators
from infosem_jax.grn import exact
from infosem_jax.grn.baselines.problem import Problem
from infosem_jax.grn.metrics import score_matrix
from infosem_jax.grn.splits import candidates

CHOSEN_ON = ("human_pbmc_ctrl", "human_oligodendroglioma")
FILES = (
    *CHOSEN_ON, "human_pbmc_stim", "human_breastcancer_ST_layer1", "human_pancreas_xin",
    "mouse_olfactorybulb_ST",
)  # fmt: skip
QUICK = "human_pancreas_xin"
FIRST = 500
CONFIG = exact.Config(normalisation="auto")
SIMPLE = {"correlation": "correlation", "ridge": "partial_correlation_ridge"}
UNITS = {
    "per regulator": "ratio", "pooled": "ratio", f"first {FIRST}": "ratio",
    "like degrees": "AUROC", "detected in": "share",
}  # fmt: skip


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--files", default="", help="names split by commas")
    arguments = options.parse_args()
    folder = Path(os.environ.get("INFOSEM_DATA", ""))
    if not (folder / "expression").is_dir():
        sys.exit("Set INFOSEM_DATA to a folder that holds expression/human_pbmc_ctrl.h5ad.")
    names = arguments.files.split(",") if arguments.files else FILES
    figures, rows = [], []
    for name in [QUICK] if arguments.quick else names:
        for method, values in compare(folder, name).items():
            rows.append((name, method, *(f"{value:.2f}" for value in values.values())))
            print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)
            where = f"{name}{' (chosen on it)' if name in CHOSEN_ON else ''}"
            figures += [
                Figure(f"rare_genes: {where}, {method}, {which}", value, UNITS[which], "higher")
                for which, value in values.items()
            ]
    print_table(("data", "method", *UNITS), rows)
    report(figures, arguments)


def compare(folder: Path, name: str) -> dict[str, dict[str, float]]:
    """Return by method how good its ranking is, and what its first edges are between."""
    species = name.split("_")[0]
    path = folder / "expression" / f"{name}.h5ad"
    data = read_expression(path, regulators=read_regulators(species), name=name)
    network = read_network(folder / "beeline" / "networks_full" / f"{species}_STRING.csv.gz")
    # The networks of BEELINE have all names in capitals.
    own = {gene.upper(): gene for gene in data.genes}
    network = network.replace({"source": own, "target": own})
    universe = candidates(data, network.query("source in @data.regulators"))
    scores = {"exact": scores_of(exact.fit(data, config=CONFIG), universe)}
    labels = np.full(universe.truth.shape, np.nan)
    scaled = normalise(data, "auto")
    problem = Problem(scaled, universe.regulators, universe.genes, labels, labels)
    scores |= {method: controls.CONTROLS[control](problem) for method, control in SIMPLE.items()}
    share = dict(zip(data.genes, data.observed.mean(0), strict=True))
    sides = (universe.regulators, universe.genes)
    detected = [np.array([share[gene] for gene in side]) for side in sides]
    scores["detection"] = np.multiply.outer(*detected)
    rarer = np.minimum.outer(*detected)[universe.candidate]
    found = {}
    for method, values in scores.items():
        measured = score_matrix(values, universe.truth, universe.candidate)
        order = np.argsort(-values[universe.candidate], kind="stable")[:FIRST]
        known = universe.truth[universe.candidate]
        row = (
            measured["auprc_ratio_per_regulator"],
            measured["auprc_ratio"],
            known[order].mean() / known.mean(),
            measured["auroc_degree_matched"],
            np.median(rarer[order]),
        )
        found[method] = dict(zip(UNITS, map(float, row), strict=True))
    return found


if __name__ == "__main__":
    run(main)
