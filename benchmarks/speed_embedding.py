"""How fast gene graphs and MuSe-GNN are: CS-CORE, a training step against PyTorch, a whole fit.

cscore
    CS-CORE of 1,000 genes in 5,000 cells, without compilation.
attention
    An encoder step with edges as a table and as a list, at several numbers of neighbours: which is
    faster decides the setting ``auto``.
step
    A training step of four studies of 1,000 genes, ours against the same losses in eager PyTorch
    (`_musegnn_torch.py`), after a check that both compute the same loss and gradient. Left out
    without torch, with a line that says so.
fit
    2,000 epochs of that, from the time of an epoch after compilation.

PyTorch keeps its own number of threads; OPENBLAS_NUM_THREADS and the cores that this process may
use hold for both. On a machine that others use, ``--cpu-time`` counts what the process was given of
its cores instead of what the clock says; give it one core then (taskset), as waiting threads count.
"""

# pyright: reportMissingImports=false

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _record import Figure, check_agreement, installed, parser, print_table, report
from jax import random

from infosem_jax.embedding import MuSeGNNConfig, StudyGraph, losses, model, network
from infosem_jax.embedding.coexpression import cscore

STUDIES, GENES, CELLS, NEIGHBOURS = 4, 1000, 1000, 30
EPOCHS = 2000
DEGREES = (5, 10, 20, 40, 100)
Clock = Callable[[], float]


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--parts", default="cscore,attention,step,fit")
    options.add_argument("--cpu-time", action="store_true", help="count time of the CPU")
    arguments = options.parse_args()
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    repeats = 2 if arguments.quick else arguments.repeats
    genes = 200 if arguments.quick else GENES
    studies = simulate(genes, 200 if arguments.quick else CELLS)
    parts: dict[str, Callable[[], list[Figure]]] = {
        "cscore": partial(time_cscore, genes, 500 if arguments.quick else 5000, repeats, clock),
        "attention": partial(time_attention, genes, repeats, clock),
        "step": partial(time_step, studies, repeats, clock),
        "fit": partial(time_fit, studies, repeats, clock),
    }
    chosen = [parts[name] for name in arguments.parts.split(",")]
    report([figure for part in chosen for figure in part()], arguments)


def simulate(genes: int, cells: int, neighbours: int = NEIGHBOURS) -> list[StudyGraph]:
    """Return four studies of one label, each with half of its genes in common with the next."""
    found = []
    for i in range(STUDIES):
        rng = np.random.default_rng(i)
        table = rng.random((genes, genes)) < neighbours / (2 * genes)
        table = table | table.T
        np.fill_diagonal(table, True)
        names = tuple(f"G{i * genes // 2 + k}" for k in range(genes))
        x = rng.normal(size=(genes, cells)).astype(np.float32)
        found.append(StudyGraph(f"study {i}", "label", "", names, names, x, table, "simulated"))
    return found


def time_cscore(genes: int, cells: int, repeats: int, clock: Clock) -> list[Figure]:
    """Time CS-CORE."""
    rng = np.random.default_rng(0)
    depth = rng.lognormal(0, 0.4, cells)
    x = rng.poisson(depth[:, None] * rng.gamma(2, 1, (cells, genes))).astype(np.float32)
    x[0] += 1  # every gene is seen
    seconds = best(partial(cscore, x, x.sum(1).astype(float)), repeats, clock)
    name = f"CS-CORE of {genes:,} genes in {cells:,} cells"
    return [Figure(name, seconds, "s", "lower", 10.0)]


def time_attention(genes: int, repeats: int, clock: Clock) -> list[Figure]:
    """Time encoding and its gradient with edges as a table and as a list."""
    rows, figures = [], []
    for degree in DEGREES:
        studies = simulate(genes, 256, degree)[:1]
        seconds = {}
        for kind in ("dense", "sparse"):
            config = MuSeGNNConfig(attention=kind)
            groups = jax.tree.map(jnp.asarray, network.group_studies(studies, config).groups)
            params = network.init(random.key(0), groups, 1, config)
            step = jax.jit(jax.grad(partial(_encoded, groups=groups, config=config)))
            seconds[kind] = best(partial(step, params), repeats, clock)
        ratio = seconds["sparse"] / seconds["dense"]
        rows.append((str(degree), *(f"{s:.4f}" for s in seconds.values()), f"{ratio:.2f}"))
        name = f"list / table of edges, time of encoding, {degree} neighbours of {genes:,}"
        figures.append(Figure(name, ratio, "ratio", "higher"))
    print_table(("neighbours", "table, s", "list, s", "ratio"), rows)
    return figures


def time_step(studies: list[StudyGraph], repeats: int, clock: Clock) -> list[Figure]:
    """Compare a step with that of PyTorch."""
    if not installed("torch", "step"):
        return []
    import torch
    from _musegnn_torch import MuSeGNN, load
    from _musegnn_torch import loss as torch_loss

    config = MuSeGNNConfig()
    pool, params = start(studies, config)
    data, pairs = _for_torch(studies)
    theirs = MuSeGNN(data)
    load(theirs, jax.tree.map(np.asarray, params))
    partner = [(i + 1) % len(studies) for i in range(len(studies))]
    # The reconstruction has no random numbers, so that both sides can be compared exactly.
    mine, gradient = jax.jit(jax.value_and_grad(partial(_reconstruction, pool=pool)))(params)
    alone = torch_loss(theirs, data, pairs, partner, contrast=0.0) + _alike(theirs, data, pairs)
    alone.backward()
    wanted = alone.item()
    loss_error = abs(float(mine) - wanted) / abs(wanted)
    gradient_error = max(_differences(theirs, gradient))
    check_agreement(loss_error, gradient_error)
    groups = [
        {"params": [*theirs.first.parameters(), *theirs.inner.parameters()], "lr": 1e-4},
        {"params": theirs.decoders.parameters(), "lr": 1e-3},
    ]
    optimiser = torch.optim.Adam(groups)

    def torch_step() -> None:
        optimiser.zero_grad()
        torch_loss(theirs, data, pairs, partner).backward()
        optimiser.step()

    slow = best(torch_step, repeats, clock)
    fast = epoch_seconds(studies, repeats, clock)
    print_table(("a training step", "s"), [("PyTorch", f"{slow:.3f}"), ("ours", f"{fast:.3f}")])
    size = f"{len(studies)} studies of {len(studies[0].genes):,} genes"
    return [
        Figure(f"time of a step, eager PyTorch / ours, {size}", slow / fast, "ratio", "higher", 1),
        Figure(
            "difference of loss and gradient from PyTorch",
            max(loss_error, gradient_error),
            "ratio",
            "lower",
            1e-3,
        ),
    ]


def time_fit(studies: list[StudyGraph], repeats: int, clock: Clock) -> list[Figure]:
    """Tell how long 2,000 epochs take."""
    minutes = EPOCHS * epoch_seconds(studies, repeats, clock) / 60
    size = f"{len(studies)} studies of {len(studies[0].genes):,} genes"
    return [Figure(f"{EPOCHS:,} epochs of {size}", minutes, "min", "lower", 40.0)]


def epoch_seconds(studies: list[StudyGraph], repeats: int, clock: Clock) -> float:
    """Return the time of an epoch in training as `model.train` runs it, after compilation."""
    ends: list[tuple[int, float]] = []

    def tell(progress) -> None:
        ends.append((progress.done, clock()))

    model.train(studies, MuSeGNNConfig(epochs=3 * repeats + 2), on_chunk=tell)
    # The first chunk includes compilation.
    (first, began), (last, ended) = ends[0], ends[-1]
    return (ended - began) / (last - first)


def start(studies: list[StudyGraph], config: MuSeGNNConfig) -> tuple[model.Pool, Any]:
    """Return the data of a fit, and starting parameters."""
    grouped = network.group_studies(studies, config)
    weights = np.array([config.similarity, config.contrast], np.float32)
    pool = model.Pool(grouped.groups, losses.pair_studies(studies), weights)
    pool = jax.tree.map(jnp.asarray, pool)
    return pool, network.init(random.key(0), pool.groups, grouped.n_labels, config)


def best(run: Callable[[], Any], repeats: int, clock: Clock) -> float:
    """Return the least time of several runs, after one that compiles."""
    jax.block_until_ready(run())
    times = []
    for _ in range(repeats):
        began = clock()
        jax.block_until_ready(run())
        times.append(clock() - began)
    return min(times)


def _encoded(params: Any, groups: Any, config: MuSeGNNConfig) -> Any:
    return sum(jnp.square(z).sum() for z in network.encode(params, groups, config))


def _reconstruction(params: Any, pool: model.Pool) -> Any:
    return model.terms(params, random.key(0), pool, MuSeGNNConfig())["reconstruction"]


def _differences(theirs: Any, gradient: Any) -> list[float]:
    """Return how far gradients of the first study's and of shared layers are from PyTorch's."""
    pairs = (
        (gradient["decoder_0"]["w1"], theirs.decoders[0][1]),
        (gradient["input_0"]["TransformerConv_0"]["Dense_0"]["kernel"], theirs.first[0][0].maps),
        (gradient["shared"]["TransformerConv_0"]["Dense_0"]["kernel"], theirs.inner[0].maps),
        (gradient["shared"]["TransformerConv_2"]["Dense_0"]["kernel"], theirs.inner[2].maps),
    )
    found = []
    for own, layer in pairs:
        other = layer.weight.grad.numpy().T
        found.append(float(np.abs(own[0][: len(other)] - other).max() / np.abs(other).max()))
    return found


def _alike(theirs: Any, data: Any, pairs: Any) -> Any:
    """Return the similarity that PyTorch's loss has taken off."""
    from torch.nn import functional as F

    z = [theirs.encode(i, study) for i, study in enumerate(data)]
    total = 0.0
    for i in range(len(data)):
        j = (i + 1) % len(data)
        shared = pairs[i, j]
        if len(shared.here):
            cosine = F.cosine_similarity(z[i][shared.here], z[j][shared.there])
            total = total + (shared.weight * cosine).mean()
    return total


def _for_torch(studies: list[StudyGraph]) -> tuple[list[Any], dict[tuple[int, int], Any]]:
    import torch
    from _musegnn_torch import Shared, Study

    data = []
    for study in studies:
        receivers, senders = np.nonzero(study.adjacency)
        parts = study.features, senders, receivers, study.adjacency.astype(np.float32)
        data.append(Study._make(torch.tensor(part) for part in parts))
    pairs, found = losses.pair_studies(studies), {}
    for i in range(len(studies)):
        for j in range(len(studies)):
            if i != j:
                n = int(pairs.count[i, j])
                private = [np.flatnonzero(pairs.private[a, b]) for a, b in ((i, j), (j, i))]
                both = pairs.here[i, j, :n].astype(int), pairs.there[i, j, :n].astype(int)
                values = (*both, pairs.weight[i, j, :n], *private)
                found[i, j] = Shared(*(torch.tensor(np.asarray(value)) for value in values))
    return data, found


if __name__ == "__main__":
    from infosem_jax.engine.layout import usable_cores

    jax.config.update("jax_num_cpu_devices", usable_cores())
    main()
