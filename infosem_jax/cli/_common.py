"""What all commands share: how errors, notes and tables are shown, and words of options."""

import logging
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import typer

from infosem_jax.engine.interrupts import Interrupted, handled
from infosem_jax.outputs.folder import check_file as check_file
from infosem_jax.outputs.folder import check_folder as check_folder
from infosem_jax.outputs.folder import locked

LOGGER = "infosem_jax"


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
    handler.addFilter(_Once())
    logger.addHandler(handler)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    try:
        # SIGTERM ends a command as Ctrl-C does.
        with (
            handled(signal.default_int_handler, signal.SIGTERM),
            nullcontext() if out is None else locked(out),
        ):
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


class _Once(logging.Filter):
    """Leaves out lines that were shown already, as of a prior that is bound for every fit."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        fresh = text not in self.shown
        self.shown.add(text)
        return fresh


def file_of(folder: Path, name: str, command: str) -> Path:
    """Return a file of the folder that another command wrote.

    Raises
    ------
    ValueError
        If it is not there.
    """
    if not (folder / name).is_file():
        raise ValueError(f"{folder}: expected a folder of {command}, with its {name}.")
    return folder / name


def note(text: str) -> None:
    """Show a note on the standard error, unless the user wants quiet."""
    logging.getLogger(LOGGER).info("%s", text)


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


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    title: str = "",
    *,
    phrases: bool = False,
) -> None:
    """Print a table; the names in its first column stay whole, or the numbers beside phrases.

    Parameters
    ----------
    columns, rows, title
        Of the table.
    phrases
        Whether the first column holds phrases, which may be wrapped, beside numbers.
    """
    from rich.console import Console
    from rich.table import Table

    first, *others = columns
    table = Table(title=title or None)
    table.add_column(first, no_wrap=not phrases)
    for name in others:  # words longer than a column are not cut
        table.add_column(name, overflow="fold", no_wrap=phrases)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
