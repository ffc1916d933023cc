"""What the training loop is given and gives: objectives, schedules, fits, states, feeds."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

Params = dict[str, Any]


@runtime_checkable
class Objective(Protocol):
    """What is minimised; hashable, so that equal objectives share one compilation."""

    def view(self, shared: Any, own: Any) -> Any:
        """Return the data of one fit (see `Data`) from what all fits share and what is its own."""
        ...

    def init(self, key: Array, data: Any) -> Params:
        """Return starting parameters."""
        ...

    def loss(self, params: Params, key: Array, data: Any, cells: Any, epoch: Array) -> Array:
        """Return the cost of some `Cells`, scaled so that it does not depend on how many they are.

        Parameters
        ----------
        params
            Parameters of one fit.
        key
            Random numbers of this step.
        data
            What the fit learns from.
        cells
            Which cells are taken; None where a schedule has no batches, for the cost of all data.
        epoch
            Number of epochs done before.
        """
        ...

    def group(self, name: str) -> str:
        """Return the group of parameters that a parameter is trained with."""
        ...


class Extent(NamedTuple):
    """How many cells are at hand, and which part they are of all that a fit learns from.

    Attributes
    ----------
    n_rows
        Number of cells at hand with padding; fixed at compilation.
    n_cells, n_held_out
        Number of real cells at hand, and of those kept out of training.
    whole
        Number of training cells of the data that those at hand are a block of; None where they are
        all.
    segments
        Number of segments that make an epoch.
    """

    n_rows: int
    n_cells: Any
    n_held_out: Any = 0
    whole: Any = None
    segments: Any = 1

    @property
    def n_train(self) -> Any:
        """Number of cells at hand that train."""
        return self.n_cells - self.n_held_out

    @property
    def total(self) -> Any:
        """Number of training cells that those at hand stand for."""
        return self.n_train if self.whole is None else self.whole


class Data(Protocol):
    """What the engine asks of the data of one fit, where a schedule has batches."""

    @property
    def extent(self) -> Extent: ...  # noqa: D102


class Rows(NamedTuple):
    """Samples of one fit that all train, and make an epoch; those held out lie apart.

    Attributes
    ----------
    shared, own
        What all fits share, and what is the fit's own.
    index
        Which of the samples, [samples].
    """

    shared: Any
    own: Any
    index: Int[Array | np.ndarray, " samples"]

    @property
    def extent(self) -> Extent:
        """All samples."""
        return Extent(len(self.index), len(self.index))


class Cells(NamedTuple):
    """Which cells make a batch.

    Attributes
    ----------
    index
        Rows of the data, [batch].
    real
        False where the index is padding, [batch].
    total
        Number of cells that they stand for.
    """

    index: Int[Array, " batch"]
    real: Bool[Array, " batch"]
    total: Int[Array, ""]


StepRule: TypeAlias = str | optax.GradientTransformation


@dataclass(frozen=True)
class Schedule:
    """How training proceeds; every field is fixed at compilation.

    Attributes
    ----------
    optimisers
        Step rule of each group, as pairs: ``adam``, ``adam_clipped`` (by a norm of the group's
        gradient of at most 0.1) or ``rmsprop`` (decay 0.99, as in PyTorch), at the group's rate; or
        an optax transformation, whose updates are added as they are.
    phases
        Groups trained together and for how many epochs, repeated in turn.
    batch_size
        Cells per step; 0 where every step takes all data.
    steps
        Steps per segment, of the fit that has most.
    held_out
        Number of cells kept out of training, of the fit that has most.
    patience
        Epochs without a better held-out loss after which a fit is finished, its best parameters
        kept; 0 trains on and keeps the last ones.
    chunk
        Most segments between two returns to Python.
    """

    optimisers: tuple[tuple[str, StepRule], ...]
    phases: tuple[tuple[tuple[str, ...], int], ...]
    batch_size: int
    steps: int
    held_out: int = 0
    patience: int = 0
    chunk: int = 30


class Rate(NamedTuple):
    """How fast a group of parameters moves: its learning rate, and the factor on it per epoch."""

    rate: Float[Array | np.ndarray, "*fits"]
    decay: Float[Array | np.ndarray, "*fits"]


class Fits(NamedTuple):
    """What sets fits apart; every array has a leading axis of fits.

    Attributes
    ----------
    keys
        Random key of each fit.
    rates
        Rate of each group of parameters.
    own
        What the objective's ``view`` needs of each fit.
    """

    keys: Array
    rates: dict[str, Rate]
    own: Any


class TrainState(NamedTuple):
    """Everything that changes while a fit trains.

    Attributes
    ----------
    params, optimiser
        Parameters and the state of each group's step rule.
    best, best_loss, best_epoch
        Parameters, loss and epoch of the best held-out score so far.
    diverged
        First step whose loss or gradient was not finite, -1 if none; parameters rest from there on.
    """

    params: Params
    optimiser: dict[str, Any]
    best: Params
    best_loss: Float[Array, "*fits"]
    best_epoch: Int[Array, "*fits"]
    diverged: Int[Array, "*fits"]


class Losses(NamedTuple):
    """Mean training loss of each segment and held-out loss; NaN where not computed."""

    train: Float[Array | np.ndarray, "fits segments"]
    held_out: Float[Array | np.ndarray, "fits segments"]


class Progress(NamedTuple):
    """Where a fit stands, as ``on_chunk`` of every system is given it.

    Attributes
    ----------
    done, total
        How much is done and how much there is, in ``unit``.
    unit
        What is counted, such as ``epochs``.
    text
        What to show beside it, such as the loss.
    losses
        Losses so far of the fits that train now; None where a method has none.
    """

    done: float
    total: float
    unit: str
    text: str = ""
    losses: Losses | None = None

    def __str__(self) -> str:
        """Write a line, so that ``on_chunk=print`` shows progress."""
        done = f"{self.done:,.0f} of {self.total:,.0f} {self.unit}"
        return f"{done}; {self.text}" if self.text else done

    def of_fit(self, i: int, n: int) -> "Progress":
        """Count one fit, the ``i``-th of ``n``, in fits."""
        text = f"{self.unit} {self.done:.0f}, {self.text}"
        return Progress(i + self.done / self.total, n, "fits", text, self.losses)


class Chunk(NamedTuple):
    """Where training stands, between two calls of a compiled program.

    Attributes
    ----------
    done, segments
        Segments trained so far, and in all.
    losses
        Losses of the segments so far.
    state
        State of every fit; it is used up by the next chunk, so copy what is to be kept.
    """

    done: int
    segments: int
    losses: Losses
    state: TrainState


@runtime_checkable
class Feed(Protocol):
    """Where cells come from."""

    segments: int
    held_out: Any

    def __call__(self, first: int) -> Iterator[Any]:
        """Yield what fits share in each chunk, from a segment on."""
        ...


class Resident(NamedTuple):
    """Cells that lie on the device from the first to the last step: an epoch is one segment."""

    shared: Any
    segments: int = 1
    held_out: Any = None

    def __call__(self, first: int) -> Iterator[Any]:
        """Yield the same cells for ever."""
        while True:
            yield self.shared
