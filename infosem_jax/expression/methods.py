"""Every method of inferring expression by name, and every way to order the input genes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from infosem_jax._settings import changed, hint
from infosem_jax.expression import baselines
from infosem_jax.expression.gate import learned_order
from infosem_jax.expression.graph_model import DEFAULT, infer_graph
from infosem_jax.expression.network import PAPER, GraphConfig
from infosem_jax.expression.selection import SELECTORS, Selector
from infosem_jax.expression.task import Method


def _graph(about: str, config: GraphConfig = DEFAULT, **changes: Any) -> Method:
    quick = {"layers": 2, "channels": 8, "members": 1, "epochs": 20, "rate": 5e-3}
    return Method(infer_graph, about, True, replace(config, **changes), quick)


METHODS: dict[str, Method] = {
    "graph": _graph("Five graph networks averaged, genes as nodes, with learned edge weights."),
    "graph_single": _graph("One such network.", members=1),
    "graph_small": _graph(
        "Ridge regression plus one small network, for many genes and few samples on a CPU.",
        members=1,
        layers=2,
        channels=8,
        skip="ridge",
    ),
    "graph_bipartite": _graph("The same as graph without edges among targets.", neighbours=0),
    "graph_mixing": _graph("The same as graph, channels mixed after each layer.", mixing=True),
    "graph_attention": _graph("Attention in place of edge weights.", messages="attention"),
    "graph_ridge": _graph("Ridge regression plus graph networks of what it leaves.", skip="ridge"),
    "graph_paper": _graph(
        "The network as published, but for start values that keep their size.",
        PAPER,
        start="fan_in",
    ),
    "mean": Method(
        baselines.mean, "The mean of each gene, whatever the inputs.", affine=True, control=True
    ),
    "least_squares": Method(
        baselines.least_squares, "Linear regression without a penalty.", affine=True
    ),
    "ridge": Method(
        baselines.ridge,
        "Linear regression, its penalty chosen on the validation samples.",
        affine=True,
    ),
    "knn": Method(
        baselines.nearest, "The mean of the nearest samples, their number chosen likewise."
    ),
    "mlp": Method(
        baselines.mlp,
        "A multilayer perceptron of tanh units, after D-GEX.",
        random=True,
        settings=baselines.MLP,
        quick={"hidden": (32,), "epochs": 30, "learning_rate": 2e-3},
    ),
    "trees": Method(
        baselines.trees,
        "Gradient-boosted trees on components of the targets.",
        settings=baselines.TREES,
        quick={"components": 2, "iterations": 5},
    ),
}
# What a comparison takes where nothing is asked for: variants of the graph network left out.
USUAL = tuple(name for name in METHODS if not name.startswith("graph_"))
CONTROLS = frozenset(name for name, method in METHODS.items() if method.control)

ORDERS: dict[str, Selector] = {**SELECTORS, "gate": learned_order}


def methods(*, quick: bool = False) -> dict[str, Method]:
    """Return every method by name; ``quick`` ones are small, for a try and for tests."""
    return {name: configured(name, m.quick if quick else {}) for name, m in METHODS.items()}


def configured(name: str, settings: Mapping[str, Any] | None = None) -> Method:
    """Return a method with some of its settings changed.

    Parameters
    ----------
    name
        One of :data:`METHODS`.
    settings
        Settings by name, as from a table of a TOML file.

    Raises
    ------
    ValueError
        On unknown methods and settings, values of another type than the default's, and whatever
        the settings themselves refuse.
    """
    if name not in METHODS:
        raise ValueError(f"There is no method {name!r}; {hint(name, METHODS)}")
    method = METHODS[name]
    if method.settings is not None:
        return method._replace(settings=changed(name, method.settings, settings or {}))
    if settings:
        raise ValueError(f"{name} has no settings, found {', '.join(settings)}.")
    return method
