"""How many of the edges that pass the cut of regulons are true, and how many true ones pass it?

    [INFOSEM_DATA=DATA] python benchmarks/regulons_grn.py [--quick] [--json FILE]

Counts of simulated cells, so that the truth is known: of one population with hidden states and
dropout, with genes of few cells, with many regulators, with few, and with many edges
(`infosem_jax.data.simulate`); and of three types of cells, which shift two genes of five,
regulators and others alike. Of the edges with a local false sign rate of at most 5 %, the share
that is true, and the share of the true edges that are among them; and average precision of the
ranking by that rate, with the share of pairs that are edges. *By errors* takes z values of no edge
to vary as standard errors say, *learned* is what `grn.false_sign_rate` does. Means over seeds with
their intervals of 95 %. Where INFOSEM_DATA is set, the transcription factors of BEELINE's mHSC-E as
well, against known edges, of which no network holds all; three quarters of the cells at a time.
The rule for the false sign rate was chosen on smaller numbers of these data.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from _record import Figure, data_folder, parser, report

from infosem_jax import grn
from infosem_jax.data import Dataset, read_network
from infosem_jax.data.dataset import dataset
from infosem_jax.data.simulate import SimulationConfig, simulate
from infosem_jax.grn import exact
from infosem_jax.grn.activities import centred_cells, told_effects
from infosem_jax.grn.false_signs import shrink
from infosem_jax.grn.networks import candidate_pairs
from infosem_jax.grn.regulon_sets import joined_rate
from infosem_jax.scores import mean_interval

SETTINGS = exact.Config(rows="regulators")
CUT, SEEDS = 0.05, 5

SIMULATED = {
    "one population": SimulationConfig(
        genes=600, regulators=150, cells=800, as_counts=True, log_mean=0.0
    ),
    "rare genes": SimulationConfig(
        genes=600, regulators=150, cells=800, as_counts=True, log_mean=-2.0
    ),
    "many regulators": SimulationConfig(
        genes=1500, regulators=600, cells=1500, as_counts=True, log_mean=0.0
    ),
    "few regulators": SimulationConfig(genes=150, regulators=12, cells=600, as_counts=True),
    "many edges": SimulationConfig(
        genes=200, regulators=20, cells=500, mean_in_degree=7, as_counts=True, shared=0.1,
        dropout=0.1,
    ),
}  # fmt: skip
MEASURED = {"STRING": "string", "ChIP-seq": "nonspecific"}

Case = Callable[[int], tuple[Dataset, pd.DataFrame]]


def main() -> None:
    arguments = parser(__doc__).parse_args()
    cases: dict[str, Case] = {
        name: partial(simulated, settings) for name, settings in SIMULATED.items()
    }
    cases["three types"] = types
    if arguments.quick:
        cases = {name: cases[name] for name in ("one population", "three types")}
    elif "INFOSEM_DATA" in os.environ:
        folder = data_folder("beeline", "BEELINE") / "mHSC-E" / "TFs_only"
        for name, network in MEASURED.items():
            cases[f"mHSC-E, {name}"] = partial(measured, folder, network)
    figures = []
    for name, case in cases.items():
        rows = [scores(*case(seed)) for seed in range(2 if arguments.quick else SEEDS)]
        for what, values in pd.DataFrame(rows).items():
            own = mean_interval(values.to_numpy())
            unit = "edges" if str(what).endswith("edges") else "share"
            told = f"regulons: {name}, {what}"
            figures.append(Figure(told, own.mean, unit, "higher", None, own.low, own.high))
    report(figures, arguments)


def scores(data: Dataset, network: pd.DataFrame) -> dict[str, float]:
    """Return how many edges pass the cut, and how far these are the true ones."""
    fitted = grn.fit(data, config=SETTINGS)
    pairs = candidate_pairs(fitted)
    rows, columns = pd.Index(fitted.regulators), pd.Index(fitted.genes)
    source, target = rows.get_indexer(network["source"]), columns.get_indexer(network["target"])
    known, truth = (source >= 0) & (target >= 0), np.zeros(pairs.shape, bool)
    truth[source[known], target[known]] = True
    truth = truth[pairs]
    alone = shrink(*told_effects(fitted, centred_cells(fitted, data)))
    found = {
        "by errors": joined_rate(grn.network(fitted), alone),
        "learned": grn.false_sign_rate(fitted, data),
    }
    scores = {}
    for how, rates in found.items():
        rate = rates[pairs]
        ranked = truth[np.argsort(rate, kind="stable")]
        precision = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
        sure = rate <= CUT
        scores |= {
            f"{how}, edges": float(sure.sum()),
            f"{how}, true of these": float(truth[sure].mean()) if sure.any() else np.nan,
            f"{how}, found of the true": float(truth[sure].sum() / truth.sum()),
            f"{how}, average precision": float(precision[ranked].mean()),
        }
    return scores | {"all pairs, average precision": float(truth.mean())}


def simulated(settings: SimulationConfig, seed: int) -> tuple[Dataset, pd.DataFrame]:
    """Simulate counts of one population, and return them with the network."""
    found = simulate(settings, seed=seed)
    return found.data, found.network


def types(seed: int) -> tuple[Dataset, pd.DataFrame]:
    """Simulate counts of three types of cells, and return them with the network."""
    regulators, others, cells = 120, 500, 900
    rng = np.random.default_rng(seed)
    is_edge = rng.random((regulators, others)) < 3 / regulators
    effect = np.where(is_edge, rng.normal(0, 0.8, is_edge.shape), 0.0)
    kind = rng.integers(3, size=cells)
    activity = rng.normal(size=(cells, regulators))
    noise = 0.7 * rng.normal(size=(cells, others))
    level = np.hstack([activity, activity @ effect + noise])
    shifted = rng.random(regulators + others) < 0.4
    level += (rng.normal(0, 1.2, (3, len(shifted))) * shifted)[kind]
    level += rng.normal(-1.5, 1.5, len(shifted)) + rng.normal(0, 0.4, (cells, 1))
    x = rng.poisson(np.exp(np.minimum(level, 6))).astype(float)
    names = np.array([f"{'R' if i < regulators else 'G'}{i:03d}" for i in range(len(shifted))])
    seen = (x > 0).sum(0) >= 5
    source, target = np.nonzero(is_edge)
    network = pd.DataFrame({"source": names[source], "target": names[regulators + target]})
    known = [name for name in names[:regulators] if name in set(names[seen])]
    return dataset(x[:, seen], names[seen].tolist(), known), network


def measured(folder: Path, network: str, seed: int) -> tuple[Dataset, pd.DataFrame]:
    """Return three quarters of the cells of mHSC-E with what is known of its edges."""
    stored = np.load(folder / "expression.npz")
    genes = stored["genes"].astype(str)
    table = read_network(folder / f"network_{network}.csv.gz").query("source != target")
    rng = np.random.default_rng(seed)
    x = stored["X"][rng.choice(len(stored["X"]), len(stored["X"]) * 3 // 4, replace=False)]
    varies = x.std(0) > 0
    known = set(table["source"])
    names = genes[varies].tolist()
    return dataset(x[:, varies], names, [name for name in names if name in known]), table


if __name__ == "__main__":
    main()
