"""How fast InfoSEM fits: against PyTorch, many seeds against one, and against RegDiffusion.

exact
    ``infosem fit --engine exact``, the whole command from a file of expression to its folder, with
    compilation and from JAX's cache of compiled programs; the fit alone; ridge partial correlation
    in numpy; and RegDiffusion at its defaults, on the same data.
demo
    ``infosem demo``, the whole command: three data sets, eight fits of each.
cells
    A compiled fit of 1,000 genes against the number of cells, beside ridge partial correlation in
    numpy and, at 500 cells, RegDiffusion.
step
    An epoch of DeepSEM's recipe, ours against the same objective in eager PyTorch, after a check
    that both compute the same loss and gradients.
seeds
    An epoch of ten seeds together against an epoch of one.
regdiffusion
    A whole fit of real data, compilation included, and its AUPRC ratio, against RegDiffusion at its
    defaults.
grid
    ``infosem fit`` on four real data sets with four combinations of priors and ten seeds, against
    the same fits in a process each, of which a sample is run: as many at a time as there are cores,
    and one at a time.

The part ``step`` needs torch, ``regdiffusion`` the package and INFOSEM_DATA, ``grid``
INFOSEM_DATA; each is left out,
with a line that says so, where they are not at hand. On CPUs, OPENBLAS_NUM_THREADS=1 is rarely
slower for ours; PyTorch keeps its own number of threads.
"""

# pyright: reportMissingImports=false

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
from _record import Figure, check_agreement, installed, parser, print_table, report
from jax import random
from numpyro import handlers
from numpyro.infer import SVI, TraceMeanField_ELBO

from infosem_jax import edges, fit, network
from infosem_jax.compare import compare
from infosem_jax.data import (
    Embedding,
    dataset,
    normalise,
    read_expression,
    read_network,
    write_embedding,
)
from infosem_jax.data.dataset import Dataset
from infosem_jax.data.simulate import SimulationConfig, simulate
from infosem_jax.engine.types import Progress
from infosem_jax.grn import evaluate, exact
from infosem_jax.grn.config import Config
from infosem_jax.grn.model import Batch, Graph, guide, model
from infosem_jax.grn.priors import GeneSimilarity, MeanAbsolute, Normal
from infosem_jax.grn.priors.binding import GeneContext, bind

EXACT = (1000, 500)
CELL_NUMBERS, PEER_CELLS = (250, 500, 1000, 2000, 4000, 8000, 16000), (500,)
GENES, CELLS, BATCH = 1400, 400, 64
STEP_TARGETS = {100: 20.0, 400: 15.0, GENES: 6.0}
SEEDS, SEEDS_TARGET = 10, 8.0
CYCLE = {"networks": 1, "edges": 2}  # epochs of each phase in DeepSEM's alternation
REAL = "mDC/TFs+1000"
GRID_DATA = ("mDC/TFs+500", "hHEP/TFs+500", "hESC/TFs+500", "mESC/TFs+500")


def main() -> None:
    options = parser(__doc__)
    options.add_argument(
        "--only", default=",".join(PARTS), metavar="NAMES", help=f"some of {', '.join(PARTS)}"
    )
    arguments = options.parse_args()
    # Seeds share the cores as devices; a single fit uses one device, whose operations use them all.
    jax.config.update("jax_num_cpu_devices", os.cpu_count())
    chosen = arguments.only.split(",")
    if unknown := set(chosen) - set(PARTS):
        sys.exit(f"--only {','.join(unknown)}: expected some of {', '.join(PARTS)}.")
    # Fits are spread over the devices that there are; a CPU counts as one unless told otherwise.
    jax.config.update("jax_num_cpu_devices", os.cpu_count() or 1)
    report([f for name in chosen for f in PARTS[name](arguments.quick)], arguments)


def exact_figures(quick: bool) -> list[Figure]:
    """Time the exact engine beside ridge partial correlation and RegDiffusion, and `compare`."""
    genes, cells = (300, 200) if quick else EXACT
    truth = simulate(SimulationConfig(genes=genes, regulators=genes // 10, cells=cells), 0)
    data, told = truth.data, {"none": Normal(), "vectors": GeneSimilarity(truth.embedding)}
    seconds, spent = {}, []
    with tempfile.TemporaryDirectory() as work:
        table = pd.DataFrame(data.x, index=pd.Index(data.cells), columns=pd.Index(data.genes))
        table.to_csv(f"{work}/x.csv")
        Path(work, "regulators.txt").write_text("\n".join(data.regulators) + "\n")
        words = [sys.executable, "-m", "infosem_jax", "fit", f"{work}/x.csv", "--engine", "exact"]
        words += ["--regulators", f"{work}/regulators.txt", "--compile-cache", f"{work}/cache"]
        for name in ("whole command, with compilation", "whole command, from the cache"):
            command = [*words, "--out", f"{work}/{name}"]
            run = partial(subprocess.run, command, check=True, stdout=subprocess.DEVNULL)
            busy = processor_seconds()
            seconds[name] = taken(run)
            spent.append(processor_seconds() - busy)
    exact.fit(data)
    seconds["fit, compiled"] = taken(lambda: exact.fit(data))
    seconds["ridge partial correlation in numpy"] = taken(lambda: ridge(data))
    for name in ("with compilation", "compiled"):
        seconds[f"two priors compared, {name}"] = taken(lambda: compare(data, told))
    if installed("regdiffusion", "exact"):
        seconds["regdiffusion"] = taken(lambda: regdiffusion_edges(data))
    print_table(("", "seconds"), [(name, f"{value:.2f}") for name, value in seconds.items()])
    head = f"speed_grn: exact, {genes} genes, {cells} cells,"
    cold, warm, compiled, simple, first, again, *other = seconds.values()
    return [
        Figure(f"{head} whole command, with compilation", cold, "s", "lower", 15.0),
        Figure(f"{head} whole command, from the cache", warm, "s", "lower", 8.0),
        Figure(f"{head} processor time, with compilation", spent[0], "s", "lower"),
        Figure(f"{head} processor time, from the cache", spent[1], "s", "lower"),
        Figure(f"{head} compiled fit / ridge in numpy", compiled / simple, "ratio", "lower", 10.0),
        Figure(f"{head} two priors compared, with compilation", first, "s", "lower"),
        Figure(f"{head} two priors compared, compiled", again, "s", "lower"),
        *(
            Figure(f"{head} regdiffusion / whole command", each / cold, "ratio", "higher", 10.0)
            for each in other
        ),
    ]


def demo_figures(quick: bool) -> list[Figure]:
    """Time the demo."""
    with tempfile.TemporaryDirectory() as work:
        command = [sys.executable, "-m", "infosem_jax", "demo", "--out", f"{work}/demo"]
        busy = processor_seconds()
        seconds = taken(partial(subprocess.run, command, check=True, stdout=subprocess.DEVNULL))
        busy = processor_seconds() - busy
    return [
        Figure("speed_grn: infosem demo, whole command", seconds, "s", "lower", 180.0),
        Figure("speed_grn: infosem demo, processor time", busy, "s", "lower"),
    ]


def cells_figures(quick: bool) -> list[Figure]:
    """Time the exact engine against the number of cells, beside ridge and RegDiffusion."""
    genes, sizes = (300, (250, 1000)) if quick else (EXACT[0], CELL_NUMBERS)
    peer = installed("regdiffusion", "cells")
    figures = []
    for cells in sizes:
        config = SimulationConfig(genes=genes, regulators=genes // 10, cells=cells)
        data = simulate(config, 0).data
        exact.fit(data)
        seconds = {
            "exact": min(taken(lambda data=data: exact.fit(data)) for _ in range(3)),
            "ridge in numpy": min(taken(lambda data=data: ridge(data)) for _ in range(3)),
        }
        if peer and cells in PEER_CELLS:
            seconds["regdiffusion"] = taken(lambda data=data: regdiffusion_edges(data))
        figures += [
            Figure(f"speed_grn: cells, {genes} genes, {cells}, {name}", value, "s", "lower")
            for name, value in seconds.items()
        ]
    return figures


def step_figures(quick: bool) -> list[Figure]:
    """Compare an epoch with one in PyTorch, at several numbers of rows."""
    if not installed("torch", "step"):
        return []
    import torch

    name = f"torch {torch.__version__}, {torch.get_num_threads()} threads"
    check_agreement(*check_torch())
    figures, table = [], []
    for rows, target in STEP_TARGETS.items():
        if quick and rows != 100:
            continue
        theirs = torch_epoch_seconds(rows, steps=2 if quick else 7)
        ours = epoch_seconds(1, rows, least=2.0 if quick else 10.0)
        table.append((str(rows), f"{1e3 * theirs:.0f}", f"{1e3 * ours:.1f}"))
        head = f"speed_grn: epoch of {GENES} genes, {CELLS} cells, {rows} rows,"
        figures += [
            Figure(f"{head} {name} / ours", theirs / ours, "ratio", "higher", target),
            Figure(f"{head} ours", 1e3 * ours, "ms", "lower"),
        ]
    print_table(("rows", "PyTorch, ms an epoch", "ours, ms an epoch"), table)
    return figures


def seeds_figures(quick: bool) -> list[Figure]:
    """Compare an epoch of ten seeds with one of a single seed."""
    figures = []
    for rows in STEP_TARGETS:
        if quick and rows != 100:
            continue
        one, many = (epoch_seconds(n, rows, least=2.0 if quick else 10.0) for n in (1, SEEDS))
        head = f"speed_grn: epoch of {GENES} genes, {rows} rows,"
        figures += [
            Figure(f"{head} {SEEDS} seeds / 1 seed", many / one, "ratio", "lower", SEEDS_TARGET),
            Figure(f"{head} {SEEDS} seeds", 1e3 * many, "ms", "lower"),
        ]
    return figures


def regdiffusion_figures(quick: bool) -> list[Figure]:
    """Compare a whole fit on real data with RegDiffusion's, in time and in AUPRC ratio."""
    folder = Path(os.environ.get("INFOSEM_DATA", "")) / "beeline" / REAL
    if not installed("regdiffusion", "regdiffusion"):
        return []
    if not ("INFOSEM_DATA" in os.environ and folder.is_dir()):
        print(f"regdiffusion: left out, set INFOSEM_DATA to a folder that holds beeline/{REAL}.")
        return []
    genes = 300 if quick else 1000
    data = most_variable(read_expression(folder), genes)
    known = read_network(folder / "network_string.csv.gz")
    inside = known["source"].isin(data.genes) & known["target"].isin(data.genes)
    runs: dict[str, Callable[[Dataset], pd.DataFrame]] = {
        "regdiffusion": regdiffusion_edges,
        "ours": lambda data: edges(network(fit(data))),
    }
    seconds, scores = {}, {}
    for name, run in runs.items():
        began = time.perf_counter()
        table = run(data)
        seconds[name] = time.perf_counter() - began
        scores[name] = evaluate(table, known.loc[inside])
    head = f"speed_grn: {REAL} cut to {genes} genes,"
    pooled, each = "auprc_ratio", "auprc_ratio_per_regulator"
    return [
        Figure(
            f"{head} seconds of regdiffusion / ours",
            seconds["regdiffusion"] / seconds["ours"],
            "ratio",
            "higher",
            1.0,
        ),
        Figure(f"{head} ours, compilation included", seconds["ours"], "s", "lower"),
        *(
            Figure(
                f"{head} {title}, ours (target: regdiffusion's)",
                float(scores["ours"][metric]),
                "ratio",
                "higher",
                float(scores["regdiffusion"][metric]),
            )
            for metric, title in (
                (pooled, "STRING AUPRC ratio"),
                (each, "STRING AUPRC ratio per regulator"),
            )
        ),
    ]


def grid_figures(quick: bool) -> list[Figure]:
    """Compare a grid in one command with a process per fit."""
    root = Path(os.environ.get("INFOSEM_DATA", "")) / "beeline"
    if not ("INFOSEM_DATA" in os.environ and root.is_dir()):
        print("grid: left out, set INFOSEM_DATA to a folder that holds beeline.")
        return []
    names, epochs = (GRID_DATA[:2], 6) if quick else (GRID_DATA, 90)
    folders = [str(root / name) for name in names]
    with tempfile.TemporaryDirectory() as work:
        options = grid_inputs(folders, Path(work), epochs)
        effects, edge = options.pop("--effect"), options.pop("--edge")
        common = [word for pair in options.items() for word in pair]

        def command(data, effects, edges, seeds, out):
            priors = [w for e in effects for w in ("--effect", e)]
            priors += [w for e in edges for w in ("--edge", e)]
            words = [
                "fit",
                *data,
                *priors,
                *common,
                "--seeds",
                str(seeds),
                "--out",
                f"{work}/{out}",
            ]
            return [sys.executable, "-m", "infosem_jax", *words]

        began = time.perf_counter()
        subprocess.run(command(folders, effects, edge, SEEDS, "grid"), check=True)
        together = time.perf_counter() - began
        # One fit of each prior, each on another data set: a sample of them all.
        combinations = [(a, b) for a in effects for b in edge]
        sample = [
            command([folders[i % len(folders)]], [a], [b], 1, f"one{i}")
            for i, (a, b) in enumerate(combinations)
        ]
        n_fits = len(folders) * len(combinations) * SEEDS
        began = time.perf_counter()
        for words in sample:
            subprocess.run(words, check=True)
        in_turn = (time.perf_counter() - began) / len(sample) * n_fits
        for path in Path(work).glob("one*"):
            shutil.rmtree(path)
        began = time.perf_counter()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for done in pool.map(subprocess.run, sample):
                done.check_returncode()
        at_once = (time.perf_counter() - began) / len(sample) * n_fits
    head = f"speed_grn: grid of {n_fits} fits of {epochs} epochs,"
    return [
        Figure(f"{head} in one command", together, "s", "lower"),
        Figure(f"{head} a process each, in turn / one command", in_turn / together, "ratio",
               "higher", 2.0),
        Figure(f"{head} a process each, all cores / one command", at_once / together, "ratio",
               "higher", 2.0),
    ]  # fmt: skip


PARTS: dict[str, Callable[[bool], list[Figure]]] = {
    "exact": exact_figures,
    "demo": demo_figures,
    "cells": cells_figures,
    "step": step_figures,
    "seeds": seeds_figures,
    "regdiffusion": regdiffusion_figures,
    "grid": grid_figures,
}


def grid_inputs(folders: list[str], work: Path, epochs: int) -> dict[str, Any]:
    """Write settings, an embedding and known edges for all genes; what they say costs no time."""
    genes = sorted({gene for folder in folders for gene in read_expression(folder).genes})
    random_numbers = np.random.default_rng(0)
    vectors = random_numbers.normal(size=(len(genes), 64)).astype(np.float32)
    write_embedding(work / "embedding.npz", Embedding(tuple(genes), vectors))
    networks = [read_network(f"{folder}/network_string.csv.gz") for folder in folders]
    pd.concat(networks).drop_duplicates().iloc[::3].to_csv(work / "known.csv", index=False)
    (work / "settings.toml").write_text(f"[model]\nepochs = {epochs}\n")
    return {
        "--effect": ["mean-absolute", f"gene-embedding={work / 'embedding.npz'}"],
        "--edge": ["none", f"known-edges={work / 'known.csv'}"],
        "--config": str(work / "settings.toml"),
    }


def epoch_seconds(seeds: int, rows: int, *, least: float) -> float:
    """Time an epoch of a warm fit, by the clock between two of its reports.

    Parameters
    ----------
    seeds, rows
        Fits side by side, and genes that act.
    least
        Seconds to go on for, after the first report, which has waited for compilation.
    """
    marks: list[tuple[float, float]] = []

    def mark(progress: Progress) -> None:
        marks.append((progress.done, time.perf_counter()))
        epochs, seconds = (np.subtract(marks[-1], marks[0])).tolist()
        # Epochs of the two phases differ in length: only whole cycles give their mean.
        if seconds >= least and epochs % sum(CYCLE.values()) == 0:
            raise _EnoughError

    with contextlib.suppress(_EnoughError):
        fit(simulated(rows), config=_config(rows, epochs=1_000_000), seeds=seeds, on_chunk=mark)
    epochs, seconds = (np.subtract(marks[-1], marks[0])).tolist()
    return seconds / epochs


def torch_epoch_seconds(rows: int, *, steps: int) -> float:
    """Time an epoch of the same recipe in PyTorch, from the median of some steps of each phase."""
    import torch
    from _deepsem_torch import DeepSEM, Trainer

    data = normalise(simulated(rows))
    trainer = Trainer(DeepSEM(GENES, acting(data, rows)))
    x = torch.as_tensor(data.x)

    def step_seconds(phase: str) -> float:
        times = []
        for _ in range(steps + 1):
            began = time.perf_counter()
            trainer.step(x[torch.randperm(CELLS)[:BATCH]], phase)
            times.append(time.perf_counter() - began)
        return float(np.median(times[1:]))

    cycle = sum(epochs * step_seconds(phase) for phase, epochs in CYCLE.items())
    return cycle / sum(CYCLE.values()) * -(-CELLS // BATCH)


def check_torch(genes: int = 60, rows: int = 20) -> tuple[float, float]:
    """Compare loss and gradients of both on the same parameters, cells and noise.

    Returns
    -------
    Relative difference of the losses, and the largest one of the norms of the gradients.
    """
    import torch
    from _deepsem_torch import DeepSEM

    sizes = SimulationConfig(genes=genes, regulators=rows, cells=CELLS)
    data = normalise(simulate(sizes, seed=0).data)
    at, x, key = acting(data, rows), data.x[:BATCH], random.key(1)
    context = GeneContext(data.genes, data.regulators, CELLS)
    graph = Graph(effect=bind(MeanAbsolute(rows=None), context), edge=None, rows=jnp.asarray(at))
    batch = Batch(jnp.asarray(x), jnp.ones(x.shape, bool), jnp.ones(BATCH, bool), float(CELLS))
    config = Config(rows="regulators", knots=0)
    bound = TraceMeanField_ELBO()
    svi = SVI(model, guide, optax.identity(), bound)
    start = svi.init(random.key(0), batch, graph, config=config)
    params = svi.optim.get_params(start.optim_state)
    # The draw that the objective makes of z, to be given to PyTorch.
    guided = handlers.seed(handlers.substitute(guide, params), random.split(key)[1])
    z = handlers.trace(guided).get_trace(batch, graph, config=config)["z"]
    noise = (z["value"] - z["fn"].mean) / z["fn"].variance ** 0.5

    def loss(params):
        total: Any = bound.loss(key, params, model, guide, batch, graph, config=config)
        return total / (CELLS * genes)

    ours, gradient = jax.value_and_grad(loss)(params)
    # What the densities hold beside squared error and |W|: log of the widths.
    width = rows / (MeanAbsolute().alpha * CELLS)
    constants = 0.5 * np.log(np.pi) + rows * np.log(2 * width) / CELLS
    theirs = DeepSEM(genes, at)
    theirs.load(params)
    value = theirs(torch.as_tensor(x), torch.as_tensor(np.array(noise)))
    value.backward()
    expected = DeepSEM(genes, at)
    expected.load(gradient)
    errors = [
        float((p.grad - g.detach()).norm() / g.detach().norm())
        for p, g in zip(theirs.parameters(), expected.parameters(), strict=True)
        if p.grad is not None
    ]
    if len(errors) < len(list(expected.parameters())):
        sys.exit("PyTorch gives some parameters no gradient: no comparison is made.")
    return abs(value.item() / (float(ours) - constants) - 1), max(errors)


def taken(run: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def processor_seconds() -> float:
    """Return the time that the cores gave to this process and those that it started and awaited.

    On a machine that others use, it says more than the clock.
    """
    return sum(os.times()[:4])


def ridge(data: Dataset) -> np.ndarray:
    """Return ridge partial correlations of all pairs of genes."""
    z = normalise(data).x.astype(np.float64)
    precision = np.linalg.inv(0.05 * z.T @ z / len(z) + 0.95 * np.eye(z.shape[1]))
    size = np.sqrt(np.diag(precision))
    return -precision / np.outer(size, size)


def regdiffusion_edges(data: Dataset) -> pd.DataFrame:
    """Run RegDiffusion at its defaults, and return its scores of all pairs of genes."""
    from regdiffusion import RegDiffusionTrainer

    trainer = RegDiffusionTrainer(data.x, seed=0)
    trainer.train()
    weight, genes = trainer.get_adj().astype(np.float64).ravel(), list(data.genes)
    source, target = np.repeat(genes, len(genes)), np.tile(genes, len(genes))
    return pd.DataFrame({"source": source, "target": target, "weight": weight})


def most_variable(data: Dataset, genes: int) -> Dataset:
    """Keep a number of genes: regulators before others, the most variable ones of each first."""
    acts = np.isin(data.genes, data.regulators)
    if genes < 3 * acts.sum():
        # Leave room for targets.
        acts &= data.x.var(0) >= np.sort(data.x.var(0)[acts])[-(genes // 3)]
    first = np.lexsort((-data.x.var(0), ~acts))[:genes]
    keep = np.sort(first)
    names = np.asarray(data.genes)[keep]
    return dataset(data.x[:, keep], names.tolist(), data.regulators, cells=data.cells)


def simulated(rows: int) -> Dataset:
    """Simulate data of the usual size with so many regulators (all genes: as many as matter)."""
    regulators = min(rows, GENES // 2)
    return simulate(SimulationConfig(genes=GENES, regulators=regulators, cells=CELLS), seed=0).data


def acting(data: Dataset, rows: int) -> np.ndarray:
    """Return which genes have rows."""
    if rows == len(data.genes):
        return np.arange(rows)
    return np.flatnonzero(np.isin(data.genes, data.regulators))


def _config(rows: int, *, epochs: int) -> Config:
    kind = "all" if rows == GENES else "regulators"
    return replace(
        Config(),
        rows=kind,
        epochs=epochs,
        batch_size=BATCH,
        phase_networks=CYCLE["networks"],
        phase_edges=CYCLE["edges"],
    )


class _EnoughError(Exception):
    """Ends a fit that has been timed."""


if __name__ == "__main__":
    main()
