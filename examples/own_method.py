"""Put a method of your own into the benchmark: a function, registered in one line.

    python examples/own_method.py --data DATA --out results

compares a ridge regression written below, and RegDiffusion where it is installed, with the controls
of the benchmark. Without ``--data`` it makes a data set whose network is known, laid out as the
benchmark expects it: ``DATA/<data set>/expression.csv`` and ``network_<name>.csv``.
"""

import argparse
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

from infosem_jax.benchmark.grn import Problem, make_grid, register, run_grid
from infosem_jax.data.simulate import SimulationConfig, simulate

CONTROLS = ("random", "target_mean", "correlation", "partial_correlation_ridge", "one_hot")


def ridge(problem: Problem) -> np.ndarray:
    """Predict each gene from the regulators; score pairs by the size of the coefficient."""
    from sklearn.linear_model import Ridge

    data = problem.data
    z = (data.x - data.x.mean(0)) / data.x.std(0)
    place = {gene: i for i, gene in enumerate(data.genes)}
    rows = [place[regulator] for regulator in problem.regulators]
    columns = [place[gene] for gene in problem.genes]
    scores = np.full(problem.labels.shape, np.nan)
    for j, column in enumerate(columns):
        others = [i for i, row in enumerate(rows) if row != column]
        fitted = Ridge(alpha=len(z)).fit(z[:, [rows[i] for i in others]], z[:, column])
        scores[others, j] = np.abs(fitted.coef_)
    return scores


def regdiffusion(problem: Problem) -> np.ndarray:
    """Score pairs by the size of RegDiffusion's weights."""
    import torch  # pyright: ignore[reportMissingImports]
    from regdiffusion import RegDiffusionTrainer  # pyright: ignore[reportMissingImports]

    torch.manual_seed(problem.seed)
    trainer = RegDiffusionTrainer(problem.data.x, device="cpu", n_steps=200, compile=False)
    trainer.train()
    weights = np.abs(trainer.get_adj().astype(float))
    place = {gene: i for i, gene in enumerate(problem.data.genes)}
    rows = [place[regulator] for regulator in problem.regulators]
    return weights[np.ix_(rows, [place[gene] for gene in problem.genes])]


def main() -> None:
    parser = argparse.ArgumentParser(description="Benchmark methods of your own.")
    parser.add_argument("--data", type=Path, help="folder of data sets (default: simulated)")
    parser.add_argument("--out", type=Path, help="folder for the results (default: temporary)")
    arguments = parser.parse_args()
    work = Path(tempfile.mkdtemp())

    register("ridge", ridge, random=False, about="Ridge regression of each gene on regulators.")
    own = ["ridge"]
    if find_spec("regdiffusion"):
        register("regdiffusion", regdiffusion, about="RegDiffusion, 200 steps.")
        own.append("regdiffusion")

    data = arguments.data or simulated(work / "data")
    grid = make_grid(data, methods=(*own, *CONTROLS), seeds=1)
    out = arguments.out or work / "results"
    outcome = run_grid(grid, out)
    for cell in outcome.cells:
        if cell.at.split == "all":
            ratio = cell.metrics["auprc_ratio_per_regulator"]
            chance = cell.metrics["auprc_ratio_per_regulator_chance"]
            print(f"{cell.at.dataset} {cell.at.method}: {ratio:.2f}, at random {chance:.2f}")
    print(f"Wrote {len(outcome.cells)} results: open {out / 'report.html'}.")


def simulated(folder: Path) -> Path:
    """Write simulated expression and its network."""
    truth = simulate(SimulationConfig(genes=120, regulators=15, cells=200), seed=0)
    own = folder / "simulated"
    own.mkdir(parents=True)
    data = truth.data
    table = pd.DataFrame(data.x.T, index=pd.Index(data.genes), columns=pd.Index(data.cells))
    table.to_csv(own / "expression.csv")
    truth.network.to_csv(own / "network_true.csv", index=False)
    return folder


if __name__ == "__main__":
    main()
