"""What all commands share: how errors, progress and tables are shown, and which devices compute."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer


@contextmanager
def plain_errors() -> Iterator[None]:
    """Show what went wrong and what to do, instead of a traceback; and log to the terminal."""
    logger = logging.getLogger("infosem_jax")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    except (ValueError, TypeError, OSError, ImportError, FloatingPointError) as error:
        typer.secho(f"Error: {error}", fg=typer.colors.RED, err=True)
        raise typer.Exit(2) from error
    finally:
        logger.removeHandler(handler)


@contextmanager
def progress(total: int, unit: str) -> Iterator[Any]:
    """Show a bar with the time left; yields ``update(done, text)``."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.completed:.0f}/{task.total}"),
        TextColumn(unit),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("compiling", total=total)
        yield lambda done, text: bar.update(task, completed=done, description=text)


def start_devices(distributed: bool, compile_cache: Path | None) -> None:
    """Let JAX use every core as a device of its own, or every process of a cluster.

    Parameters
    ----------
    distributed
        Join the processes of a cluster, as SLURM, Open MPI or environment variables tell.
    compile_cache
        Folder for compiled programs; it is made if there is none.

    Raises
    ------
    ValueError
        If others may write to that folder, or there is no cluster to join.
    """
    import os

    import jax

    if compile_cache is not None:
        # Whoever can write to the cache can run code here: keep others out.
        if compile_cache.exists() and not compile_cache.is_dir():
            raise ValueError(f"{compile_cache}: expected a folder, found a file.")
        compile_cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        if compile_cache.stat().st_mode & 0o022:
            raise ValueError(
                f"{compile_cache}: others may write to this folder, and so run programs as you; "
                "choose one of your own (chmod go-w)."
            )
        jax.config.update("jax_compilation_cache_dir", str(compile_cache))
    if not distributed:
        if "JAX_NUM_CPU_DEVICES" not in os.environ:
            jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))
        return
    names = {
        "coordinator_address": "JAX_COORDINATOR_ADDRESS",
        "num_processes": "JAX_NUM_PROCESSES",
        "process_id": "JAX_PROCESS_ID",
    }
    given = {field: os.environ[name] for field, name in names.items() if name in os.environ}
    missing = [name for field, name in names.items() if field not in given]
    if given and missing:
        raise ValueError(
            f"--distributed: expected {', '.join(missing)} in the environment as well."
        )
    if given and not given["coordinator_address"].rpartition(":")[2].isdecimal():
        raise ValueError(
            f"{names['coordinator_address']}: expected HOST:PORT, found "
            f"{given['coordinator_address']!r}."
        )
    try:
        jax.distributed.initialize(
            coordinator_address=given.get("coordinator_address"),
            num_processes=int(given["num_processes"]) if given else None,
            process_id=int(given["process_id"]) if given else None,
        )
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            "--distributed: cannot join a cluster; run under SLURM, Open MPI or on TPUs, or set "
            f"{', '.join(names.values())} ({error})."
        ) from error


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
    """Print a table; the names in its first column stay whole."""
    from rich.console import Console
    from rich.table import Table

    first, *others = columns
    table = Table(title=title or None)
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
