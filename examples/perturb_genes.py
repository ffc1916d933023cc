"""Predicting the response to perturbations that were never made, and what the mean response hides.

    python examples/perturb_genes.py --out results

A screen of 40 genes is simulated: genes of a pathway move the same targets, and all perturbations
share a stress response. Some are left out. Neighbours in a knowledge graph, ridge regression and
the network predict them, beside the mean response of all, which correlates well with everything and
knows nothing. The same by commands: ``infosem perturbation fit``, ``predict`` and ``explain``.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd

from infosem_jax.data import Embedding
from infosem_jax.perturbation import (
    Knowledge,
    Task,
    draw_splits,
    evaluate,
    make_knowledge,
    make_problem,
    read_screen,
)
from infosem_jax.perturbation.baselines import METHODS, mean_response
from infosem_jax.perturbation.config import DEFAULT
from infosem_jax.perturbation.explanation import explain
from infosem_jax.perturbation.adapert import fit, predict
from infosem_jax.perturbation.fitting import usual_control
from infosem_jax.perturbation.screen import predicted_changes

PATHWAYS, PER_PATHWAY, GENES, CELLS = 8, 5, 60, 60
SMALL = replace(DEFAULT, features=16, layers=1, hidden=32, epochs=60, members=2, patience=0)


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
    screen = read_screen(out / "screen.h5ad")
    print(f"{len(screen.responses.perturbed)} perturbations, {len(screen.responses.genes)} genes")

    # 2. What is known of genes; a fifth of the perturbations is left out.
    knowledge = known_of()
    split = draw_splits(screen.responses, "unseen", 0)[0]
    problem = make_problem(screen.responses, split, knowledge)

    # 3. Methods see the task without its truth. The mean response is what must be beaten.
    usual = mean_response(problem.task).change
    network = fit([problem.task], SMALL)[0]
    found = {
        name: METHODS[name].predict([problem.task], 0)[0]
        for name in ("mean", "neighbours", "ridge")
    }
    found["network"] = ask(network, problem.task)
    for name, prediction in found.items():
        tested = predicted_changes(prediction, problem.truth, screen.controls, 0)
        scores = evaluate(problem.truth, prediction, usual, predicted=tested).metrics
        print(
            f"{name:10s} correlation of the change {scores['pearson_delta']:.3f}, beyond the mean "
            f"response {scores['pearson_reference']:.3f}, found DE genes {scores['de_recall']:.0%}"
        )

    # 4. Which part of the graph carried a prediction?
    gene = problem.truth.perturbed[0]
    control = usual_control(problem.task.train, problem.truth.line[:1])
    why = explain(network, gene, problem.truth.line[0], control)
    why.nodes.to_csv(out / "context.csv", index=False)
    print(f"{gene[0]} draws on {', '.join(why.nodes['gene'][why.nodes['selected']])}")


def ask(network, task: Task):
    """Predict the test perturbations of a task."""
    return predict(network, task.perturbed, task.line, task.control)


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


def known_of() -> Knowledge:
    """Return a graph of the pathways with a few wrong edges, and texts that hint at them."""
    rng = np.random.default_rng(1)
    own = names()
    pairs = [(a, b) for a in own for b in own if a < b and a[:5] == b[:5] and rng.random() < 0.7]
    pairs += [tuple(rng.choice(own, 2, replace=False)) for _ in range(15)]
    edges = pd.DataFrame(pairs, columns=pd.Index(["source", "target"]))
    place = np.repeat(np.eye(PATHWAYS), PER_PATHWAY, axis=0)
    text = (place + 0.5 * rng.normal(size=place.shape)).astype(np.float32)
    table = edges.assign(weight=1.0, directed=False)
    return make_knowledge({"pathways": table}, Embedding(tuple(own), text), own)


if __name__ == "__main__":
    main()
