"""Training saved now and then, and gone on from."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from infosem_jax import _typing
from infosem_jax.engine.checkpoint import check_writable, load, read_record, save
from infosem_jax.engine.interrupts import Interrupted, interrupts
from infosem_jax.engine.training import to_host
from infosem_jax.engine.types import Losses


class Saver:
    """Saves the groups of a grid to a folder while they train, and hands back what it finds there.

    Parameters
    ----------
    folder
        Where checkpoints lie, one file per group.
    versions
        Versions of the software; a checkpoint of others is refused, as it would not go on alike.
    resume
        Whether to go on from checkpoints in the folder.
    every
        Seconds between two checkpoints.
    stop
        Asked after every chunk: whether to save and stop. If None, whether SIGTERM or Ctrl-C came
        since training began, see `listening`.
    """

    def __init__(
        self,
        folder: _typing.Path,
        versions: dict[str, str],
        *,
        resume: bool = False,
        every: float = 60.0,
        stop: Callable[[], bool] | None = None,
    ):
        self.folder = Path(folder)
        self._versions, self._resume, self._every, self._stop = versions, resume, every, stop
        self._path = self.folder
        self._identity: dict[str, Any] = {}
        self._saved = 0.0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Let signals end the training in the block once it is saved, unless others listen."""
        if self._stop is not None:
            yield
            return
        with interrupts() as self._stop:
            try:
                yield
            finally:
                self._stop = None

    def open(
        self, group: int, state: Any, identity: Callable[[], dict[str, Any]]
    ) -> tuple[tuple[Any, Any], float] | None:
        """Prepare to save a group.

        Parameters
        ----------
        group
            Its number.
        state
            Shapes of its state.
        identity
            Returns all that the result depends on.

        Returns
        -------
        The saved state and losses, and the seconds they took; None where nothing was saved.

        Raises
        ------
        ValueError
            If nothing can be saved, or what was saved cannot be gone on from.
        """
        sizes = [leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)]
        check_writable(self.folder, sum(sizes))
        self._path = self.folder / f"group-{group:03d}.npz"
        self._identity = {**identity(), "versions": self._versions}
        self._saved = time.monotonic()
        if not (self._resume and self._path.exists()):
            return None
        record = read_record(self._path)
        shape = (jax.tree.leaves(state)[0].shape[0], record.get("segments", 0))
        losses: Any = jax.ShapeDtypeStruct(shape, np.float32)
        resumed = load(self._path, (state, Losses(losses, losses)), self._identity)
        return resumed, float(record["seconds"])

    def update(
        self,
        state_and_losses: tuple[Any, Any],
        seconds: float,
        segments: int,
        *,
        last: bool = False,
    ) -> None:
        """Save, if it is time to, or if training is to stop.

        Parameters
        ----------
        state_and_losses
            Of all fits of the group.
        seconds, segments
            Time that training took so far, and segments trained.
        last
            Whether training ends with these, which is worth saving at any time.

        Raises
        ------
        Interrupted
            If training is to stop; it has been saved.
        """
        wish = self._stop is not None and self._stop()
        stop, due = self._agree(wish, last or time.monotonic() - self._saved >= self._every)
        if not (stop or due):
            return
        state, losses = state_and_losses
        host = (jax.tree.map(to_host, state), losses)
        if jax.process_index() == 0:
            save(self._path, host, {**self._identity, "seconds": seconds, "segments": segments})
        self._saved = time.monotonic()
        if stop:
            raise Interrupted(str(self.folder))

    def forget(self, group: int) -> None:
        """Remove the checkpoint of a group whose results are safe."""
        if jax.process_index() == 0:
            (self.folder / f"group-{group:03d}.npz").unlink(missing_ok=True)

    def _agree(self, *wishes: bool) -> tuple[bool, ...]:
        """Let processes that compute together decide alike: what one wants, all do."""
        if jax.process_count() == 1:
            return wishes
        from jax.experimental import multihost_utils

        gathered = np.asarray(multihost_utils.process_allgather(np.asarray(wishes)))
        return tuple(bool(wish.any()) for wish in gathered.reshape(-1, len(wishes)).T)
