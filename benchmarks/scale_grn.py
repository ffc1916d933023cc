"""Time and memory of InfoSEM against the numbers of genes, regulators and cells.

Cells are simulated to a sparse file and streamed from disk, each size in a process of its own,
whose peak of resident memory is read. The exact engine fits all regulators, the file's pass for
the scale of genes included; of the svi engine, one epoch of ``rows = regulators+8`` is trained.
Exponents are slopes of log time on log size, with everything else held fixed; compilation is left
out of the times (of svi, with the first segment), not of the seconds in all. The last size is a
whole transcriptome.

    python benchmarks/scale_grn.py [--engine svi] [--quick] [--json FILE]
        [--cells N --genes N --regulators N] [--epochs N]

With ``--cells``, ``--genes`` and ``--regulators`` one size of your own is measured, by the svi
engine for as many epochs as ``--epochs``.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _record import Figure, parser, print_table, report


class Size(NamedTuple):
    genes: int
    regulators: int
    cells: int


BASE = Size(4000, 300, 8000)
WHOLE = {"exact": Size(20_000, 1500, 100_000), "svi": Size(20_000, 1500, 20_000)}
FACTORS = (1, 2, 4)
QUICK_BASE = Size(1000, 100, 4000)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--engine", default="exact", choices=tuple(WHOLE))
    options.add_argument("--cells", type=int)
    options.add_argument("--genes", type=int)
    options.add_argument("--regulators", type=int)
    options.add_argument("--epochs", type=int, default=1)
    options.add_argument("--batch-size", type=int, default=128)
    options.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    options.add_argument("--one", help=argparse.SUPPRESS)
    options.add_argument("--file", help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.one:
        measure = {"exact": measure_exact, "svi": measure_svi}[arguments.engine]
        measure(Size(*json.loads(arguments.one)), Path(arguments.file), arguments)
        return
    given = (arguments.genes, arguments.regulators, arguments.cells)
    if any(given):
        if not all(given):
            options.error("give all of --genes, --regulators and --cells")
        alone = measured(Size(*given), arguments)
        print_sizes([alone])
        report(figures_of(f"{arguments.engine}, chosen size", alone), arguments)
        return
    base = QUICK_BASE if arguments.quick else BASE
    grown = {
        "cells": [base._replace(cells=base.cells * f) for f in FACTORS],
        "genes": [base._replace(genes=base.genes * f) for f in FACTORS],
        "regulators": [base._replace(regulators=base.regulators * f) for f in FACTORS],
    }
    sizes = dict.fromkeys(size for series in grown.values() for size in series)
    found = {size: measured(size, arguments) for size in sizes}
    figures = []
    for what, series in grown.items():
        size = np.log([getattr(s, what) for s in series])
        exponent = np.polyfit(size, np.log([found[s]["seconds"] for s in series]), 1)[0]
        target = None if what == "regulators" else {"exact": 1.05, "svi": 1.1}[arguments.engine]
        name = f"scale_grn: {arguments.engine}, growth exponent of time in {what}"
        figures.append(Figure(name, float(exponent), "exponent", "lower", target))
    shown = list(found.values())
    if not arguments.quick:
        whole = measured(WHOLE[arguments.engine], arguments)
        shown.append(whole)
        figures += figures_of(f"{arguments.engine}, whole transcriptome", whole)
    print_sizes(shown)
    report(figures, arguments)


def figures_of(name: str, found: dict) -> list[Figure]:
    return [
        Figure(f"scale_grn: {name}, seconds of a fit or epoch", found["seconds"], "s", "lower"),
        Figure(f"scale_grn: {name}, seconds in all", found["all_seconds"], "s", "lower"),
        Figure(f"scale_grn: {name}, peak memory", found["gib"], "GiB", "lower", 8.0),
    ]


def print_sizes(found: list[dict]) -> None:
    print_table(
        ("genes", "regulators", "cells", "seconds of a fit or epoch", "in all", "peak memory"),
        [
            (
                *(f"{n:,}" for n in one["size"]),
                f"{one['seconds']:.1f}",
                f"{one['all_seconds']:.1f}",
                f"{one['gib']:.2f} GiB",
            )
            for one in found
        ],
    )


def measured(size: Size, arguments: argparse.Namespace) -> dict:
    """Measure one size in a process of its own, on a file that is removed afterwards."""
    from infosem_jax.data import write_sparse_simulation

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cells.h5ad"
        write_sparse_simulation(
            file, genes=size.genes, regulators=size.regulators, cells=size.cells, seed=0
        )
        command = [sys.executable, __file__, "--one", json.dumps(size), "--file", str(file)]
        command += ["--engine", arguments.engine, "--epochs", str(arguments.epochs)]
        command += ["--precision", arguments.precision]
        command += ["--batch-size", str(arguments.batch_size)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure_exact(size: Size, file: Path, arguments: argparse.Namespace) -> None:
    """Fit from the file, twice where that is short, and print time and peak memory as JSON."""
    from infosem_jax.data import open_stream
    from infosem_jax.grn import exact

    began = time.perf_counter()

    def fit() -> float:
        start = time.perf_counter()
        stream = open_stream(file, normalisation="log1p_cpm_zscore")
        exact.fit(stream, config=exact.Config(rows="regulators"))
        return time.perf_counter() - start

    first = fit()
    in_all = time.perf_counter() - began
    print_measured(size, fit() if size != WHOLE["exact"] else first, in_all)


def measure_svi(size: Size, file: Path, arguments: argparse.Namespace) -> None:
    """Train from the file and print time and peak memory as JSON."""
    from infosem_jax.data import open_stream
    from infosem_jax.grn.config import converged
    from infosem_jax.grn.fitting import fit_many
    from infosem_jax.grn.priors import Normal

    began = time.perf_counter()
    config = converged(
        rows="regulators+8",
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        # Every target sums the steps of all regulators.
        rate_edges=0.03 / size.regulators,
        normalisation="log1p_cpm_zscore",
        precision=arguments.precision,
    )
    stream = open_stream(file, normalisation="log1p_cpm_zscore")
    ticks: list[tuple[float, float]] = []
    fits = fit_many(
        [stream],
        {"": Normal(0.05)},
        configs=config,
        on_chunk=lambda progress: ticks.append((time.perf_counter(), progress.done)),
    )
    _, fitted = next(fits)
    if (fitted.diverged >= 0).any():
        raise FloatingPointError("The fit diverged: its time says nothing.")
    (first, before), (last, after) = ticks[0], ticks[-1]
    print_measured(size, (last - first) / (after - before), time.perf_counter() - began)


def print_measured(size: Size, seconds: float, in_all: float) -> None:
    """Print what the process that asked for it reads."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"size": size, "seconds": seconds, "all_seconds": in_all, "gib": peak}))


if __name__ == "__main__":
    main()
