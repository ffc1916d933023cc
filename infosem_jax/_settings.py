"""Methods by name, and their settings, changed by name as from a table of a file."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass, replace
from difflib import get_close_matches
from typing import Any, Literal, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


class Method(NamedTuple):
    """A way to solve the task of a system, as its registry of methods holds it.

    Attributes
    ----------
    function
        Maps a task, a seed if it is random, and settings if it has some, to what it predicts.
    about
        What it is, in a sentence.
    settings
        A frozen dataclass; None of methods that have none.
    quick
        Settings that make it small, for trials and tests.
    random
        Whether the seed changes what it gives.
    control
        Whether it predicts without what others predict from: what these must beat.
    affine
        Whether predictions are affine in the inputs.
    """

    function: Callable[..., Any]
    about: str
    settings: Any = None
    quick: Mapping[str, Any] = {}
    random: bool = True
    control: bool = False
    affine: bool = False

    def predict(self, task: Any, seed: int) -> Any:
        """Solve a task."""
        seeds = (seed,) if self.random else ()
        settings = () if self.settings is None else (self.settings,)
        return self.function(task, *seeds, *settings)

    @property
    def record(self) -> dict[str, str]:
        """What a run goes on with only if it is the same."""
        return {"about": self.about}


def every(methods: Mapping[str, Method], *, quick: bool = False) -> dict[str, Method]:
    """Return every method by name; ``quick`` ones are small, for trials and tests."""
    return {
        name: configured(methods, name, m.quick if quick else {}) for name, m in methods.items()
    }


def configured(
    methods: Mapping[str, Method], name: str, settings: Mapping[str, Any] | None = None
) -> Method:
    """Return a method with some of its settings changed.

    Parameters
    ----------
    methods
        Where it is found.
    name
        Its name there.
    settings
        Settings by name, as from a table of a TOML file.

    Raises
    ------
    ValueError
        If there is no such method or setting, or a value does not fit.
    """
    method = choose("method", [name], methods)[name]
    if method.settings is not None:
        return method._replace(settings=changed(name, method.settings, settings or {}))
    if settings:
        raise ValueError(f"{name} has no settings, found {', '.join(settings)}.")
    return method


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


def changed(name: str, default: Any, settings: Mapping[str, Any]) -> Any:
    """Return settings with some values changed.

    Parameters
    ----------
    name
        Of the method, for messages.
    default
        Its settings, a frozen dataclass.
    settings
        Values by name of setting; lists become tuples, whole numbers floats, and tables settings,
        as the default is.

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


def values_given(settings: Any) -> dict[str, Any]:
    """Return the fields of settings that have a value, by name: TOML has no word for none."""
    return {name: value for name, value in asdict(settings).items() if value is not None}


def check(
    settings: Any,
    *,
    least: Mapping[int, Sequence[str]] = {},
    above: Mapping[int, Sequence[str]] = {},
    below: Mapping[int, Sequence[str]] = {},
) -> None:
    """Refuse settings out of range, and those that are not among the choices of their type.

    Parameters
    ----------
    settings
        A dataclass, whose choices are annotated as ``Literal``.
    least, above, below
        Bounds, with the names of the settings that must be at least, above or below them if they
        have a value.

    Raises
    ------
    ValueError
        On the first that does not fit.
    """
    for name, kind in get_type_hints(type(settings)).items():
        value, choices = getattr(settings, name), get_args(kind)
        if get_origin(kind) is Literal and value not in choices:
            raise ValueError(f"{name}: expected one of {', '.join(choices)}, found {value!r}.")
    for words, bounds, fits in (
        ("at least", least, lambda value, bound: value >= bound),
        ("a number above", above, lambda value, bound: value > bound),
        ("a number below", below, lambda value, bound: value < bound),
    ):
        for bound, names in bounds.items():
            for name in names:
                value = getattr(settings, name)
                if value is not None and not fits(value, bound):
                    raise ValueError(f"{name}: expected {words} {bound}, found {value}.")


def hint(name: str, known: Iterable[str]) -> str:
    """Say which name may have been meant, or which there are."""
    known = list(known)
    near = get_close_matches(name, known, n=1, cutoff=0.4)
    return f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(known)}."


def _typed(name: str, value: Any, like: Any) -> Any:
    if is_dataclass(like) and isinstance(value, Mapping):
        return changed(name, like, value)
    if isinstance(like, tuple) and isinstance(value, list | tuple):
        return tuple(value)
    if isinstance(like, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type(like):
        raise ValueError(f"{name}: expected a value like {like!r}, found {value!r}.")
    return value
