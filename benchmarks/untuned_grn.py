"""The exact engine on data that no setting was chosen on, beside what it is made of.

    INFOSEM_DATA=DATA python benchmarks/untuned_grn.py

Three sets of measured cells (DATA/scode: 100 transcription factors each, against footprints of
them in open chromatin), with texts about genes as a prior as in `exact_grn.py`; and the simulated
networks of BEELINE (DATA/beeline/curated and synthetic: 5 to 19 genes, all replicates). AUPRC
ratio, per regulator and pooled; of the simulated networks, whose regulators have too few targets,
pooled only. Ridge is partial correlation with a fixed, large penalty, light ridge that with the
penalty of Ledoit and Wolf.
"""

import os
import sys
from pathlib import Path

import numpy as np
from _record import Figure, parser, print_table, report, run
from exact_grn import SCORES, compare, scores_of

from infosem_jax.benchmark.grn import controls
from infosem_jax.benchmark.grn.references import (
    add_embeddings,
    find_embeddings,
    find_references,
    load,
)
from infosem_jax.data import Dataset, read_expression, read_network
from infosem_jax.grn import exact
from infosem_jax.grn.baselines.problem import Problem
from infosem_jax.grn.metrics import score_matrix
from infosem_jax.grn.splits import Universe, candidates
from infosem_jax.scores import mean_interval

SIMPLE = {
    "correlation": "correlation",
    "ridge": "partial_correlation_ridge",
    "light ridge": "partial_correlation",
}
QUICK = "GSD"


def main() -> None:
    arguments = parser(__doc__).parse_args()
    folder = Path(os.environ.get("INFOSEM_DATA", ""))
    if not (folder / "scode").is_dir() or not (folder / "beeline" / "curated").is_dir():
        sys.exit("Set INFOSEM_DATA to a folder that holds scode/ and beeline/curated/.")
    figures, rows = [], []
    for name, scores in ({} if arguments.quick else measured(folder)).items():
        for method, values in scores.items():
            rows.append((name, method, *(f"{value:.2f}" for value in values)))
            figures += [
                Figure(f"untuned_grn: {name}, {which}, {method}", value, "ratio", "higher")
                for which, value in zip(SCORES, values, strict=True)
            ]
    for name, scores in simulated(folder, QUICK if arguments.quick else "*").items():
        best = np.max([values for method, values in scores.items() if method != "exact"], axis=0)
        for method, values in (scores | {"exact / the best other": scores["exact"] / best}).items():
            mean, low, high, *_ = mean_interval(values)
            rows.append((name, method, "", f"{mean:.2f} [{low:.2f}, {high:.2f}]"))
            about = f"untuned_grn: {name}, pooled, {method}"
            figures.append(Figure(about, mean, "ratio", "higher", None, low, high))
    print_table(("data", "method", *SCORES), rows)
    report(figures, arguments)


def measured(folder: Path) -> dict[str, dict[str, tuple[float, float]]]:
    """Return AUPRC ratios per regulator and pooled on measured cells, by data set and method."""
    references, _ = find_references(folder / "scode")
    texts = [each for each in find_embeddings(folder) if each[0] == "text"]
    loaded, _ = add_embeddings([load(each) for each in references], texts, asked=True)
    found = {}
    for each in loaded:
        ((network, scores),) = compare(each).items()
        universe = candidates(each.data, each.networks[network])
        found[each.data.name] = {**simple(each.data, universe), **scores}
    return found


def simulated(folder: Path, pattern: str) -> dict[str, dict[str, np.ndarray]]:
    """Return pooled AUPRC ratios of all replicates, by simulated network and method."""
    found = {}
    for path in sorted((folder / "beeline").glob(f"*/{pattern}.npz")):
        network = read_network(path.with_name(f"{path.stem}_refNetwork.csv.gz"))
        replicates = [
            read_expression(path, variant=name.removeprefix("X_"))
            for name in np.load(path)
            if name.startswith("X_")
        ]
        pooled = []
        for data in replicates:
            universe = candidates(data, network)
            ours = rated(scores_of(exact.fit(data), universe), universe)
            both = {**simple(data, universe), "exact": ours}
            pooled.append(
                {method: values[SCORES.index("pooled")] for method, values in both.items()}
            )
        found[path.stem] = {k: np.array([each[k] for each in pooled]) for k in pooled[0]}
    return found


def simple(data: Dataset, universe: Universe) -> dict[str, tuple[float, float]]:
    """Return the ratios of one line of numpy each, which ranks activation first or any effect."""
    labels = np.full(universe.truth.shape, np.nan)
    problem = Problem(data, universe.regulators, universe.genes, labels, labels)
    scores = {name: controls.CONTROLS[control](problem) for name, control in SIMPLE.items()}
    scores |= {f"absolute {name}": np.abs(values) for name, values in scores.items()}
    return {name: rated(values, universe) for name, values in scores.items()}


def rated(scores: np.ndarray, universe: Universe) -> tuple[float, float]:
    """Return the AUPRC ratios per regulator and pooled of scores."""
    found = score_matrix(scores, universe.truth, universe.candidate)
    return found["auprc_ratio_per_regulator"], found["auprc_ratio"]


if __name__ == "__main__":
    run(main)
