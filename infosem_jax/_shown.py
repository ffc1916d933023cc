"""How results print: a few lines of text, and a table in notebooks."""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from html import escape
from typing import Any, TypeVar, get_args

import numpy as np

Class = TypeVar("Class", bound=type)
NAMES = 3
CHARACTERS = 90


def shown(*names: str) -> Callable[[Class], Class]:
    """Let a NamedTuple print some of its fields, a line each, and as a table in notebooks.

    Arrays are told by their axes, names by their number and the first of them, settings by those
    that are not at their defaults; fields that are None or empty are left out.

    Parameters
    ----------
    names
        Which fields, at most seven.
    """

    def decorate(cls: Class) -> Class:
        axes = {name: _axes(cls.__annotations__[name]) for name in names}

        def lines(self: Any) -> dict[str, str]:
            told = {name: _told(getattr(self, name), axes[name]) for name in names}
            return {name: text for name, text in told.items() if text}

        def as_text(self: Any) -> str:
            told = lines(self)
            if len(told) < 2:
                return f"{_title(self)}({', '.join(f'{k}: {v}' for k, v in told.items())})"
            width = max(map(len, told))
            return "\n  ".join([_title(self), *(f"{k:{width}}  {v}" for k, v in told.items())])

        def as_table(self: Any) -> str:
            cell = '<td style="text-align: left">{}</td>'.format
            rows = (f"<tr>{cell(k)}{cell(escape(v))}</tr>" for k, v in lines(self).items())
            return f"<table><caption>{escape(_title(self))}</caption>{''.join(rows)}</table>"

        cls.__repr__ = as_text  # pyright: ignore[reportAttributeAccessIssue]
        cls._repr_html_ = as_table
        return cls

    return decorate


def _title(value: Any) -> str:
    name = getattr(value, "name", "")
    kind = type(value).__name__
    return f"{kind} {name}" if name and isinstance(name, str) else kind


def _axes(annotation: Any) -> tuple[str, ...]:
    """Return the axes that the annotation of an array names."""
    for part in (annotation, *get_args(annotation)):
        if dims := getattr(part, "dim_str", ""):
            return tuple(dims.split())
    return ()


def _told(value: Any, axes: tuple[str, ...]) -> str:
    """Tell of a value in a line."""
    if hasattr(value, "columns"):
        return f"{len(value):,} rows: {', '.join(map(str, value.columns))}"
    if hasattr(value, "shape"):
        shape = value.shape
        named = axes if len(axes) == len(shape) else [""] * len(shape)
        return " × ".join(f"{n:,} {axis}".strip() for n, axis in zip(shape, named, strict=True))
    if is_dataclass(value) and not isinstance(value, type):
        return _settings(value)
    if isinstance(value, Mapping):
        return _short(", ".join(_entry(*entry) for entry in value.items()))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return repr(value).partition("\n")[0]
    if isinstance(value, tuple | list):
        first = ", ".join(map(_item, value[:NAMES]))
        return f"{len(value):,}: {first}{', ...' if len(value) > NAMES else ''}" if value else ""
    if isinstance(value, float | np.floating):
        return f"{value:,.4g}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _entry(key: Any, value: Any) -> str:
    if isinstance(value, float | int):
        return f"{key}={value:.4g}"
    return f"{key} ({_told(value, ())})" if isinstance(value, Mapping | str) and value else str(key)


def _item(value: Any) -> str:
    return _short("+".join(map(str, value)) if isinstance(value, tuple) else str(value))


def _short(text: str) -> str:
    return text if len(text) <= CHARACTERS else f"{text[:CHARACTERS]}..."


def _settings(value: Any) -> str:
    """Write settings that are not at their defaults."""
    usual = type(value)()
    changed = (
        f"{f.name}={getattr(value, f.name)!r}"
        for f in fields(value)
        if getattr(value, f.name) != getattr(usual, f.name)
    )
    return f"{type(value).__name__}({_short(', '.join(changed))})"
