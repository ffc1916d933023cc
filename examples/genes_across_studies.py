"""Genes of two studies embedded together: from counts to neighbours, and to a prior of a network.

    python examples/genes_across_studies.py [--out DIR]

Two simulated studies measure overlapping genes of six programmes, one of them with other cells and
another depth. MuSe-GNN embeds the genes of both; genes of one programme should be neighbours,
whichever study they come from, and the vectors can be given to a fit as a prior.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from infosem_jax import embedding

PROGRAMMES, GENES = 6, 90


def main() -> None:
    parser = argparse.ArgumentParser(description="Genes of two studies embedded together.")
    parser.add_argument("--out", type=Path, help="folder for the files (default: temporary)")
    out = parser.parse_args().out
    if out is None:
        with tempfile.TemporaryDirectory() as folder:
            run(Path(folder))
    else:
        out.mkdir(parents=True, exist_ok=True)
        run(out)


def run(out: Path) -> None:
    # 1. Two studies, each with genes that the other lacks.
    studies = [simulate("first", range(70), 0), simulate("second", range(20, GENES), 1)]

    # 2. Which genes are co-expressed in each: CS-CORE on counts.
    settings = embedding.MuSeGNNConfig(
        dim=8, heads=(2, 1), epochs=300, encoder_rate=3e-3, decoder_rate=3e-3
    )
    config = embedding.Config(settings=settings)
    graphs = embedding.study_graphs(studies, config=config)
    for graph in graphs:
        print(f"{graph.name}: {len(graph.genes)} genes, {graph.degree:.1f} neighbours each")

    # 3. Embed the genes of both together. More epochs are worth their time on real data.
    fitted = embedding.fit(graphs, config=config)
    found = embedding.predict(fitted)

    # 4. Do genes of one programme lie together? Training knew nothing of programmes.
    sets = {
        f"programme {p}": frozenset(f"G{i}" for i in range(p, GENES, PROGRAMMES))
        for p in range(PROGRAMMES)
    }
    measured = embedding.evaluate(found, graphs, {"programmes": sets})
    print(f"AUC of edges {measured['auc']:.3f}, iLISI {measured['ilisi']:.3f}")
    print(f"AUROC of programmes {measured['function_auroc_programmes']:.3f}")
    near = embedding.neighbours(fitted, "G5", 5)
    print("Nearest to G5, of programme 5:", ", ".join(f"{g} {c:.2f}" for g, c in near))

    # 5. As a prior: infosem fit DATA --effect gene-embedding=embedding.npz
    embedding.export(out / "embedding.npz", found)
    embedding.export(out / "genes.h5ad", found)
    print(f"Wrote embedding.npz and genes.h5ad: {len(set(found.genes.gene))} genes")


def simulate(name: str, genes: range, seed: int) -> embedding.Study:
    """Return counts of genes whose programmes vary from cell to cell."""
    rng = np.random.default_rng(seed)
    cells = 300 + 100 * seed
    programme = np.array(genes) % PROGRAMMES
    activity = np.exp(0.8 * rng.normal(size=(cells, PROGRAMMES)))
    depth = rng.lognormal(0.5 * seed, 0.3, cells)[:, None]
    x = rng.poisson(2 * depth * activity[:, programme])
    names = [f"G{i}" for i in genes]
    return embedding.make_study(x, names, name=name, tissue="simulated", technique="scRNA")


if __name__ == "__main__":
    main()
