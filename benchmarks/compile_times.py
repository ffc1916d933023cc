"""How long a group of fits takes to compile, cold and with programs cached on disk.

Each kind of prior is fitted for one epoch in a process of its own, at the size of TFs+500, and the
time that JAX spends on tracing, lowering and compiling is read from its own events. A second
process finds the programs in a cache on disk.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from typing import Any

from _record import Figure, parser, print_table, report

GENES, REGULATORS, CELLS = 900, 400, 400
PRIORS = ("none", "B", "C", "BC")
QUICK = ("none", "BC")
TARGET = 20.0


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--one", help=argparse.SUPPRESS)
    options.add_argument("--cache", help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.one:
        measure(arguments.one, arguments.cache)
        return
    rows, figures = [], []
    for name in QUICK if arguments.quick else PRIORS:
        with tempfile.TemporaryDirectory() as cache:
            cold, warm = (measured(name, cache) for _ in range(2))
        cold_seconds, warm_seconds = (one["compile"] + one["trace"] for one in (cold, warm))
        rows.append(
            (
                name,
                f"{cold['compile']:.1f} s",
                f"{cold['trace']:.1f} s",
                f"{cold['fit']:.1f} s",
                f"{warm_seconds:.1f} s",
                f"{warm['fit']:.1f} s",
            )
        )
        cold_name = f"compile_times: {name}, cold, compilation and tracing"
        figures += [
            Figure(cold_name, cold_seconds, "s", "lower", TARGET),
            Figure(
                f"compile_times: {name}, cold / cached",
                cold_seconds / warm_seconds,
                "ratio",
                "higher",
            ),
        ]
    columns = ("prior", "compiled", "traced and lowered", "whole first fit")
    print_table((*columns, "compiled and traced, cached", "whole fit, cached"), rows)
    report(figures, arguments)


def measured(name: str, cache: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", name, "--cache", cache]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(name: str, cache: str) -> None:
    """Fit one epoch with a prior and print where the seconds went."""
    import jax

    spent = {"compile": 0.0, "trace": 0.0}

    def listen(event: str, seconds: float, **_: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            spent["compile"] += seconds
        elif event.startswith("/jax/core/compile/"):
            spent["trace"] += seconds

    jax.monitoring.register_event_duration_secs_listener(listen)  # pyright: ignore[reportArgumentType]
    jax.config.update("jax_compilation_cache_dir", cache)
    from infosem_jax.data.simulate import SimulationConfig, simulate
    from infosem_jax.grn import Config, fit, variant

    sizes = SimulationConfig(genes=GENES, regulators=REGULATORS, cells=CELLS)
    simulation = simulate(sizes, 0)
    priors = variant(name, embedding=simulation.embedding, known=simulation.known)
    spent.update(compile=0.0, trace=0.0)
    began = time.perf_counter()
    fit(simulation.data, priors["effect"], priors["edge"], config=Config(epochs=3))
    print(json.dumps({**spent, "fit": time.perf_counter() - began}))


if __name__ == "__main__":
    main()
