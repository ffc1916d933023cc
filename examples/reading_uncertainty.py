"""Reading the uncertainty of a network: what each number says, and what it does not.

A fit gives every pair of a regulator and a gene a weight, a standard deviation, a share of the
posterior that agrees with its sign, and, where there are known edges, a probability. Here they are
set against simulated data whose network is known, so that each claim can be looked up. On data of
your own, ``infosem check`` does the parts that need no truth.
"""

import numpy as np

from infosem_jax import data, grn
from infosem_jax.calibration import check, recalibrate, reliability

SIZES = data.simulate.SimulationConfig(
    genes=60, regulators=10, cells=150, dropout=0.1, known_fraction=0.2
)
# The guide ``normal`` gives every edge a posterior; a point estimate would have none.
SETTINGS = grn.converged(guide="normal", epochs=60, hidden=32)


def priors(simulation: data.simulate.Simulation) -> grn.Priors:
    """A fifth of the pairs is labelled; effects are small a priori."""
    return grn.Priors(grn.priors.Normal(0.1), grn.priors.KnownEdges(simulation.known))


def main() -> None:
    truth = data.simulate.simulate(SIZES, seed=0)
    fitted = grn.fit(truth.data, *priors(truth)[:2], config=SETTINGS, seeds=2)
    found = grn.network(fitted)
    pairs = recalibrate.candidates(found)
    edge = recalibrate.true_edges(recalibrate.Fitted(truth, found))

    # 1. ``sd`` is the model's own doubt about a weight: within the posterior of each random start,
    #    and between starts. A weight that is many times its sd is sure within the model.
    size = np.abs(found.weight[pairs])
    sure = size > 2 * found.sd[pairs]
    print(f"Of all pairs {edge.mean():.0%} are edges; of those sure within the model", end=" ")
    print(f"{edge[sure].mean():.0%} ({sure.sum()} pairs). Sure is not the same as true.")

    # 2. ``sign_agreement`` says how sure the direction is: activation or repression.
    right = np.sign(found.weight[pairs]) == np.sign(effects_of(truth, found)[pairs])
    clear = found.sign_agreement[pairs] >= 0.9
    for what, chosen in (("at least 0.9", edge & clear), ("less", edge & ~clear)):
        print(f"Sign agreement {what}: the sign is right for {right[chosen].mean():.0%} of edges.")

    # 3. ``probability`` is the mean of the gate. It begins with the prior, and need not mean what
    #    it says: where it states 0.3, are three pairs in ten edges?
    print("\nStated probabilities:")
    print_reliability(found, edge)

    # 4. Where it does not, let it be recalibrated: data are simulated like these, fitted with the
    #    same priors and settings, and the map from what fits say to the truth is learned there. For
    #    data of your own, `recalibration_for` matches the simulations to them.
    simulated = recalibrate.fit_simulations(
        SIZES, priors, model=SETTINGS, simulations=2, seeds=2, first=1
    )
    learned = recalibrate.learn(simulated, SIZES)
    print("\nRecalibrated probabilities:")
    print_reliability(recalibrate.recalibrate(found, learned), edge)
    print(learned.note)

    # 5. What the model says of the cells: does it bring forth data like those it was given? These
    #    checks need no truth.
    print("\nWhat infosem check says:")
    for finding in check.check(check.Run(fitted, truth.data, {})).findings:
        print(f"  {finding}")

    # 6. A knock-out is a prediction with an uncertainty of its own.
    print("\nSilencing the regulator with the strongest edge:")
    first = found.regulators[np.abs(found.weight).max(1).argmax()]
    print(grn.knockout(fitted, first, truth.data, draws=8).head(6).round(3).to_string(index=False))


def effects_of(truth: data.simulate.Simulation, found: grn.Network) -> np.ndarray:
    """True effects in the order of a network, [regulators, genes]."""
    place = {gene: i for i, gene in enumerate(truth.data.genes)}
    rows, columns = ([place[name] for name in names] for names in (found.regulators, found.genes))
    return truth.effect[np.ix_(rows, columns)]


def print_reliability(found: grn.Network, edge: np.ndarray) -> None:
    probability = np.asarray(found.probability)[recalibrate.candidates(found)]
    scores = reliability.reliability_scores(probability, edge)
    table = reliability.reliability_table(probability, edge, bins=5, adaptive=True)
    print(table.round(3).to_string(index=False))
    print(
        f"calibration error {scores['ece_adaptive']:.3f}, among the strongest "
        f"{scores['ece_top']:.3f}; Brier skill {scores['brier_skill']:.2f}; "
        f"average precision {scores['auprc']:.2f}"
    )


if __name__ == "__main__":
    main()
