"""Inferring the genes that a panel does not measure, and how far to trust each of them.

    python examples/infer_genes.py --out results

A compendium of 400 samples from five tissues is simulated, with 200 genes that follow a few shared
programmes. A model learns the other genes from those of a panel; new samples, of which only the
panel is measured, are completed and compared with what they really express. The same by commands:
``infosem expression select``, ``fit`` and ``predict``.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from infosem_jax import expression as ex

PANEL = 12


def main() -> None:
    parser = argparse.ArgumentParser(description="Infer the genes that a panel does not measure.")
    parser.add_argument("--out", type=Path, help="folder for the files (default: temporary)")
    out = parser.parse_args().out
    if out is None:
        with tempfile.TemporaryDirectory() as folder:
            run(Path(folder))
    else:
        out.mkdir(parents=True, exist_ok=True)
        run(out)


def run(out: Path) -> None:
    compendium, new = simulate()
    parts = ex.random_split(len(compendium.samples))
    candidates = ex.make_task(compendium, compendium.genes[:60], parts, targets="rest")

    # 1. Which genes should the panel measure, if it has room for a dozen?
    for how in ("random", "greedy"):
        chosen = ex.select(candidates.task, PANEL, how)
        print(f"{how} panel of {PANEL}: expected correlation {chosen.accuracy[-1]:.3f}")
    panel = ex.make_task(compendium, chosen.genes, parts, targets=candidates.task.targets)

    # 2. Learn the other genes. The fit can be kept, without pickle.
    fitted = ex.fit(panel, config=ex.Config(method="auto_fast"))
    ex.save(out / "model.npz", fitted)

    # 3. How far can each gene be trusted? Test samples, which the fit has not seen, tell.
    trust = ex.trust_table(panel, ex.predict(fitted, panel))
    trust.to_csv(out / "genes.csv", index=False)
    print(f"\nMean correlation in test samples {trust['pearson'].mean():.3f}; the least sure:")
    print(trust.nsmallest(3, "recall")[["gene", "pearson", "recall", "sd"]].to_string(index=False))

    # 4. Complete new samples, of which nothing but the panel is measured.
    at = [new.genes.index(gene) for gene in chosen.genes]
    measured = new._replace(x=np.ascontiguousarray(new.x[:, at]), genes=chosen.genes)
    adata = ex.complete(ex.load(out / "model.npz"), measured, trust)
    adata.write_h5ad(out / "completed.h5ad")
    print(f"\n{adata}")

    # 5. Here the truth is known. Genes that were said to be sure should be right.
    inferred = adata[:, list(fitted.targets)]
    truth = new.x[:, [new.genes.index(gene) for gene in fitted.targets]]
    gap = np.abs(inferred.layers["inferred"] - truth)
    within = (gap < 1.64 * inferred.layers["inferred_sd"]).mean()
    print(f"\nIn new samples {within:.0%} of the values lie in their 90 % intervals.")
    sure = trust["recall"].to_numpy() >= 0.95
    known = ex.gene_pearson(truth, np.asarray(inferred.layers["inferred"]))
    print(
        f"Correlation there {known[sure].mean():.2f} of sure genes, "
        f"{known[~sure].mean():.2f} of others."
    )


def simulate() -> tuple[ex.Profiles, ex.Profiles]:
    """Return a compendium and new samples of the same tissues."""
    rng = np.random.default_rng(0)
    programmes, centres = rng.normal(size=(8, 200)), rng.normal(size=(5, 8))
    # A third of the genes go their own ways: no panel can tell them.
    programmes[:, rng.random(200) < 0.33] *= 0.1
    tissue = np.arange(450) % 5
    activity = centres[tissue] + 0.7 * rng.normal(size=(450, 8))
    x = 7 + activity @ programmes * 0.6 + 0.4 * rng.normal(size=(450, 200))
    genes = [f"GENE{i}" for i in range(200)]
    both = [
        ex.make_profiles(x[part].clip(0.01), genes, labels={"tissue": tissue[part]}, name=name)
        for name, part in (("compendium", slice(400)), ("new", slice(400, None)))
    ]
    return both[0], both[1]


if __name__ == "__main__":
    main()
