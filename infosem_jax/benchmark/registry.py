"""Methods and data sets chosen by name."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from infosem_jax._settings import hint

T = TypeVar("T")


def choose(kind: str, names: Sequence[str], known: Mapping[str, T]) -> dict[str, T]:
    """Return what is known by some names, in their order; all of it where no name is given.

    Parameters
    ----------
    kind
        What is named, such as ``method``.
    names
        Which of it.
    known
        All there is, by name.

    Raises
    ------
    ValueError
        If nothing is known by a name.
    """
    for name in names:
        if name not in known:
            raise ValueError(f"There is no {kind} {name!r}; {hint(name, known)}")
    return {name: known[name] for name in names or known}
