"""Knock-outs in silico against knock-outs whose outcome is known.

    INFOSEM_DATA=DATA python benchmarks/knockout_grn.py [--quick] [--json FILE]

Simulated: expression follows ``u = tanh(u W) + z`` with noise that genes share in part, and is read
out through library sizes, dropout and a softplus. Every regulator is silenced in the simulator,
where the same cells then tell the true shift of each gene, in standard deviations. Networks are
those of ``infosem_jax.data.simulate`` and, where INFOSEM_DATA is set, SERGIO's DS1 (100 genes, 10
regulators with targets). Predicted and true shifts of all genes but the silenced one are
correlated, over pairs and within regulators; controls are the direct effect alone (the row of W)
and minus the correlation with the gene. Coverage is the share of true shifts within two standard
deviations of the predicted ones; size is the slope of predicted shifts on true ones; the error is
set against that of no change.

Measured: mESC TFs+500, where the reference network lists genes that responded to loss or gain of
34 regulators (lofgof). They are ranked by |predicted shift|, without their direction or size, which
the list does not hold; controls are |W|, |correlation| and the target's mean expression.

What is not tested: measured expression after a knock-out, which none of these data sets hold
(DREAM4's here are the multifactorial ones), and over-expression beyond what cells reach by
themselves.
"""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from _record import Figure, parser, print_table, report

from infosem_jax.data import Dataset, normalise, read_expression, read_network
from infosem_jax.data.dataset import dataset
from infosem_jax.data.simulate import SimulationConfig, simulate
from infosem_jax.grn import Config, converged, fit, knockouts
from infosem_jax.grn.metrics import score_matrix
from infosem_jax.grn.priors import Normal

SIMULATION = SimulationConfig(genes=100, regulators=15, cells=400, dropout=0.1)
SWEEPS, NOISE, DROPOUT, LIBRARY_SD = 100, 0.5, 0.1, 0.2
# Share of the noise variance that genes have in common through hidden states of the cells.
SHARED, STATES = 0.3, 3
UNITS = {
    "coverage": ("share", 0.95),
    "error against no change": ("ratio", 1.0),
    "size": ("slope", 1.0),
}
RECIPE = converged(guide="normal", epochs=100)
SCALE = 0.1


class Experiment(NamedTuple):
    """Expression, and what silencing each regulator does to it.

    Attributes
    ----------
    data
        Expression of cells as they are.
    shift
        Mean change of each gene in standard deviations, [regulators, genes].
    """

    data: Dataset
    shift: np.ndarray


def main() -> None:
    options = parser(__doc__).parse_args()
    repeats = 1 if options.quick else 5
    networks = {"simulated": [simulate(SIMULATION, i).effect for i in range(repeats)]}
    folder = Path(os.environ.get("INFOSEM_DATA", ""))
    if (folder / "sergio").is_dir():
        networks["SERGIO DS1"] = [sergio(folder, i) for i in range(repeats)]
    figures = [
        figure
        for name, effects in networks.items()
        for figure in on_simulations(name, effects, seeds=2 if options.quick else 3)
    ]
    if (folder / "beeline").is_dir() and not options.quick:
        figures += on_lofgof(folder / "beeline" / "mESC" / "TFs+500")
    report(figures, options)


def sergio(folder: Path, seed: int) -> np.ndarray:
    """Give the edges of SERGIO's DS1 effects of random size and sign, [genes, genes]."""
    edges = pd.read_csv(folder / "sergio" / "DS1_100G_gt_GRN.csv.gz")
    source, target = edges["TF"].to_numpy(), edges["Target"].to_numpy()
    rng = np.random.default_rng(seed)
    size = 0.6 * rng.lognormal(0, 0.5, len(edges))
    effect = np.zeros((100, 100))
    effect[source, target] = np.where(rng.random(len(edges)) < 0.6, 1, -1) * size
    return effect


def experiment(effect: np.ndarray, cells: int, seed: int) -> Experiment:
    """Measure cells as they are, and the same cells with each regulator silenced."""
    rng = np.random.default_rng(seed)
    genes = len(effect)
    regulators = np.flatnonzero(effect.any(1))
    states, loading = rng.normal(size=(cells, STATES)), rng.normal(size=(STATES, genes))
    loading /= np.sqrt((loading**2).sum(0))
    own = rng.normal(size=(cells, genes))
    z = NOISE * (np.sqrt(1 - SHARED) * own + np.sqrt(SHARED) * states @ loading)
    spread, base = rng.uniform(0.5, 1.5, genes), rng.normal(1.5, 1, genes)
    library = rng.normal(0, LIBRARY_SD, (cells, 1))
    fate = rng.logistic(size=z.shape)
    u = settle(effect, z)
    centre, scale = u.mean(0), u.std(0)
    level = base + spread * (u - centre) / scale + library
    threshold = np.quantile(level + fate, DROPOUT)

    def measure(u: np.ndarray) -> np.ndarray:
        level = base + spread * (u - centre) / scale + library
        return np.where(level + fate < threshold, 0.0, np.logaddexp(0, level))

    x = measure(u)
    shift = [
        (measure(settle(effect, z, held=(int(i), float(u[:, i].min())))) - x).mean(0) / x.std(0)
        for i in regulators
    ]
    names = [f"R{i:03d}" if i in set(regulators) else f"G{i:03d}" for i in range(genes)]
    return Experiment(dataset(x, names, [names[i] for i in regulators]), np.array(shift))


def settle(effect: np.ndarray, z: np.ndarray, held: tuple[int, float] | None = None) -> np.ndarray:
    """Solve ``u = tanh(u W) + z``, with one gene held at a state if asked for."""
    u = z
    for _ in range(SWEEPS):
        u = np.tanh(u @ effect) + z
        if held is not None:
            u[:, held[0]] = held[1]
    return u


def on_simulations(name: str, effects: list[np.ndarray], *, seeds: int) -> list[Figure]:
    rows = []
    for number, effect in enumerate(effects):
        found = experiment(effect, SIMULATION.cells, number)
        data = found.data
        fitted = fit(data, Normal(SCALE), config=RECIPE, seeds=seeds, key=number)
        predicted = knockouts(fitted, data.regulators, data)
        x = normalise(data).x
        columns = [data.genes.index(gene) for gene in data.regulators]
        scores = {
            "knock-out": predicted.shift,
            "row of W": -fitted.weight.mean(0),
            "correlation": -np.corrcoef(x, rowvar=False)[columns],
        }
        others = np.asarray(data.regulators)[:, None] != np.asarray(data.genes)
        error = np.abs(predicted.shift - found.shift)
        rows.append(
            {
                **{f"{what}, pairs": pooled(s, found.shift, others) for what, s in scores.items()},
                **{
                    f"{what}, within regulators": within(s, found.shift, others)
                    for what, s in scores.items()
                },
                "coverage": (error <= 2 * predicted.sd)[others].mean(),
                "error against no change": error[others].mean()
                / np.abs(found.shift)[others].mean(),
                "size": slope(predicted.shift, found.shift, others),
            }
        )
    table = pd.DataFrame(rows)
    print_table(
        (f"{name}, {len(effects)} networks", "mean", "standard error"),
        [
            (str(what), f"{column.mean():.3f}", f"{column.sem():.3f}")
            for what, column in table.items()
        ],
    )
    figures = []
    for what, column in table.items():
        unit, target = UNITS.get(str(what), ("correlation", None))
        better = "lower" if "error" in str(what) else "higher"
        value = float(column.to_numpy().mean())
        figures.append(Figure(f"knockout: {name}, {what}", value, unit, better, target))
    return figures


def pooled(score: np.ndarray, truth: np.ndarray, others: np.ndarray) -> float:
    return float(np.corrcoef(score[others], truth[others])[0, 1])


def slope(score: np.ndarray, truth: np.ndarray, others: np.ndarray) -> float:
    """Slope of predicted on true shifts: below 1 where predictions are too small."""
    t = truth[others] - truth[others].mean()
    return float((t * score[others]).sum() / (t**2).sum())


def within(score: np.ndarray, truth: np.ndarray, others: np.ndarray) -> float:
    """Mean over regulators of the correlation over their targets."""
    found = [
        np.corrcoef(s[o], t[o])[0, 1] if s[o].std() > 0 and t[o].std() > 0 else 0.0
        for s, t, o in zip(score, truth, others, strict=True)
    ]
    return float(np.mean(found))


def on_lofgof(folder: Path) -> list[Figure]:
    """Rank the genes that respond to loss or gain of a regulator in mESC."""
    data = read_expression(folder, name="mESC TFs+500")
    network = read_network(folder / "network_lofgof.csv.gz")
    truth_of = set(zip(network["source"], network["target"], strict=True))
    tested = [gene for gene in data.regulators if gene in set(network["source"])]
    truth = np.array([[(gene, other) in truth_of for other in data.genes] for gene in tested])
    candidate = np.asarray(tested)[:, None] != np.asarray(data.genes)
    fitted = fit(data, config=Config(), seeds=2)
    x = normalise(data).x
    columns = [data.genes.index(gene) for gene in tested]
    rows = [data.regulators.index(gene) for gene in tested]
    correlation = np.corrcoef(x, rowvar=False)[columns]
    scores = {
        "knock-out": np.abs(knockouts(fitted, tested, data).shift),
        "|W|": np.abs(fitted.weight.mean(0))[rows],
        "|correlation|": np.abs(correlation),
        "correlation": correlation,
        "target mean": np.tile(data.x.mean(0), (len(tested), 1)),
    }
    figures = []
    for what, score in scores.items():
        found = score_matrix(np.asarray(score, float), truth, candidate)
        for name, metric in (
            ("per regulator", "auprc_ratio_per_regulator"),
            ("pooled", "auprc_ratio"),
        ):
            title = f"knockout: mESC lofgof, {what}, AUPRC ratio {name}"
            chance = found["auprc_ratio_per_regulator_chance"] if "per" in name else 1.0
            figures.append(Figure(title, found[metric], "ratio", "higher", chance))
        error = found["auprc_ratio_per_regulator_se"]
        print(f"{what}: standard error over regulators {error:.3f}")
    return figures


if __name__ == "__main__":
    main()
