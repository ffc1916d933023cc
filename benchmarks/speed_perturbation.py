"""How fast contexts are chosen, and what a fit to a full table of signs takes.

    INFOSEM_DATA=DATA python benchmarks/speed_perturbation.py

times the selection of nodes and the pooling of contexts for a batch of perturbations, by masks in
one compiled call and by a compiled call for each perturbation on its own neighbourhood; and, with
INFOSEM_DATA, one fit to the K562 table (1,831 perturbations x 4,136 genes) with its memory.
``--quick`` fits two epochs.
"""

import os
import resource
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from _record import Figure, parser, report
from jax import random

from infosem_jax.perturbation.config import ADAPERT
from infosem_jax.perturbation.selector import pool, select

NODES, BATCH, MOST = 16_000, 128, 256
REPEATS = 5


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--no-fit", action="store_true", help="time the selection only")
    arguments = options.parse_args()
    figures = selection()
    data = Path(os.environ.get("INFOSEM_DATA", "")) / "perturb"
    if not arguments.no_fit and data.is_dir():
        figures += full_fit(data, quick=arguments.quick)
    report(figures, arguments)


def selection() -> list[Figure]:
    """Time one batch by masks against a loop over its perturbations."""
    rng = np.random.default_rng(0)
    h = jnp.asarray(rng.normal(size=(NODES, ADAPERT.features)), jnp.float32)
    logit = jnp.asarray(rng.normal(size=(BATCH, MOST)), jnp.float32)
    node = jnp.asarray(rng.integers(0, NODES, (BATCH, MOST)), jnp.int32)
    # Neighbourhoods differ in size, as those of a real graph do.
    size = np.clip(rng.lognormal(4.0, 1.0, BATCH), 4, MOST).astype(int)
    hop = np.where(np.arange(MOST) < size[:, None], 1, 127)
    hop[:, 0] = 0
    hop = jnp.asarray(hop)
    whole = jax.jit(_contexts)
    # One size for all, so that the loop is not charged with compiling again.
    one = jax.jit(_contexts)

    def loop(h, logit, hop, node):
        return [one(h, logit[i : i + 1], hop[i : i + 1], node[i : i + 1]) for i in range(BATCH)]

    batch, each = (_seconds(partial(f, h, logit, hop, node)) for f in (whole, loop))
    return [
        Figure("selection of a batch of 128 by masks", batch, "seconds", "lower"),
        Figure("selection, loop over masks", each / batch, "ratio", "higher", 5.0),
    ]


def full_fit(data: Path, *, quick: bool) -> list[Figure]:
    """Time a fit to the whole K562 table, on the graphs of STRING, CORUM and GO."""
    from infosem_jax.perturbation.adapert import fit_networks
    from infosem_jax.perturbation.screen import read_knowledge, read_screen
    from infosem_jax.perturbation.splits import draw_splits
    from infosem_jax.perturbation.task import make_problem

    screen = read_screen(data / "labels" / "perturbqa_k562_de.csv.gz")
    names = {"string": "stringdb_pairs", "corum": "corum_pairs", "go": "go_bp_jaccard_top20"}
    graphs = {name: data / "kg" / f"{file}.csv.gz" for name, file in names.items()}
    text = data / "kg" / "gene_text_tfidf_svd128.npz"
    knowledge = read_knowledge(graphs, text, screen.genes)
    split = draw_splits(screen.responses, "published", 0, screen.published)[0]
    task = make_problem(screen.responses, split, knowledge).task
    config = replace(ADAPERT, epochs=2, patience=0) if quick else ADAPERT
    began = time.perf_counter()
    fit_networks([task], config)
    minutes = (time.perf_counter() - began) / 60
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    name = f"fit to K562, {config.epochs} epochs at most, {len(knowledge.nodes):,} nodes"
    return [
        Figure(name, minutes, "minutes", "lower", None if quick else 40.0),
        Figure("memory of that", memory, "GiB", "lower", 8.0),
    ]


def _contexts(h, logit, hop, node):
    chosen = select(logit, hop, jnp.float32(0.1), ADAPERT, random.key(0))
    return pool(h, node, chosen.weight, ADAPERT)


def _seconds(call) -> float:
    jax.block_until_ready(call())
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - began)
    return min(times)


if __name__ == "__main__":
    main()
