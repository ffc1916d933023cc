"""What every benchmark script shares: its options, and how its figures are recorded."""

import argparse
import importlib.util
import json
import math
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from infosem_jax.engine.types import Progress

PACKAGES = ("jax", "numpyro", "flax", "optax", "infosem_jax")


class Figure(NamedTuple):
    """One measured number.

    Attributes
    ----------
    name, value, unit
        What was measured; ratios have the unit ``ratio``.
    better
        Which way is an improvement.
    target
        What is to be reached; None where there is no such number.
    low, high
        Its interval of 95 %; None where none was computed.
    """

    name: str
    value: float
    unit: str
    better: Literal["higher", "lower"]
    target: float | None = None
    low: float | None = None
    high: float | None = None


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return the options of every benchmark: ``--quick`` and ``--json FILE``."""
    options = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--quick", action="store_true", help="a small run, below 3 minutes")
    options.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    return options


def benchmark_parser(description: str | None, *, seeds: int) -> argparse.ArgumentParser:
    """Return the options of scripts that run a benchmark, or read one that was run before."""
    options = parser(description)
    options.add_argument("--out", type=Path, help="folder for the results of a run")
    options.add_argument("--from", dest="earlier", type=Path, help="folder of an earlier run")
    options.add_argument("--seeds", type=int, default=seeds)
    options.add_argument("--resume", action="store_true")
    return options


def cells_of(
    arguments: argparse.Namespace,
    read: Callable[[Path], list[Any]],
    compute: Callable[[argparse.Namespace], list[Any]],
) -> list[Any]:
    """Return the cells of a benchmark that is run now, or was run before.

    Parameters
    ----------
    arguments
        Those of `benchmark_parser`.
    read
        Reads the cells of a folder.
    compute
        Runs the benchmark on all cores.
    """
    if (arguments.out is None) == (arguments.earlier is None):
        sys.exit("Give a folder: --out DIR to run the benchmark, or --from DIR to read one.")
    if arguments.earlier is None:
        from infosem_jax.engine.layout import usable_cores

        jax.config.update("jax_num_cpu_devices", usable_cores())
        return compute(arguments)
    cells = read(arguments.earlier)
    if not cells:
        sys.exit(f"{arguments.earlier} holds no results of this benchmark.")
    return cells


def data_folder(name: str, example: str) -> Path:
    """Return a folder of INFOSEM_DATA; an example says what it should hold."""
    folder = Path(os.environ.get("INFOSEM_DATA", "")) / name
    if not folder.is_dir():
        sys.exit(f"Set INFOSEM_DATA to a folder that holds {example}.")
    return folder


def paired_texts(row: dict[Any, Any]) -> tuple[str, str, str]:
    """Write ratio, difference and wins of a row of `infosem_jax.grn.paired.paired`."""
    ratio, difference = (
        tuple(row[f"{kind}{end}"] for end in ("", "_low", "_high"))
        for kind in ("ratio", "difference")
    )
    return (
        "{:.2f} [{:.2f}, {:.2f}]".format(*ratio),
        "{:+.3f} [{:+.3f}, {:+.3f}]".format(*difference),
        f"{row['won']} of {row['pairs']}",
    )


def print_progress(progress: "Progress") -> None:
    """Print how far a run is."""
    print(f"{progress.done} of {progress.total} cells; {progress.text}", file=sys.stderr)


def run(main: Callable[[], None]) -> None:
    """Run a script; what it refuses, and where it was stopped, is said in a line."""
    from infosem_jax.engine.interrupts import Interrupted

    try:
        main()
    except Interrupted as error:
        sys.exit(f"Stopped; {error} holds what was computed, and --resume goes on.")
    except ValueError as error:
        sys.exit(f"Error: {error}")


def installed(package: str, part: str) -> bool:
    """Tell whether a package to compare with is there, and say what is left out if it is not."""
    found = importlib.util.find_spec(package) is not None
    if not found:
        print(f"{part}: left out, {package} is not installed (pip install 'infosem_jax[peers]').")
    return found


def check_agreement(loss_error: float, gradient_error: float) -> None:
    """Print how far two forms of an objective differ, and stop where they are not the same."""
    print(
        f"Same parameters, same random numbers: the loss differs by {loss_error:.1e}, the gradient "
        f"by {gradient_error:.1e} at most (relative, any parameter)."
    )
    if max(loss_error, gradient_error) > 1e-3:
        sys.exit("PyTorch and JAX do not compute the same objective: no comparison is made.")


def report(figures: list[Figure], arguments: argparse.Namespace) -> None:
    """Print the figures, and write them with all that they depend on.

    Parameters
    ----------
    figures
        What was measured. Numbers that are not finite are written as null.
    arguments
        Those of `parser`. The record, written to their ``json``, holds ``command``, ``settings``
        (the options, defaults included), ``date``, ``commit``, ``hardware``, ``versions`` and
        ``figures``.
    """
    print_table(
        ("figure", "value", "95 %", "unit", "better", "target"),
        [
            (
                f.name,
                f"{f.value:.4g}",
                "" if f.low is None or f.high is None else f"{f.low:.4g} to {f.high:.4g}",
                f.unit,
                f.better,
                "" if f.target is None else f"{f.target:.4g}",
            )
            for f in figures
        ],
    )
    if arguments.json is None:
        return
    hidden = ("json", "out", "earlier")
    record = {
        "command": _command(sys.argv),
        "settings": {k: str(v) for k, v in vars(arguments).items() if k not in hidden},
        "date": date.today().isoformat(),
        "commit": _commit(),
        "hardware": hardware(),
        "versions": versions(),
        "figures": [_finite(figure) for figure in figures],
    }
    arguments.json.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")


def print_table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print rows under column names; numbers come as text."""
    table = Table(*columns)
    for row in rows:
        table.add_row(*row)
    # Where the output is no terminal, its width is unknown: long names must not be cut there.
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def hardware() -> dict[str, Any]:
    """Describe the machine: processor, cores to be used, memory in GiB, and the device of JAX."""
    from infosem_jax.engine.layout import usable_cores

    device = jax.devices()[0]
    return {
        "cpu": _cpu_model(),
        "cores": usable_cores(),
        "memory_gib": _memory_gib(),
        "device": f"{jax.device_count()} x {device.device_kind} ({device.platform})",
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide speed and results."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def _command(words: list[str]) -> str:
    """Return the command that gives these figures again, with folders of its own."""
    kept, rest = [f"benchmarks/{Path(words[0]).name}"], iter(words[1:])
    for word in rest:
        if word in ("--json", "--out", "--from"):
            next(rest)
            kept += [] if word == "--json" else [word, "DIR"]
        elif word != "--resume":
            kept.append(word)
    return shlex.join(["python", *kept])


def _finite(figure: Figure) -> dict[str, Any]:
    """Return what is known of a figure."""
    known = {k: v for k, v in figure._asdict().items() if k == "value" or v is not None}
    return {k: v if isinstance(v, str) or math.isfinite(v) else None for k, v in known.items()}


def _commit() -> str:
    """Return the commit of the source, and whether it was changed since."""
    describe = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # a copy of the source without its history
        return "unknown"


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):  # names that not every system has
        return None
