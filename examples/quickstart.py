"""AnnData in, AnnData out: counts on disk, one fit with a gene embedding as prior, the network.

    python examples/quickstart.py --out results

writes ``counts.h5ad`` (simulated, so that the true edges are known), ``network.h5ad`` (the same
cells with the network in ``varp["infosem"]``), ``edges.csv`` and ``regulons.csv`` (decoupler's long
format). Without ``--out`` the files go to a temporary folder.
"""

import argparse
import tempfile
from importlib.util import find_spec
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from infosem_jax import grn
from infosem_jax.data import normalise, read_expression, simulate

# A small problem, trained to convergence, with as simple a model of the noise as there is.
SETTINGS = grn.converged(
    normalisation="log1p_cpm_zscore",
    latent_prior="standard",
    absorbed="location",
    hidden=32,
    epochs=60,
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Fit a network to an AnnData of counts.")
    parser.add_argument("--out", type=Path, help="folder for the files (default: temporary)")
    out = parser.parse_args().out
    if out is None:
        with tempfile.TemporaryDirectory() as folder:
            run(Path(folder))
    else:
        out.mkdir(parents=True, exist_ok=True)
        run(out)
        print(f"Files are in {out}.")


def run(out: Path) -> None:
    truth = simulate.simulate(
        simulate.SimulationConfig(genes=100, regulators=12, as_counts=True), seed=0
    )
    write_counts(out / "counts.h5ad", truth)

    # From here on as with your own data: counts in X, regulators marked in var["is_tf"].
    data = read_expression(out / "counts.h5ad")
    prior = grn.priors.GeneEmbedding(truth.embedding, scale=0.05)
    net = grn.network(grn.fit(data, effect=prior, config=SETTINGS, seeds=2))

    record = {"prior": "GeneEmbedding", "seeds": 2, "normalisation": SETTINGS.normalisation}
    adata = grn.to_anndata(net, anndata.read_h5ad(out / "counts.h5ad"), record=record)
    adata.write_h5ad(out / "network.h5ad")
    grn.write_edges(out / "edges.csv", net)

    stored = anndata.read_h5ad(out / "network.h5ad")
    print(stored)
    print("\nStrongest edges:")
    print(grn.edges(net, top=10).to_string(index=False, float_format="%.3f"))
    agreement = grn.evaluate(net, truth.network)
    print(
        f"\nAUPRC ratio per regulator {agreement['auprc_ratio_per_regulator']:.2f}, "
        f"at random {agreement['auprc_ratio_per_regulator_chance']:.2f}"
    )
    use_regulons(out / "regulons.csv", net, stored)


def write_counts(path: Path, truth: simulate.Simulation) -> None:
    """Lay simulated counts out as AnnData, with sparse counts and the regulators marked."""
    data = truth.data
    anndata.AnnData(
        X=csr_array(data.x),
        obs=pd.DataFrame(index=pd.Index(data.cells)),
        var=pd.DataFrame(
            {"is_tf": np.isin(data.genes, data.regulators)}, index=pd.Index(data.genes)
        ),
    ).write_h5ad(path)


def use_regulons(path: Path, net: grn.Network, adata: anndata.AnnData) -> None:
    """Write regulons, and estimate the activity of each regulator in each cell with decoupler."""
    regulons = grn.to_decoupler(net, top=200)
    regulons.to_csv(path, index=False)
    if find_spec("decoupler") is None:
        print(
            f"\n{path.name} holds {len(regulons)} edges for decoupler. To score the activity of "
            "regulators, install decoupler 2 and run decoupler.mt.ulm(data, pandas.read_csv"
            f'("{path.name}")) on log expression.'
        )
        return
    import decoupler  # pyright: ignore[reportMissingImports]

    counts = read_expression(path.parent / "counts.h5ad")
    expression = normalise(counts, "log1p_cpm")
    table = pd.DataFrame(expression.x, index=adata.obs_names, columns=adata.var_names)
    activity, _ = decoupler.mt.ulm(table, regulons)
    print("\nMean activity of the regulators:")
    print(activity.mean().sort_values(ascending=False).to_string(float_format="%.2f"))


if __name__ == "__main__":
    main()
