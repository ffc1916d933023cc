"""One training step of InfoSEM with tabulated scalar networks against direct evaluation.

Both run in one process on the same batch, in turn: value and gradient of the objective at 1,000
genes, 100 regulator rows, 64 cells and hidden width 128. Reported are the ratio of the median times
and the largest relative difference of the gradients at the start of a fit, over the leaves of the
parameters: ``|tabulated - direct| / |direct|``.
"""

import time
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from _record import Figure, parser, print_table, report
from jax import random

from infosem_jax.data import normalise
from infosem_jax.data.simulate import SimulationConfig, simulate
from infosem_jax.engine.types import Cells, Params
from infosem_jax.grn.config import Config
from infosem_jax.grn.model import Graph, Weights
from infosem_jax.grn.objective import FitData, FitIndex, InfoSEM
from infosem_jax.grn.priors import MeanAbsolute
from infosem_jax.grn.priors.binding import GeneContext, bind

GENES, REGULATORS, BATCH, HIDDEN, KNOTS = 1000, 100, 64, 128, 256


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--repeats", type=int, help="timed steps of each kind (30; quick: 8)")
    arguments = options.parse_args()
    repeats = arguments.repeats or (8 if arguments.quick else 30)

    data = simulated_data()
    start = InfoSEM(Config(rows="regulators", hidden=HIDDEN)).init(random.key(0), data)
    direct, tabulated = (partial(compiled_step(knots), start, data) for knots in (0, KNOTS))
    differences = leaf_differences(tabulated()[1], direct()[1])
    times = interleaved_times([direct, tabulated], repeats)
    quarters = np.quantile(times, (0.25, 0.5, 0.75), axis=1)
    ratio = np.quantile(times[0] / times[1], (0.25, 0.75))

    print_table(
        ("network", "median step", "quartiles"),
        [
            (name, f"{1e3 * q[1]:.1f} ms", f"{1e3 * q[0]:.1f} to {1e3 * q[2]:.1f} ms")
            for name, q in zip(("direct", f"{KNOTS} knots"), quarters.T, strict=True)
        ],
    )
    print_table(
        ("parameter", "relative difference of the gradient"),
        [(name, f"{value:.1e}") for name, value in differences.items()],
    )
    print(f"Ratio of the times of neighbouring steps, quartiles: {ratio[0]:.1f} to {ratio[1]:.1f}")
    speedup, difference = quarters[1, 0] / quarters[1, 1], max(differences.values())
    report(
        [
            Figure("step_grn: direct / tabulated step time", speedup, "ratio", "higher", 10.0),
            Figure("step_grn: gradient difference, worst leaf", difference, "ratio", "lower", 1e-3),
        ],
        arguments,
    )


def simulated_data() -> FitData:
    """Simulate cells and bind the default prior to the regulators' rows."""
    sizes = SimulationConfig(genes=GENES, regulators=REGULATORS, cells=4 * BATCH)
    cells = normalise(simulate(sizes, seed=0).data)
    context = GeneContext(cells.genes, cells.regulators, len(cells.cells))
    rows = jnp.array([cells.genes.index(regulator) for regulator in cells.regulators])
    zero = jnp.int32(0)
    return FitData(
        x=jnp.asarray(cells.x)[None],
        observed=None,
        graph=Graph(effect=bind(MeanAbsolute(), context), edge=None, rows=rows),
        own=FitIndex(zero, zero, jnp.int32(len(cells.cells)), zero, Weights()),
    )


def compiled_step(knots: int) -> Callable[[Params, FitData], tuple[jax.Array, Params]]:
    """Compile value and gradient of the objective, of one batch with fixed noise."""
    objective = InfoSEM(Config(rows="regulators", hidden=HIDDEN, knots=knots))

    def loss(params: Params, data: FitData) -> jax.Array:
        cells = Cells(jnp.arange(BATCH), jnp.ones(BATCH, bool), data.extent.n_train)
        return objective.loss(params, random.key(1), data, cells, jnp.int32(0))

    return jax.jit(jax.value_and_grad(loss))


def leaf_differences(approximate: Params, exact: Params) -> dict[str, float]:
    """Return the norm of the difference over the norm, for each leaf."""
    norms = jax.tree.map(
        lambda a, b: jnp.linalg.norm(a - b) / jnp.linalg.norm(b), approximate, exact
    )
    leaves = jax.tree_util.tree_leaves_with_path(norms)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): float(v) for path, v in leaves}


def interleaved_times(steps: list[Callable], repeats: int) -> np.ndarray:
    """Time the steps in turn, so that other load hits them alike; seconds, [steps, repeats]."""

    def seconds(step: Callable) -> float:
        began = time.perf_counter()
        jax.block_until_ready(step())
        return time.perf_counter() - began

    return np.array([[seconds(step) for step in steps] for _ in range(repeats)]).T


if __name__ == "__main__":
    main()
