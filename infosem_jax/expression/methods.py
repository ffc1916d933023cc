"""Every method of inferring expression by name, its settings from tables, and its quick form."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from infosem_jax._settings import changed, hint
from infosem_jax.expression import baselines, model
from infosem_jax.expression.gate import learned_order
from infosem_jax.expression.selection import SELECTORS, Selector
from infosem_jax.expression.task import Method, Prediction

# Predict the same whatever the inputs; what a method must beat to have learned anything.
CONTROLS = frozenset({"mean"})
# Affine in the inputs, so that some probes of a fit tell all of it.
AFFINE = frozenset({"mean", "least_squares", "ridge"})

GRAPHS = frozenset(model.METHODS)

METHODS: dict[str, Method] = {**model.METHODS, **baselines.METHODS}
# What a comparison takes where nothing is asked for: variants of the graph network left out.
USUAL = ("graph", *baselines.METHODS)

ORDERS: dict[str, Selector] = {**SELECTORS, "gate": learned_order}


class _Settings(NamedTuple):
    """What a method's settings apply to, those it has, and the quick ones."""

    apply: Callable[..., Prediction]
    default: Any
    quick: dict[str, Any]


_SMALL_GRAPH = {"layers": 2, "channels": 8, "members": 1, "epochs": 20, "rate": 5e-3}
_SMALL_MLP = {"hidden": (32,), "epochs": 30, "learning_rate": 2e-3}

_CONFIGURED = {
    name: _Settings(model.infer, getattr(method.predict, "keywords", {})["config"], _SMALL_GRAPH)
    for name, method in model.METHODS.items()
} | {
    "mlp": _Settings(baselines.mlp, baselines.MLP_SETTINGS, _SMALL_MLP),
    "trees": _Settings(
        baselines.trees, baselines.TREES_SETTINGS, {"components": 2, "iterations": 5}
    ),
}


def methods(*, quick: bool = False) -> dict[str, Method]:
    """Return every method by name; ``quick`` ones are small, for a look and for tests."""
    if not quick:
        return dict(METHODS)
    return METHODS | {name: configured(name, own.quick)[0] for name, own in _CONFIGURED.items()}


def configured(name: str, settings: Mapping[str, Any] | None = None) -> tuple[Method, Any]:
    """Return a method with some of its settings changed, and all of its settings.

    Parameters
    ----------
    name
        One of :data:`METHODS`.
    settings
        Settings by name, as from a table of a TOML file.

    Returns
    -------
    The method, and its settings as a dataclass; None of methods that have none.

    Raises
    ------
    ValueError
        On unknown methods and settings, values of another type than the default's, and whatever
        the settings themselves refuse.
    """
    if name not in METHODS:
        raise ValueError(f"There is no method {name!r}; {hint(name, METHODS)}")
    own = _CONFIGURED.get(name)
    if own is None:
        if settings:
            raise ValueError(f"{name} has no settings, found {', '.join(settings)}.")
        return METHODS[name], None
    config = changed(name, own.default, settings or {})
    return METHODS[name]._replace(predict=partial(own.apply, config=config)), config
