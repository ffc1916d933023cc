"""Predicting the response to perturbations that were never made, and what the mean response hides.

    python examples/perturb_genes.py --out results

A screen of 40 genes is simulated: genes of a pathway move the same targets, and all perturbations
share a stress response. A fifth is left out. Neighbours in a knowledge graph, ridge regression and
the network predict them, beside the mean response of all, which correlates well with everything and
knows nothing. The same by commands: ``infosem perturbation fit``, ``predict`` and ``explain``.
"""

import argparse
import tempfile
from pathlib import Path

import anndata
import numpy as np
import pandas as pd

from infosem_jax import perturbation
from infosem_jax.data import Embedding

PATHWAYS, PER_PATHWAY, GENES, CELLS = 8, 5, 60, 60
SMALL = {"features": 16, "layers": 1, "hidden": 32, "epochs": 60, "members": 2, "patience": 0}


def main() -> None:
    parser = argparse.ArgumentParser(description="Predict responses to unseen perturbations.")
    parser.add_argument("--out", type=Path, help="folder for the files (default: temporary)")
    out = parser.parse_args().out
    if out is None:
        with tempfile.TemporaryDirectory() as folder:
            run(Path(folder))
    else:
        out.mkdir(parents=True, exist_ok=True)
        run(out)


def run(out: Path) -> None:
    # 1. A screen, as a file: controls and the perturbation of each cell are recognised.
    simulate().write_h5ad(out / "screen.h5ad")
    # Perturbed genes are not among the measured ones here, so the column has to be named.
    screen = perturbation.read_screen(
        out / "screen.h5ad", columns=perturbation.Columns("perturbation")
    )
    print(f"{len(screen.responses.perturbed)} perturbations, {len(screen.responses.genes)} genes")

    # 2. Methods learn from four fifths of the perturbations and are tested on the others. The mean
    #    response is what must be beaten.
    knowledge = simulate_knowledge()
    for method in ("mean", "neighbours", "ridge", "adapert"):
        settings = SMALL if method == "adapert" else {}
        config = perturbation.Config(method, split="unseen", settings=settings)
        fitted = perturbation.fit(screen, knowledge, config=config)
        test = perturbation.evaluate_held_out(fitted, screen)
        scores = test.scores.metrics
        print(
            f"{method:10s} correlation of the change {scores['pearson_delta']:.3f}, beyond the "
            f"mean response {scores['pearson_reference']:.3f}, found DE genes "
            f"{scores['de_recall']:.0%}"
        )

    # 3. Which part of the graph did the network's prediction use?
    gene = test.truth.perturbed[0]
    found = perturbation.explain(fitted, gene)
    found.nodes.to_csv(out / "context.csv", index=False)
    print(f"{gene[0]} draws on {', '.join(found.nodes['gene'][found.nodes['selected']])}")


def names() -> list[str]:
    """Return the genes that are perturbed, pathway by pathway."""
    return [f"PATH{i}GENE{j}" for i in range(PATHWAYS) for j in range(PER_PATHWAY)]


def simulate() -> anndata.AnnData:
    """Return counts of cells in which each pathway moves targets of its own, and all move some."""
    rng = np.random.default_rng(0)
    effect = rng.normal(0, 0.8, (PATHWAYS, GENES)) * (rng.random((PATHWAYS, GENES)) < 0.2)
    stress = 0.8 * (np.arange(GENES) < 12)
    level = rng.uniform(0.5, 3.0, GENES)
    labels = [name for name in names() for _ in range(CELLS)] + ["control"] * 400
    rate = np.tile(level, (len(labels), 1))
    for i, label in enumerate(labels):
        if label != "control":
            rate[i] += effect[int(label[4])] + stress
    counts = rng.poisson(np.exp(np.minimum(rate, 5))).astype(np.float32)
    cells = pd.Index([f"cell{i}" for i in range(len(labels))])
    obs = pd.DataFrame({"perturbation": labels}, index=cells)
    targets = pd.Index([f"T{i}" for i in range(GENES)])
    return anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=targets))


def simulate_knowledge() -> perturbation.Knowledge:
    """Return a graph of the pathways with a few wrong edges, and texts that hint at them."""
    rng = np.random.default_rng(1)
    genes = names()
    pairs = [
        (a, b) for a in genes for b in genes if a < b and a[:5] == b[:5] and rng.random() < 0.7
    ]
    pairs += [tuple(rng.choice(genes, 2, replace=False)) for _ in range(15)]
    edges = pd.DataFrame(pairs, columns=pd.Index(["source", "target"]))
    place = np.repeat(np.eye(PATHWAYS), PER_PATHWAY, axis=0)
    text = (place + 0.5 * rng.normal(size=place.shape)).astype(np.float32)
    table = edges.assign(weight=1.0, directed=False)
    return perturbation.make_knowledge({"pathways": table}, Embedding(tuple(genes), text), genes)


if __name__ == "__main__":
    main()
