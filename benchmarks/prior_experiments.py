"""Does held-out density, without any label, tell which prior is right, and how strong it should be?

    python benchmarks/prior_experiments.py [--quick] [--json FILE]

On simulations with a known network, each fitted without prior knowledge, with the true structure as
a prior (which edges there are, without signs or sizes), and with that structure permuted among
genes. All data sets, priors and strengths train side by side. Shares of won simulations come with
Wilson intervals at 95 %. Then priors are scanned over strengths, one without knowledge, the true
structure and one of which half is true: the strength with the best density is compared with the one
with the best AUPRC, in steps of the scan. Where both lie at its edge, the scan tells nothing.
"""

from typing import Any

import jax
import numpy as np
import pandas as pd
from _record import Figure, parser, print_table, report

SIMULATIONS, QUICK = 40, 8
STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
# Both chosen by held-out density on simulations 1000 to 1004, which are not used here: the plain
# prior is as good as any of its kind.
PLAIN: float = 0.05
STRUCTURE: dict[str, Any] = {"scale": 0.4, "elsewhere": 0.1}
HALF = 0.5


def main() -> None:
    arguments = parser(__doc__).parse_args()
    from infosem_jax.engine.layout import usable_cores

    jax.config.update("jax_num_cpu_devices", usable_cores())
    seeds = range(QUICK if arguments.quick else SIMULATIONS)
    report([*structure(seeds), *strength(seeds)], arguments)


def structure(seeds: range) -> list[Figure]:
    """Compare no prior, the true structure and a shuffled one by held-out density alone."""
    from infosem_jax.grn import priors

    datasets, network = simulations(seeds)
    chosen = {"none": priors.Normal(PLAIN), "true": priors.GraphPrior(network, **STRUCTURE)}
    found = _compare(datasets, chosen, None, controls=True)
    measures = found.measures.loc[found.measures["measure"] == "density"]
    wide = measures.pivot_table(index="dataset", columns=["prior", "control"], values="value")
    none, true, shuffled = (wide[at] for at in (("none", False), ("true", False), ("true", True)))
    rows, figures = [], []
    for name, won in (
        ("true structure above none", true > none),
        ("true structure above shuffled", true > shuffled),
        ("shuffled structure above none", shuffled > none),
    ):
        low, high = _wilson(int(won.sum()), len(won))
        rows.append((name, f"{won.sum()} of {len(won)}", f"[{low:.2f}, {high:.2f}]"))
        wanted = "lower" if name.startswith("shuffled") else "higher"
        target = None if wanted == "lower" else 0.95
        name = f"prior_experiments: share of simulations, {name}"
        figures.append(Figure(name, won.mean(), "share", wanted, target, low, high))
    print_table(("by held-out density alone", "simulations", "95 %"), rows)
    rows = [
        (row["prior"], row["against"], f"{row['difference']:+.4f}", f"{row['low']:+.4f}",
         f"{row['high']:+.4f}")
        for row in found.paired.to_dict("records")
    ]  # fmt: skip
    print_table(("prior", "against", "nats per value", "low", "high"), rows)
    figures += [
        Figure(
            f"prior_experiments: density, {row['prior']} minus {row['against']}",
            *(row["difference"], "nats a value", "higher", None, row["low"], row["high"]),
        )
        for row in found.paired.to_dict("records")
    ]
    return figures


def strength(seeds: range) -> list[Figure]:
    """Scan the strengths of priors: best density against best AUPRC."""
    from infosem_jax.grn import priors

    datasets, network = simulations(seeds)
    scanned = {
        "no knowledge": priors.Normal(PLAIN),
        "true structure": priors.GraphPrior(network, **STRUCTURE),
        "half-true structure": priors.GraphPrior(half_true(network), **STRUCTURE),
    }
    figures = []
    for name, prior in scanned.items():
        found = _compare(datasets, priors.scan(prior, STRENGTHS), network, controls=False)
        means = found.summary.loc[found.summary["dataset"] == ""].set_index("prior")
        table = means.loc[[f"{weight:g}" for weight in STRENGTHS], ["density", "auprc"]]
        rows = [
            (at, f"{row['density']:.4f}", f"{row['auprc']:.3f}") for at, row in table.iterrows()
        ]
        print_table((f"strength, {name}", "density, nats per value", "AUPRC"), rows)
        best = [int(np.argmax(table[column])) for column in table]
        edge = ", at the edge of it" if set(best) & {0, len(STRENGTHS) - 1} else ""
        head = "prior_experiments: steps of the scan between best density and best AUPRC"
        steps = float(abs(best[0] - best[1]))
        figures.append(Figure(f"{head}, {name}{edge}", steps, "steps", "lower", 1.0))
    return figures


def simulations(seeds: range) -> tuple[dict, pd.DataFrame]:
    """Simulate data sets whose genes have names of their own, and put their networks together."""
    from infosem_jax.data.simulate import SimulationConfig, simulate

    datasets, networks = {}, []
    for seed in seeds:
        made = simulate(SimulationConfig(genes=60, regulators=40, cells=100), seed)
        end = f".{seed:03d}"
        datasets[f"simulation {seed}"] = made.data._replace(
            genes=tuple(gene + end for gene in made.data.genes),
            regulators=tuple(gene + end for gene in made.data.regulators),
        )
        networks.append(made.network[["source", "target"]] + end)
    return datasets, pd.concat(networks, ignore_index=True)


def half_true(network: pd.DataFrame) -> pd.DataFrame:
    """Keep half of the edges, and deal the targets of the others anew within their data set."""
    rng = np.random.default_rng(0)
    wrong = rng.random(len(network)) < HALF
    parts = []
    for _, part in network.loc[wrong].groupby(network["target"].str[-4:]):
        parts.append(part.assign(target=rng.permutation(part["target"].to_numpy())))
    mixed = pd.concat([network.loc[~wrong], *parts], ignore_index=True)
    return mixed.loc[mixed["source"] != mixed["target"]].drop_duplicates()


def _compare(datasets, chosen, truth, *, controls: bool):
    from infosem_jax.compare import compare
    from infosem_jax.grn import converged

    return compare(
        datasets,
        chosen,
        truth=truth,
        # Noise of the size that the data have: with more of it, nothing is ever overfitted, and any
        # prior costs.
        config=converged(epochs=500, hidden=16, knots=64, held_out=0.4, observation_sd=0.35),
        seeds=1,
        controls=controls,
        halves=False,
        cells=40,
        samples=32,
    )


def _wilson(won: int, n: int, z: float = 1.96) -> tuple[float, float]:
    share = won / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5 / (1 + z**2 / n)
    return centre - half, centre + half


if __name__ == "__main__":
    main()
