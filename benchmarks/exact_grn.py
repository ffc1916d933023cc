"""The exact engine beside what it is made of: texts alone, no prior, ridge partial correlation.

    INFOSEM_DATA=DATA python benchmarks/exact_grn.py [--datasets hESC,mDC] [--genes TFs+500]

AUPRC ratio per regulator / pooled, on every reference network of BEELINE's data sets. The score of
the exact engine without prior, with texts (TF-IDF, `GeneSimilarity`), and with texts permuted among
genes, must not lose to the better of its ingredients.
"""

import os
import sys
from pathlib import Path

import numpy as np
from _record import Figure, parser, print_table, report, run

from infosem_jax.benchmark.grn import controls
from infosem_jax.benchmark.grn.references import (
    Loaded,
    add_embeddings,
    find_embeddings,
    find_references,
    load,
)
from infosem_jax.grn import exact, priors
from infosem_jax.grn.baselines.problem import Problem
from infosem_jax.grn.metrics import score_matrix
from infosem_jax.grn.splits import Universe, candidates
from infosem_jax.scores import mean_interval

METHODS = ("texts alone", "ridge", "no prior", "texts and expression", "shuffled texts")
SCORES = ("per regulator", "pooled")
DATASETS, QUICK = "hESC,hHEP,mDC,mESC", "mHSC-E"


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--datasets", default="", help=f"split by commas; {DATASETS} if not given")
    options.add_argument("--genes", default="", help="gene set, such as TFs+500")
    arguments = options.parse_args()
    folder = Path(os.environ.get("INFOSEM_DATA", "")) / "beeline"
    if not folder.is_dir():
        sys.exit("Set INFOSEM_DATA to a folder that holds beeline/hESC/TFs+500/expression.npz.")
    names = arguments.datasets or (QUICK if arguments.quick else DATASETS)
    genes = tuple(filter(None, arguments.genes.split(",")))
    references, _ = find_references(folder, datasets=names.split(","), genes=genes)
    texts = [(name, path) for name, path in find_embeddings(folder) if name == "text"]
    loaded, _ = add_embeddings([load(each) for each in references], texts, asked=True)
    figures, rows = [], []
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for each in loaded:
        for network, scores in compare(each).items():
            values = [f"{regulator:.2f} / {pooled:.2f}" for regulator, pooled in scores.values()]
            rows.append((each.data.name, network, *values))
            print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)
            for method, pair in scores.items():
                found.setdefault((network, method), []).append(pair)
            figures += figures_of(each.data.name, network, scores)
    figures += mean_figures(found)
    print_table(("data", "network", *METHODS), rows)
    report(figures, arguments)


def compare(each: Loaded) -> dict[str, dict[str, tuple[float, float]]]:
    """Return AUPRC ratios per regulator and pooled, by network and method."""
    similar = priors.GeneSimilarity(each.embeddings["text"])
    permuted = priors.shuffled(similar, 0)
    fits = {
        "no prior": exact.fit(each.data),
        "texts and expression": exact.fit(each.data, similar),
        "shuffled texts": exact.fit(each.data, permuted),
    }
    told = fits["texts and expression"].learned
    print(each.data.name, *(f"{name} {value:.3g}" for name, value in told.items()), file=sys.stderr)
    simple = {
        "texts alone": controls.embedding_cosine(each.embeddings["text"]),
        "ridge": controls.CONTROLS["partial_correlation_ridge"],
    }
    found = {}
    for name, table in each.networks.items():
        universe = candidates(each.data, table)
        labels = np.full(universe.truth.shape, np.nan)
        problem = Problem(each.data, universe.regulators, universe.genes, labels, labels)
        scores = {k: control(problem) for k, control in simple.items()}
        scores |= {k: scores_of(fitted, universe) for k, fitted in fits.items()}
        measured = {
            k: score_matrix(v, universe.truth, universe.candidate) for k, v in scores.items()
        }
        found[name] = {
            k: (v["auprc_ratio_per_regulator"], v["auprc_ratio"]) for k, v in measured.items()
        }
    return found


def scores_of(fitted: exact.Fit, universe: Universe) -> np.ndarray:
    """Return the scores of the pairs that a network knows of."""
    row = {name: i for i, name in enumerate(fitted.regulators)}
    column = {name: i for i, name in enumerate(fitted.genes)}
    at = np.ix_([row[r] for r in universe.regulators], [column[g] for g in universe.genes])
    return fitted.score[at]


def figures_of(data: str, network: str, scores: dict[str, tuple[float, float]]) -> list[Figure]:
    """Return all scores, and what they are beside the ingredients and beside no prior."""
    limit = 0.93 if network == "specific" else 0.97
    figures = []
    for i, which in enumerate(SCORES):
        value = {method: both[i] for method, both in scores.items()}
        best = max(value["texts alone"], value["no prior"])
        about = f"exact_grn: {data}, {network}, {which}"
        figures += [Figure(f"{about}, {k}", v, "ratio", "higher") for k, v in value.items()]
        gained, shuffled = value["texts and expression"] / best, value["shuffled texts"]
        figures += [
            Figure(f"{about}, over the better part", gained, "ratio", "higher", limit),
            Figure(f"{about}, shuffled / no prior", shuffled / value["no prior"], "ratio", "higher",
                   0.95),
        ]  # fmt: skip
    return figures


def mean_figures(found: dict[tuple[str, str], list[tuple[float, float]]]) -> list[Figure]:
    """Return means over data sets with their intervals, and the mean ratio to the better part."""
    figures = []
    for network in dict.fromkeys(network for network, _ in found):
        scores = {method: np.array(found[network, method]) for method in METHODS}
        best = np.maximum(scores["texts alone"], scores["no prior"])
        scores["over the better part"] = scores["texts and expression"] / best
        for i, which in enumerate(SCORES):
            for method, values in scores.items():
                mean, low, high, *_ = mean_interval(values[:, i])
                name = f"exact_grn: mean, {network}, {which}, {method}"
                figures.append(Figure(name, mean, "ratio", "higher", None, low, high))
    return figures


if __name__ == "__main__":
    run(main)
