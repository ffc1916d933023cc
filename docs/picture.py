"""Draw the picture of the README from the data of ``infosem demo``: ``python docs/picture.py``."""

from pathlib import Path

import matplotlib.pyplot as plt

from infosem_jax import grn
from infosem_jax.data.simulate import simulate
from infosem_jax.grn import plot
from infosem_jax.grn.demo import SIMULATION


def main() -> None:
    """Fit the demo's first data set with its known edges, and draw the network and its edges."""
    truth = simulate(SIMULATION, seed=0)
    network = grn.network(grn.fit(truth.data, edge=grn.priors.KnownEdges(truth.known)))
    hub = grn.edges(network, top=60)["source"].value_counts().index[0]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 4), layout="constrained")
    plot.neighbourhood(network, hub, 12, ax=left)
    plot.top_edges(network, 15, ax=right).spines[["top", "right"]].set_visible(False)
    figure.savefig(Path(__file__).parent / "_static" / "network.png", dpi=150)


if __name__ == "__main__":
    main()
