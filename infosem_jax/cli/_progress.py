"""How far a command is, as a bar with the time left, or as lines in a log."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer

from infosem_jax.cli._common import LOGGER, note

SLOW_COMPILATION = 30.0  # seconds


@contextmanager
def progress(total: int, unit: str) -> Iterator[Any]:
    """Show a bar with the time left, or in a log a line a minute; yields ``update(done, text)``.

    Nothing is shown where the user wants quiet.
    """
    if logging.getLogger(LOGGER).level > logging.INFO:
        yield lambda done, text: None
        return
    compiling = threading.Timer(SLOW_COMPILATION, note, [_COMPILING])
    compiling.daemon = True
    compiling.start()
    try:
        with _shown(total, unit) as update:

            def told(done: float | int, text: str) -> None:
                compiling.cancel()
                update(done, text)

            yield told
    finally:
        compiling.cancel()


_COMPILING = "Still compiling, which happens once for data and settings of these sizes."


@contextmanager
def _shown(total: int, unit: str) -> Iterator[Callable[[float, str], None]]:
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
    console = Console(stderr=True)
    if not console.is_terminal:
        log = _Log(total, unit)
        yield log.update
        log.end()
        return
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("compiling", total=total)

        def update(done: float | int, text: str) -> None:
            bar.update(task, completed=done, description=text)

        yield update


class _Log:
    """Lines of progress for files and pipes, where a bar that redraws itself cannot be read."""

    def __init__(self, total: int, unit: str, every: float = 60.0) -> None:
        self.total, self.unit, self.every = total, unit, every
        self.last = time.monotonic()
        # Time and progress of the first report: what was before went into compiling.
        self.first: tuple[float, float] | None = None
        self.waiting = ""

    def update(self, done: float | int, text: str) -> None:
        """Write a line, unless one was written within the last ``every`` seconds."""
        now = time.monotonic()
        if self.first is None and done > 0:
            self.first = now, done
        left = "?" if done < self.total else "0 s"
        if self.first is not None and done > self.first[1]:
            began, before = self.first
            left = f"{(now - began) * (self.total - done) / (done - before):.0f} s"
        self.waiting = f"{done:.0f}/{self.total} {self.unit}, {left} left, {text}"
        if now - self.last >= self.every:
            self.last = now
            self.end()

    def end(self) -> None:
        """Write the line that waits, if there is one."""
        if self.waiting:
            typer.echo(self.waiting, err=True)
        self.waiting = ""
