"""Is the posterior of the effects calibrated? Simulation-based calibration of each guide.

Effects are drawn from their prior and data from the linear-Gaussian model; each data set is fitted
and the true effects are ranked among posterior draws. Ranks of NUTS must be uniform, ranks of
guides that are stretched or shrunk on purpose must not be. Mean-field and low-rank guides are
reported as they are: p-values, the shape of the ranks in a word, how far their means lie from those
of NUTS, and how wide they are beside it.
"""

import time
from dataclasses import replace

import numpy as np
from _record import Figure, parser, print_table, report

from infosem_jax.calibration import sbc
from infosem_jax.grn import Config
from infosem_jax.grn.priors import Normal

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
# Faults that are planted: the draws of NUTS, stretched about their mean.
PLANTED = {"planted, half as wide": 0.5, "planted, twice as wide": 2.0}
LEVEL = 0.01


def main() -> None:
    arguments = parser(__doc__).parse_args()
    size = QUICK if arguments.quick else SIZE
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
    report(figures, arguments.json)


if __name__ == "__main__":
    main()
