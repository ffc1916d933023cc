"""Which prior helped? Asked of the cells themselves, without a known network.

Three priors on simulated data: none that knows genes, a graph that holds the true edges, and one
of wrong edges. Each is judged by the density that its fit gives to cells kept out of training. A
prior helps where it beats the plain one and also its own control, the same knowledge with the names
of the genes permuted. The network is known here, so that the verdict can be looked up. On data of
your own, ``infosem compare`` does this from files.
"""

from infosem_jax import compare, data, grn

SIZES = data.simulate.SimulationConfig(genes=60, regulators=30, cells=120, dropout=0.1)
# Noise of about the size that these data have. With the default's, which is a squared error's,
# little is ever overfitted, and no prior is worth much.
SETTINGS = grn.converged(epochs=200, hidden=16, knots=64, held_out=0.4, observation_sd=0.35)


def main() -> None:
    truth = data.simulate.simulate(SIZES, seed=0)
    # The wrong graph is as plausible as the right one: it comes from other data of the same kind.
    wrong = data.simulate.simulate(SIZES, seed=1).network
    # Edges of a graph may be strong, and all others are held to a tenth of that.
    candidates = {
        "plain": grn.priors.Normal(0.05),
        "true graph": grn.priors.GraphPrior(truth.network, scale=0.4, elsewhere=0.1),
        "wrong graph": grn.priors.GraphPrior(wrong, scale=0.4, elsewhere=0.1),
    }
    found = compare.compare(
        truth.data, candidates, truth=truth.network, config=SETTINGS, seeds=3, halves=False
    )

    print("Held-out density, difference in nats per value [95 %]:")
    by_density = found.paired.loc[found.paired["measure"] == "density"]
    for row in by_density.to_dict("records"):
        print(
            f"  {row['prior']} against {row['kind']} ({row['against']}): "
            f"{row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]"
        )
    print("\nAll measures, means over seeds; accuracy is what the verdict was not told:")
    columns = ["prior", "control", "density", "auprc", "auprc_ratio_per_regulator"]
    print(
        found.summary.loc[found.summary["dataset"] != "", columns].round(3).to_string(index=False)
    )


if __name__ == "__main__":
    main()
