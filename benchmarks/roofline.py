"""A training step of InfoSEM against what the machine can do at best.

First the machine is measured through JAX: matrix products (float32, bfloat16) and sweeps over
arrays. Then a step that moves all parameters is timed, and its operations and memory traffic are
counted from the formulas of `counts`. The least time that these counts allow on the measured
machine, over the time taken, is the share of the roofline. Small problems live in caches, which are
faster than the memory that is the yardstick here. XLA's own counts stand beside ours; XLA does not
look into the library calls that factorise and solve. On CPUs, OPENBLAS_NUM_THREADS=1 is rarely
slower, and keeps the factorisation from competing with XLA's threads.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _record import Figure, parser, print_table, report
from jax import lax, random
from numpyro.infer import SVI, TraceMeanField_ELBO

from infosem_jax.grn.config import Config
from infosem_jax.grn.model import Batch, Graph, guide, model
from infosem_jax.grn.priors import MeanAbsolute
from infosem_jax.grn.priors.binding import GeneContext, bind

FLOAT = 4  # bytes
CELLS, BATCH, HIDDEN, KNOTS = 400, 64, 128, 256
LONGEST = 0.3  # seconds: larger matrices and arrays are tried while one run takes less
RATE = 1e-6


class Counts(NamedTuple):
    """Operations and bytes of one part of a step; bytes as if each array moved once per use."""

    part: str
    flops: float
    bytes: float


class Peaks(NamedTuple):
    """What the machine reaches: FLOP/s of float32 products, and bytes/s of sweeps over memory."""

    flops: float
    bandwidth: float


class Step(NamedTuple):
    """A compiled training step, with arguments to call it on.

    Attributes
    ----------
    run
        From parameters, state of the step rule, and batch to new ones and the loss.
    start
        Parameters and state of the step rule; used up by the first call.
    batch
        Expression of the cells.
    flops, bytes
        XLA's own counts; NaN where it gives none.
    """

    run: Callable[[Any, Any, Batch], tuple[Any, Any, jax.Array]]
    start: tuple[Any, Any]
    batch: Batch
    flops: float
    bytes: float


def main() -> None:
    options = parser(__doc__)
    arguments = options.parse_args()
    sizes = [(1400, 100), (1400, 400), (1400, 1400), (20_000, 1500)]
    peaks, figures = machine(quick=arguments.quick)
    for genes, rows in sizes[:-1] if arguments.quick else sizes:
        figures += share(genes, rows, peaks, repeats=5 if arguments.quick else 20)
    report(figures, arguments)


def machine(*, quick: bool) -> tuple[Peaks, list[Figure]]:
    """Measure matrix products and sweeps over arrays, larger and larger ones."""
    products = {
        dtype: dict(_products(jnp.dtype(dtype), 2048 if quick else 16_384))
        for dtype in ("float32", "bfloat16")
    }
    sweeps = dict(_sweeps(2**26 if quick else 2**30))
    sizes = sorted(set().union(*products.values()))
    print_table(
        ("product of n x n, TFLOP/s", *products),
        [
            (str(n), *(f"{p[n] / 1e12:.3f}" if n in p else "" for p in products.values()))
            for n in sizes
        ],
    )
    print_table(
        ("x / 2 + 1 in place, MiB", "GB/s read and written"),
        [(f"{size / 2**20:.0f}", f"{rate / 1e9:.1f}") for size, rate in sweeps.items()],
    )
    # Small arrays stay in caches; memory is what the largest one shows.
    peaks = Peaks(max(products["float32"].values()), sweeps[max(sweeps)])
    return peaks, [
        Figure("roofline: float32 product", peaks.flops / 1e9, "GFLOP/s", "higher"),
        Figure(
            "roofline: bfloat16 product",
            max(products["bfloat16"].values()) / 1e9,
            "GFLOP/s",
            "higher",
        ),
        Figure("roofline: memory bandwidth", peaks.bandwidth / 1e9, "GB/s", "higher"),
    ]


def share(genes: int, rows: int, peaks: Peaks, *, repeats: int) -> list[Figure]:
    """Time a step, print where its operations and bytes are, and return its shares."""
    step = compiled_step(genes, rows)
    seconds = _step_seconds(step, repeats)
    parts = counts(BATCH, rows, genes)
    flops, traffic = sum(p.flops for p in parts), sum(p.bytes for p in parts)
    least = sum(_least_seconds(p, peaks) for p in parts)
    print(f"{genes} genes, {rows} rows, {BATCH} cells: {1e3 * seconds:.1f} ms a step")
    print_table(
        ("part", "MFLOP", "MB", "ms at the roofline"),
        [
            (
                p.part,
                f"{p.flops / 1e6:.1f}",
                f"{p.bytes / 1e6:.1f}",
                f"{1e3 * _least_seconds(p, peaks):.2f}",
            )
            for p in parts
        ]
        + [
            ("sum", f"{flops / 1e6:.1f}", f"{traffic / 1e6:.1f}", f"{1e3 * least:.2f}"),
            ("XLA, without solves", f"{step.flops / 1e6:.1f}", f"{step.bytes / 1e6:.1f}", ""),
        ],
    )
    head = f"roofline: {genes} genes, {rows} rows,"
    return [
        Figure(f"{head} step", 1e3 * seconds, "ms", "lower"),
        Figure(f"{head} share of product peak", flops / seconds / peaks.flops, "ratio", "higher"),
        Figure(
            f"{head} share of bandwidth", traffic / seconds / peaks.bandwidth, "ratio", "higher"
        ),
        Figure(f"{head} share of roofline", least / seconds, "ratio", "higher"),
    ]


def counts(cells: int, rows: int, genes: int) -> list[Counts]:
    """Count the operations and bytes of a step that moves all parameters, part by part.

    With B cells, R rows, G genes, H hidden units and K knots, and a product of [a, b] and [b, c]
    counted as 2 a b c operations:

    - absorb: ``u_R W`` of location and log-variance, each a product forward and two backward
      (to u and to W): ``12 B R G``; the same on the one vector each of the latent prior.
    - propagate: LU of I - W_RR, ``2/3 R^3``; two triangular solves forward, two backward and the
      gradient of the matrix, ``6 B R^2``; and, where not all genes have rows, ``h W`` with its two
      products backward, ``6 B R G``.
    - tables: two scalar networks on K knots, value and slope, forward and backward:
      ``24 K H^2``; interpolation of three outputs forward and backward, about 75 an entry.
    - elementwise on cells x genes: sampling, divergence, likelihood and their gradients, about 60.
    - elementwise on W: mask, penalty, the sum of its gradients and RMSprop, about 16 an entry.
    """
    B, R, G, H, K = cells, rows, genes, HIDDEN, KNOTS
    square = rows == genes
    W, entries = R * G, B * G
    # Each product reads both factors and writes its result.
    product = W + B * R + entries
    return [
        Counts("absorb", 12 * (B + 1) * W, FLOAT * 3 * (2 * product + 2 * W)),
        Counts("LU of I - W", 2 / 3 * R**3, FLOAT * 4 * R * R),
        Counts("solve", 6 * B * R * R, FLOAT * (6 * R * R + 9 * B * R)),
        Counts("h W", 0 if square else 6 * B * W, 0 if square else FLOAT * 3 * product),
        Counts("tables", 24 * K * H * H + 75 * entries, FLOAT * 24 * entries),
        Counts("elementwise on cells x genes", 60 * entries, FLOAT * 20 * entries),
        # Read W and its running square, sum five gradients into one, write both back.
        Counts("elementwise on W", 16 * W, FLOAT * 10 * W),
    ]


def compiled_step(genes: int, rows: int) -> Step:
    """Compile one step of all parameters on random cells: objective, gradient and RMSprop."""
    config = Config(rows="all" if rows == genes else "regulators", hidden=HIDDEN, knots=KNOTS)
    names = tuple(f"G{i:05d}" for i in range(genes))
    acting = np.unique(np.linspace(0, genes - 1, rows).astype(int))
    context = GeneContext(names, tuple(names[i] for i in acting), CELLS)
    graph = Graph(effect=bind(MeanAbsolute(), context), edge=None, rows=jnp.asarray(acting))
    batch = Batch(
        x=random.normal(random.key(0), (BATCH, genes)),
        observed=jnp.ones((BATCH, genes), bool),
        real=jnp.ones(BATCH, bool),
        total=jnp.float32(CELLS),
    )
    svi = SVI(model, guide, optax.identity(), TraceMeanField_ELBO())
    rule = optax.scale_by_rms(decay=0.99, eps=1e-8, eps_in_sqrt=False)

    @jax.jit
    def init(batch, graph):
        state = svi.init(random.key(1), batch, graph, config=config)
        params = dict(svi.optim.get_params(state.optim_state))
        return params, rule.init(params)

    def run(params, state, batch, graph):
        def loss(params):
            bound: Any = svi.loss.loss(
                random.key(2), params, model, guide, batch, graph, config=config
            )
            return bound / (CELLS * genes)

        value, gradient = jax.value_and_grad(loss)(params)
        update, state = rule.update(gradient, state)
        return jax.tree.map(lambda p, u: p - RATE * u, params, update), state, value

    start = init(batch, graph)
    compiled = jax.jit(run, donate_argnums=(0, 1)).lower(*start, batch, graph).compile()
    cost = compiled.cost_analysis() or {}
    return Step(
        run=lambda params, state, batch: compiled(params, state, batch, graph),
        start=start,
        batch=batch,
        flops=cost.get("flops", float("nan")),
        bytes=cost.get("bytes accessed", float("nan")),
    )


def _products(dtype: np.dtype, largest: int) -> Iterator[tuple[int, float]]:
    size, seconds = 512, 0.0
    while size <= largest and seconds < LONGEST:
        a = random.normal(random.key(0), (size, size)).astype(dtype)
        # Accelerators round the factors of float32 products by default; the solves do not.
        with jax.default_matmul_precision("float32" if dtype == jnp.float32 else "bfloat16"):
            product = jax.jit(jnp.matmul).lower(a, a).compile()
        seconds = _seconds(partial(product, a, a))
        yield size, 2 * size**3 / seconds
        size *= 2


def _sweeps(largest: int) -> Iterator[tuple[int, float]]:
    size, seconds, times = 2**20, 0.0, 8
    # Several sweeps a call, in place: fresh memory costs more to obtain than to write.
    sweep = jax.jit(lambda a: lax.fori_loop(0, times, lambda _, a: 0.5 * a + 1, a))
    while size <= largest and seconds < LONGEST:
        seconds = _seconds(partial(sweep, jnp.zeros(size // FLOAT)))
        yield size, times * 2 * size / seconds
        size *= 4


def _seconds(run: Callable, repeats: int = 7) -> float:
    """Time the fastest of some runs, after one that is not counted."""
    jax.block_until_ready(run())
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - began)
    return min(times)


def _step_seconds(step: Step, repeats: int) -> float:
    """Time steps one after the other, as in training; the median, the first one left out."""
    params, state = step.start
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        params, state, loss = step.run(params, state, step.batch)
        loss.block_until_ready()
        jax.block_until_ready(params)
        times.append(time.perf_counter() - began)
    return float(np.median(times[1:]))


def _least_seconds(part: Counts, peaks: Peaks) -> float:
    return max(part.flops / peaks.flops, part.bytes / peaks.bandwidth)


if __name__ == "__main__":
    main()
