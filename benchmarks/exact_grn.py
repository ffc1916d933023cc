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

METHODS = ("texts alone", "ridge", "exact, no prior", "exact, texts", "exact, shuffled texts")
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
    for each in loaded:
        for network, scores in compare(each).items():
            values = [f"{regulator:.2f} / {pooled:.2f}" for regulator, pooled in scores.values()]
            rows.append((each.data.name, network, *values))
            print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)
            figures += figures_of(each.data.name, network, scores)
    print_table(("data", "network", *METHODS), rows)
    report(figures, arguments.json)


def compare(each: Loaded) -> dict[str, dict[str, tuple[float, float]]]:
    """Return AUPRC ratios per regulator and pooled, by network and method."""
    similar = priors.GeneSimilarity(each.embeddings["text"])
    permuted = priors.shuffled(similar, 0)
    fits = {
        "exact, no prior": exact.fit(each.data),
        "exact, texts": exact.fit(each.data, similar),
        "exact, shuffled texts": exact.fit(each.data, permuted),
    }
    told = fits["exact, texts"].learned
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
    """Compare the score with texts to the better of its ingredients, and shuffled ones to none."""
    figures = []
    for i, which in enumerate(("per regulator", "pooled")):
        value = {method: both[i] for method, both in scores.items()}
        best = max(value["texts alone"], value["exact, no prior"])
        none = value["exact, no prior"]
        about = f"exact_grn: {data}, {network}, {which}"
        figures += [
            Figure(f"{about}, texts", value["exact, texts"], "ratio", "higher"),
            Figure(f"{about}, no prior", none, "ratio", "higher"),
            Figure(
                f"{about}, texts / better ingredient",
                value["exact, texts"] / best,
                "ratio",
                "higher",
                0.93 if network == "specific" else 0.97,
            ),
            Figure(
                f"{about}, shuffled texts / no prior",
                value["exact, shuffled texts"] / none,
                "ratio",
                "higher",
                0.95,
            ),
        ]
    return figures


if __name__ == "__main__":
    run(main)
