"""What all commands share: how errors and tables are shown, and which devices compute."""

import logging
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from infosem_jax.engine.interrupts import Interrupted
from infosem_jax.outputs.folder import check_file as check_file
from infosem_jax.outputs.folder import check_folder as check_folder
from infosem_jax.outputs.folder import locked

LOGGER = "infosem_jax"

CompileCache = Annotated[
    Path | None,
    typer.Option(help="Private folder for compiled programs, to start faster next time."),
]


@contextmanager
def plain_errors(out: Path | None = None) -> Iterator[None]:
    """Show what went wrong and what to do, instead of a traceback; and log to the terminal.

    Parameters
    ----------
    out
        Where the command writes; another process that writes there is refused.
    """
    logger = logging.getLogger(LOGGER)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    try:
        with _termination_as_interrupt(), nullcontext() if out is None else locked(out):
            yield
    except Interrupted as error:
        typer.echo(f"Saved in {error}; the same command with --resume goes on.", err=True)
        raise typer.Exit(130) from error
    except KeyboardInterrupt as error:
        typer.echo("Stopped; nothing was saved.", err=True)
        raise typer.Exit(130) from error
    except (ValueError, TypeError, OSError, ImportError, FloatingPointError) as error:
        typer.secho(f"Error: {error}", fg=typer.colors.RED, err=True)
        raise typer.Exit(2) from error
    finally:
        logger.removeHandler(handler)


@contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def note(text: str) -> None:
    """Show a note on the standard error, unless the user wants quiet."""
    logging.getLogger(LOGGER).info("%s", text)


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

    from infosem_jax.engine.layout import usable_cores

    if compile_cache is not None:
        # Whoever can write to the cache can run code here: keep others out.
        if compile_cache.exists() and not compile_cache.is_dir():
            raise ValueError(f"{compile_cache}: expected a folder, found a file.")
        compile_cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Windows tells nothing of others in the mode.
        if os.name == "posix" and compile_cache.stat().st_mode & 0o022:
            raise ValueError(
                f"{compile_cache}: others may write to this folder, and so run programs as you; "
                "choose one of your own (chmod go-w)."
            )
        jax.config.update("jax_compilation_cache_dir", str(compile_cache))
    if not distributed:
        if "JAX_NUM_CPU_DEVICES" not in os.environ:
            jax.config.update("jax_num_cpu_devices", usable_cores())
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


def words(text: str) -> list[str]:
    """Return the words of an option, which commas part, each once."""
    return list(dict.fromkeys(filter(None, (part.strip() for part in text.split(",")))))


def named(
    given: list[str] | None,
    option: str,
    kind: Callable[[str], Any] = str,
    form: str = "NAME=VALUE",
) -> list[tuple[str, Any]]:
    """Return names and values of an option that is given as NAME=VALUE, again for more.

    Parameters
    ----------
    given
        As it was given.
    option
        Its name, for messages.
    kind
        Makes a value of its text.
    form
        How it should look, for messages.

    Raises
    ------
    ValueError
        If it is given in another form.
    """
    pairs = []
    for spec in given or []:
        name, _, value = spec.partition("=")
        try:
            pairs.append((name, kind(value)))
        except ValueError:
            value = ""
        if not (name and value):
            raise ValueError(f"{option}: expected {form}, found {spec!r}.")
    return pairs


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


def read_settings(path: Path | None, method: str) -> dict[str, Any]:
    """Read the table of a method from a TOML file, which may hold that of a run beside it.

    Raises
    ------
    ValueError
        If it is no TOML file, or holds other tables.
    """
    import tomllib

    if path is None:
        return {}
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a TOML file ({error}).") from error
    # What a fit has written names its run too.
    other = [name for name in tables if name not in (method, "run")]
    if other or not isinstance(tables.get(method, {}), dict):
        raise ValueError(
            f"{path}: expected a table [{method}], found {', '.join(other) or 'a value'}."
        )
    return tables.get(method, {})


def record_of(command: str, given: dict[str, Any], **found: Any) -> dict[str, Any]:
    """Return a command and its options as TOML and JSON can hold them, to record a result.

    Parameters
    ----------
    command
        Its name.
    given
        Its options by name; where results go, and whether they replace others, is left out.
    found
        Values that take the place of those given.
    """
    values: dict[str, Any] = {"command": command}
    for name, value in given.items():
        if isinstance(value, list | tuple):
            values[name] = [str(part) for part in value]
        elif name not in ("out", "config", "resume", "save_every", "overwrite"):
            values[name] = value if isinstance(value, bool | int | float) else str(value or "")
    return values | found


def write_record(folder: Path, tables: dict[str, Any], versions: dict[str, str]) -> None:
    """Write settings to ``config.toml``, empty tables left out, and ``versions.json``."""
    import json

    import tomli_w

    tables = {name: table for name, table in tables.items() if table}
    (folder / "config.toml").write_text(tomli_w.dumps(tables), encoding="utf-8")
    (folder / "versions.json").write_text(json.dumps(versions, indent=2) + "\n", encoding="utf-8")
