"""Signals that end training once it has been saved."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Interrupted(Exception):
    """Training was asked to stop, and has been saved."""


@contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """Turn SIGTERM and Ctrl-C into a wish to stop, which the block can ask for.

    A second signal ends the process at once. Outside the main thread signals are left alone.
    """
    asked = threading.Event()
    signals = (signal.SIGTERM, signal.SIGINT)

    def handle(number, frame):
        asked.set()
        for each in signals:
            signal.signal(each, signal.SIG_DFL)

    with handled(handle, *signals):
        yield asked.is_set


@contextmanager
def handled(handler: Callable[..., Any], *signals: int) -> Iterator[None]:
    """Let a function handle signals while the block lasts; outside the main thread, leave them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {each: signal.signal(each, handler) for each in signals}
    try:
        yield
    finally:
        for each, earlier in previous.items():
            signal.signal(each, earlier)
