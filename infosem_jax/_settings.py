"""Settings of methods, changed by name as from a table of a file."""

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from difflib import get_close_matches
from typing import Any


def changed(name: str, default: Any, settings: Mapping[str, Any]) -> Any:
    """Return settings with some values changed.

    Parameters
    ----------
    name
        Of the method, for messages.
    default
        Its settings, a frozen dataclass.
    settings
        Values by name of setting; lists become tuples, and whole numbers floats, as the default is.

    Raises
    ------
    ValueError
        On unknown names, values of another type than the default's, and whatever the settings
        themselves refuse.
    """
    known = [field.name for field in fields(default)]
    for key in settings:
        if key not in known:
            raise ValueError(f"{name} has no setting {key!r}; {hint(key, known)}")
    typed = {
        key: _typed(f"{name}.{key}", value, getattr(default, key))
        for key, value in settings.items()
    }
    return replace(default, **typed)


def hint(name: str, known: Iterable[str]) -> str:
    """Say which name may have been meant, or which there are."""
    known = list(known)
    near = get_close_matches(name, known, n=1, cutoff=0.4)
    return f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(known)}."


def _typed(name: str, value: Any, like: Any) -> Any:
    if isinstance(like, tuple) and isinstance(value, list | tuple):
        return tuple(value)
    if isinstance(like, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type(like):
        raise ValueError(f"{name}: expected a value like {like!r}, found {value!r}.")
    return value
