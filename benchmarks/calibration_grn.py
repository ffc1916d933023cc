"""Is the posterior of the effects calibrated? Simulation-based calibration of each guide.

Effects are drawn from their prior and data from the linear-Gaussian model; each data set is fitted
and the true effects are ranked among posterior draws. Ranks of NUTS must be uniform, ranks of
guides that are stretched or shrunk on purpose must not be. Mean-field and low-rank guides are
reported as they are: p-values, the shape of the ranks in a word, how far their means lie from those
of NUTS, and how wide they are beside it. That is the part ``effects``. The part ``edges`` compares
the probabilities of edges that the exact engine states, and the same recalibrated on other
simulations, with the shares of edges that are true; so it does where some edges are known.
"""

import time
from dataclasses import replace

import numpy as np
from _record import Figure, parser, print_table, report

from infosem_jax.calibration import sbc
from infosem_jax.calibration.recalibrate import (
    fit_simulations,
    learn,
    recalibrate,
    true_edges,
)
from infosem_jax.calibration.reliability import reliability_scores, reliability_table
from infosem_jax.data.simulate import SimulationConfig
from infosem_jax.grn import Config, exact
from infosem_jax.grn.networks import candidate_pairs
from infosem_jax.grn.priors import KnownEdges, Normal

CONFIG = Config(
    rows="regulators",
    guide="nuts",
    nuts_warmup=200,
    nuts_draws=300,
    decoder="identity",
    latent_prior="standard",
    normalisation="none",
    start="zero",
    phase_networks=0,
    phase_edges=0,
    optimiser="adam",
    rate_edges=3e-3,
    epochs=1000,
    batch_size=1000,
    low_rank=4,
)
PRIOR = Normal(0.3)
SIZE = sbc.Size(genes=6, regulators=3, cells=50, datasets=300)
QUICK = sbc.Size(genes=4, regulators=2, cells=40, datasets=100)
DRAWS = 99
SIMULATIONS = 10
SIMULATED = SimulationConfig(genes=100, regulators=20, cells=500, dropout=0.1)
# Priors of edges: a tenth of all pairs, with their labels, or those of them that are edges.
KNOWN = {
    "a tenth of pairs labelled": lambda made: {"edge": KnownEdges(made.known)},
    "a tenth of edges known": lambda made: {
        "edge": KnownEdges(made.known.query("label == 1")[["source", "target"]])
    },
}
# Faults that are planted: the draws of NUTS, stretched about their mean.
PLANTED = {"planted, half as wide": 0.5, "planted, twice as wide": 2.0}
LEVEL = 0.01


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--only", choices=tuple(PARTS), help="one part of it")
    arguments = options.parse_args()
    chosen = [arguments.only] if arguments.only else list(PARTS)
    report([f for name in chosen for f in PARTS[name](arguments.quick)], arguments)


def edges(quick: bool) -> list[Figure]:
    """Compare probabilities of edges with the shares that are true, stated and recalibrated."""
    count = 2 if quick else SIMULATIONS
    fits = fit_simulations(SIMULATED, lambda _: Normal(), model=exact.Config(), simulations=count)
    learned = learn(fits, SIMULATED)
    new = fit_simulations(
        SIMULATED, lambda _: Normal(), model=exact.Config(), simulations=count, first=count
    )
    networks = {
        "stated": [fitted.network for fitted in new],
        "recalibrated": [recalibrate(fitted.network, learned) for fitted in new],
    }
    for name, given in KNOWN.items():
        told = fit_simulations(
            SIMULATED, given, model=exact.Config(), simulations=count, first=count
        )
        networks[name] = [fitted.network for fitted in told]
    truth = np.concatenate([true_edges(fitted) for fitted in new])
    figures = []
    for name, found in networks.items():
        stated = np.concatenate(
            [np.asarray(each.probability)[candidate_pairs(each)] for each in found]
        )
        head = f"calibration_grn: edges, {name}"
        for row in reliability_table(stated, truth).to_dict("records"):
            title = f"{head}, {row['stated']:.3f}, share of true edges"
            ends = row["low"], row["high"]
            figures.append(Figure(title, row["found"], "share", "higher", None, *ends))
        scores = reliability_scores(stated, truth)
        figures += [
            Figure(f"{head}, calibration error", scores["ece"], "share", "lower"),
            Figure(f"{head}, skill over the base rate", scores["brier_skill"], "share", "higher"),
        ]
    return figures


def effects(quick: bool) -> list[Figure]:
    """Rank true effects among posterior draws of each guide."""
    size = QUICK if quick else SIZE
    simulated = sbc.simulate(PRIOR, config=CONFIG, size=size)
    made, seconds = {}, {}
    for guide in ("nuts", "normal", "lowrank"):
        began = time.perf_counter()
        config = replace(CONFIG, guide=guide)
        made[guide] = sbc.posterior_draws(simulated, PRIOR, config=config, draws=DRAWS)
        seconds[guide] = time.perf_counter() - began
    reference = made["nuts"]
    made |= {name: sbc.stretched(reference, factor) for name, factor in PLANTED.items()}
    rows, figures = [], []
    for name, draws in made.items():
        n_draws = draws.draws.shape[1]
        ranks = sbc.ranks(draws)
        p = sbc.uniformity(ranks, n_draws)
        gap = np.abs(sbc.gap(draws, reference)).mean()
        width = (draws.draws.std(1) / reference.draws.std(1)).mean()
        rows.append(
            (
                name,
                f"{p.min():.3g}",
                f"{(p < LEVEL).sum()} of {len(p)}",
                sbc.shape(ranks, n_draws),
                f"{gap:.2f}",
                f"{width:.2f}",
                f"{seconds[name]:.0f} s" if name in seconds else "",
            )
        )
        planted = name in PLANTED
        figures.append(
            Figure(
                f"calibration_grn: {name}, smallest corrected p-value of rank uniformity",
                float(p.min()),
                "p",
                "lower" if planted else "higher",
                LEVEL if planted or name == "nuts" else None,
            )
        )
        if name in ("normal", "lowrank"):
            figures += [
                Figure(
                    f"calibration_grn: {name}, mean distance of means from NUTS",
                    float(gap),
                    "posterior sd",
                    "lower",
                    0.3,
                ),
                Figure(
                    f"calibration_grn: {name}, standard deviation / that of NUTS",
                    float(width),
                    "ratio",
                    "higher",
                ),
            ]
    columns = ("guide", "smallest p", f"effects below {LEVEL}", "ranks", "means off (sd)", "width")
    print(
        f"{size.datasets} data sets of {size.cells} cells, {size.regulators} regulators and "
        f"{size.genes} genes; {DRAWS} draws each"
    )
    print_table((*columns, "seconds"), rows)
    return figures


PARTS = {"effects": effects, "edges": edges}


if __name__ == "__main__":
    main()
