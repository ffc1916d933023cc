"""How fast the graph network of expression trains, against the masked dense form in PyTorch.

A training step (loss, gradient, Adam) at the size of Kim et al. 2025: 970 inputs, 12,320 genes,
4 layers, 64 channels, 13.1 million edges. The dense form multiplies a weight per pair of genes by
the adjacency matrix and the features, as the public code does. Its 152 million weights per layer,
with gradients and moments, do not fit everywhere: it is measured with 1 and 2 layers, and the
difference counts for the third and the fourth. Ours is measured whole, in a process of its own
whose peak of memory is stated. ``--quick`` takes a quarter of the genes and measures all four
layers of both. Before that, both must agree on loss and gradients of a small graph.

It needs torch. Both take all cores that there are; the least time of a few steps counts.
"""

# pyright: reportMissingImports=false

import multiprocessing
import resource
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from _record import Figure, check_agreement, installed, parser, print_table, report
from jax import random

from infosem_jax.engine import training
from infosem_jax.engine.layout import Layout
from infosem_jax.engine.types import Fits, Rate, Schedule
from infosem_jax.expression import network
from infosem_jax.expression.graph import GeneGraph, gene_graph
from infosem_jax.expression.network import PAPER, GraphConfig
from infosem_jax.expression.objective import Objective, Parts, Pool
from infosem_jax.expression.task import Task

CHANNELS, LAYERS, NEIGHBOURS = 64, 4, 50
BATCHES = (1, 8)
TARGET, TARGET_GIB = 10.0, 6.0


class Size(NamedTuple):
    """Numbers of inputs, and of genes with them."""

    inputs: int
    genes: int


WHOLE, QUICK, TINY = Size(970, 12_320), Size(242, 3_080), Size(20, 90)


def main() -> None:
    options = parser(__doc__)
    arguments = options.parse_args()
    if not installed("torch", "step"):
        report([], arguments)
        return
    check_agreement(*check_torch())
    size, steps = (QUICK, 3) if arguments.quick else (WHOLE, 5)
    depths = (LAYERS,) if arguments.quick else (1, 2)
    figures, table = [], []
    for batch in BATCHES:
        ours, peak = _apart(our_seconds, size, batch, LAYERS, 2 * steps)
        measured = [_apart(torch_seconds, size, batch, depth, steps)[0] for depth in depths]
        theirs = measured[0]
        if len(depths) == 2:
            theirs += (LAYERS - 1) * (measured[1] - measured[0])
        peak_gib = peak / 2**30
        table.append((str(batch), f"{theirs:.3g}", f"{ours:.3g}", f"{peak_gib:.2f}"))
        head = f"speed_expression: step of {size.genes} genes, {size.inputs} inputs, batch {batch},"
        figures += [
            Figure(f"{head} masked dense torch / ours", theirs / ours, "ratio", "higher", TARGET),
            Figure(f"{head} ours", 1e3 * ours, "ms", "lower"),
            Figure(f"{head} ours, peak of memory", peak_gib, "GiB", "lower", TARGET_GIB),
        ]
    print_table(("batch", "PyTorch, s a step", "ours, s a step", "ours, GiB at most"), table)
    report(figures, arguments)


def our_seconds(size: Size, batch: int, layers: int, steps: int) -> tuple[float, int]:
    """Return the least seconds of a step of the engine, and the peak of memory in bytes."""
    task = simulated(size)
    config = _config(layers=layers)
    graph = gene_graph(task, NEIGHBOURS)
    objective = Objective(config, network.shape_of(graph))
    schedule = Schedule((("network", "adam_clipped"),), ((("network",), 1),), batch, 1, chunk=1)
    rates = {"network": Rate(np.full(1, 1e-3, np.float32), np.ones(1, np.float32))}
    every = np.arange(batch)[None]
    fits = Fits(random.key(0)[None], rates, Parts(every, every))
    wiring = network.wire(graph, task.y_train.std(0), config)
    pool = jax.device_put(Pool(task.x_train, task.covariate_train, task.y_train, wiring))
    static = objective, schedule, Layout(None, 1)
    state = training.init(*static, fits, pool)

    def run() -> Iterator[None]:
        nonlocal state
        for i in range(steps + 1):
            span = jnp.int32(i), jnp.int32(i + 1)
            state, losses = training.run_chunk(*static, state, fits, pool, *span)
            jax.block_until_ready((state, losses))
            yield

    return _least(run()), _peak()


def torch_seconds(size: Size, batch: int, layers: int, steps: int) -> tuple[float, int]:
    """Return the least seconds of a step of the masked dense form, and the peak of memory."""
    import torch

    task = simulated(size)
    graph = gene_graph(task, NEIGHBOURS)
    mask = torch.as_tensor(adjacency(graph))
    shape = network.shape_of(graph)
    weights = [torch.empty(size.genes, size.genes).uniform_(-0.05, 0.05) for _ in range(layers)]
    rest = {
        name: torch.as_tensor(np.array(leaf))
        for name, leaf in network.init(
            random.key(0), _config(layers=layers), shape._replace(edges=0)
        ).items()
        if name != "layers"
    }
    offsets = [torch.zeros(size.genes, CHANNELS) for _ in weights]
    parameters = [leaf.requires_grad_() for leaf in (*weights, *offsets, *rest.values())]
    optimiser = torch.optim.Adam(parameters, lr=1e-3, weight_decay=1e-6)
    x, y = (torch.as_tensor(part[:batch]) for part in (task.x_train, task.y_train))
    targets = torch.as_tensor(graph.targets)

    def run() -> Iterator[None]:
        for _ in range(steps + 1):
            optimiser.zero_grad()
            (torch_means(weights, offsets, rest, mask, targets, x) - y).abs().mean().backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            yield

    return _least(run()), _peak()


def torch_means(weights, offsets, rest, mask, targets, x):
    """Compute the network with a masked dense matrix per layer."""
    import torch

    inputs = torch.zeros(len(mask), len(x))
    inputs[: x.shape[1]] = x.T
    h = rest["embedding"][:, None] + rest["bias"] + inputs[:, :, None] * rest["value"]
    for weight, offset in zip(weights, offsets, strict=True):
        received = ((weight * mask) @ h.reshape(len(mask), -1)).reshape(h.shape)
        h = torch.relu(received + offset[:, None])
    return (h[targets] @ rest["head"][:, 0] + rest["head_bias"][:, :1]).T


def check_torch() -> tuple[float, float]:
    """Compare loss and gradients of both on the same parameters and samples.

    Returns
    -------
    Relative difference of the losses, and the largest one of the norms of the gradients.
    """
    import torch

    task, config = simulated(TINY), _config(layers=2, channels=8)
    graph = gene_graph(task, 4)
    params = network.init(random.key(0), config, network.shape_of(graph))
    wiring = network.wire(graph, task.y_train.std(0), config, dense=False)

    x_all, feature = jnp.asarray(task.x_train), jnp.asarray(task.covariate_train)

    def loss(params: Any) -> Any:
        mean, _ = network.forward(params, config, wiring, x_all, feature)
        return jnp.abs(mean - task.y_train).mean()

    ours, slopes = jax.value_and_grad(loss)(params)
    weights = [torch.as_tensor(matrix) for matrix in _matrices(params, graph)]
    rest = {
        name: torch.as_tensor(np.array(leaf)) for name, leaf in params.items() if name != "layers"
    }
    offsets = [torch.as_tensor(np.array(layer["offset"])) for layer in params["layers"]]
    for leaf in (*weights, *offsets, *rest.values()):
        leaf.requires_grad_()
    x, y = torch.as_tensor(task.x_train), torch.as_tensor(task.y_train)
    mask, targets = torch.as_tensor(adjacency(graph)), torch.as_tensor(graph.targets)
    means = torch_means(weights, offsets, rest, mask, targets, x)
    theirs = (means - y).abs().mean()
    theirs.backward()
    pairs = list(zip(_matrices(slopes, graph), (w.grad for w in weights), strict=True))
    pairs += [
        (np.array(layer["offset"]), offset.grad)
        for layer, offset in zip(slopes["layers"], offsets, strict=True)
    ]
    pairs += [(np.array(slopes[name]), leaf.grad) for name, leaf in rest.items()]
    errors = [
        np.linalg.norm(a - b.numpy()) / max(np.linalg.norm(a), 1e-12)
        for a, b in pairs
        if b is not None
    ]
    return abs(theirs.item() / float(ours) - 1), float(max(errors))


def adjacency(graph: GeneGraph) -> np.ndarray:
    """Return which genes send to which as a matrix of ones and zeros, receivers in rows."""
    matrix = np.zeros((graph.n_nodes, graph.n_nodes), np.float32)
    matrix[_ends(graph)] = 1
    matrix[:, : graph.n_inputs] = 1
    return matrix


def simulated(size: Size, samples: int = 64) -> Task:
    """Draw expression without structure: only its size matters here, and neighbours at random."""
    numbers = np.random.default_rng(0)
    x = numbers.random((samples, size.inputs), np.float32)
    y = numbers.random((samples, size.genes), np.float32)
    none = np.zeros((samples, 0), np.float32)
    inputs, targets = (tuple(f"g{i}" for i in range(n)) for n in size)
    return Task(inputs, targets, x, y, x, y, x, np.arange(size.inputs), none, none, none)


def _config(**changes: Any) -> GraphConfig:
    """Return the network as published; its start values would make differences look large."""
    return replace(PAPER, start="fan_in", **changes)


def _matrices(params: Any, graph: GeneGraph) -> list[np.ndarray]:
    """Write the weights of each layer as a matrix."""
    matrices = []
    for layer in params["layers"]:
        matrix = np.zeros((graph.n_nodes, graph.n_nodes), np.float32)
        matrix[_ends(graph)] = layer["edge"]
        matrix[:, : graph.n_inputs] = layer["block"]
        matrices.append(matrix)
    return matrices


def _ends(graph: GeneGraph) -> tuple[np.ndarray, np.ndarray]:
    """Return receivers and senders of the sparse edges."""
    sparse: Any = graph.sparse
    n = int(sparse.n_edge[0])
    return sparse.receivers[:n], sparse.senders[:n]


def _apart(function, *arguments: Any) -> tuple[float, int]:
    """Call a function in a process of its own, so that memory is that of this alone."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(function, *arguments).result()


def _least(steps: Iterator[None]) -> float:
    """Return the least seconds of a step, the first left out."""
    next(steps)
    times, began = [], time.perf_counter()
    for _ in steps:
        times.append(time.perf_counter() - began)
        began = time.perf_counter()
    return min(times)


def _peak() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
