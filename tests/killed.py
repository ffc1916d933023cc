"""Run a command that is killed again and again, in the midst of saving or right after.

    python killed.py KILLS WORDS...

Each run is a fork of this process, so that the package is imported once.
"""

import os
import random
import signal
import sys

from infosem_jax.cli.app import app


def main(kills: int, words: list[str]) -> None:
    moments = random.Random(0)
    for _ in range(kills):
        status = run(words, moments.randint(1, 2), after=moments.random() < 0.6)
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (
            f"a run ended by itself (status {status}): give it more to do"
        )
    assert run(words, 0, after=False) == 0


def run(words: list[str], at: int, *, after: bool) -> int:
    """Run the command in a process that ends itself when it saves for the given time."""
    if child := os.fork():
        return os.waitpid(child, 0)[1]
    replace, saved = os.replace, 0

    def count(source, target) -> None:
        nonlocal saved
        saved += ".checkpoint" in str(target)
        if saved == at and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)
        if saved == at:
            os.kill(os.getpid(), signal.SIGKILL)

    if at:
        os.replace = count
    try:
        app(words)
    except SystemExit as end:
        os._exit(int(end.code or 0))
    os._exit(1)


if __name__ == "__main__":
    # What every run needs is imported before the first.
    from infosem_jax import embedding, expression, grn, perturbation  # noqa: F401

    main(int(sys.argv[1]), sys.argv[2:])
