"""Every method of inferring expression by name, and every way to order the input genes.

A method maps a task to a prediction of its test samples.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from infosem_jax import _settings
from infosem_jax._settings import Method
from infosem_jax.expression import baselines
from infosem_jax.expression.auto import AutoConfig, fit_auto, predict_auto
from infosem_jax.expression.gate import learned_order
from infosem_jax.expression.graph_model import DEFAULT, fit_graph, predict_graph
from infosem_jax.expression.network import PAPER, GraphConfig
from infosem_jax.expression.selection import SELECTORS, Selector
from infosem_jax.expression.task import Prediction, Task

_QUICK = {"layers": 2, "channels": 8, "members": 1, "epochs": 20, "rate": 5e-3}


def _infer(
    fit: Callable[..., Any], predict: Callable[..., Prediction], task: Task, seed: int, config: Any
) -> Prediction:
    """Fit to a task, and infer its test samples."""
    return predict(fit(task, config, seed=seed), task.x_test, task.covariate_test)


_auto = partial(_infer, fit_auto, predict_auto)


def _graph(about: str, config: GraphConfig = DEFAULT, **changes: Any) -> Method:
    infer = partial(_infer, fit_graph, predict_graph)
    return Method(infer, about, replace(config, **changes), _QUICK)


_fixed = partial(Method, random=False)
METHODS: dict[str, Method] = {
    "auto": Method(
        _auto,
        "Ridge, least squares, knn, kernel and graph, joined by weights of each gene.",
        AutoConfig(),
        {"graph": _QUICK},
    ),
    "auto_fast": Method(
        _auto,
        "The same as auto without the network: seconds in place of minutes.",
        AutoConfig(network=False),
    ),
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
    "mean": _fixed(
        baselines.mean, "The mean of each gene, whatever the inputs.", affine=True, control=True
    ),
    "least_squares": _fixed(
        baselines.least_squares, "Linear regression without a penalty.", affine=True
    ),
    "ridge": _fixed(
        baselines.ridge,
        "Linear regression, its penalty chosen on the validation samples.",
        affine=True,
    ),
    "knn": _fixed(
        baselines.nearest, "The mean of the nearest samples, their number chosen likewise."
    ),
    "kernel": _fixed(
        baselines.kernel,
        "Ridge regression with a kernel of the distances of samples, chosen likewise.",
    ),
    "mlp": Method(
        baselines.mlp,
        "A multilayer perceptron of tanh units, after D-GEX.",
        settings=baselines.MLP,
        quick={"hidden": (32,), "epochs": 30, "learning_rate": 2e-3},
    ),
    "trees": _fixed(
        baselines.trees,
        "Gradient-boosted trees on components of the targets.",
        settings=baselines.TREES,
        quick={"components": 2, "iterations": 5},
    ),
}
# What a comparison takes where nothing is asked for: variants of the graph network left out.
USUAL = tuple(name for name in METHODS if not name.startswith("graph_"))
CONTROLS = frozenset(name for name, method in METHODS.items() if method.control)

methods = partial(_settings.every, METHODS)
configured = partial(_settings.configured, METHODS)

ORDERS: dict[str, Selector] = {**SELECTORS, "gate": learned_order}
