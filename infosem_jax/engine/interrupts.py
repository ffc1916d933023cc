"""Signals that end training once it has been saved."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Interrupted(Exception):
    """Training was asked to stop, and has been saved."""


@contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """Turn SIGTERM and Ctrl-C into a wish to stop, which the block can ask for.

    A second signal ends the process at once. Outside the main thread signals are left alone.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    signals = (signal.SIGTERM, signal.SIGINT)

    def handle(number, frame):
        asked.set()
        for each in signals:
            signal.signal(each, signal.SIG_DFL)

    previous = {each: signal.signal(each, handle) for each in signals}
    try:
        yield asked.is_set
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)
