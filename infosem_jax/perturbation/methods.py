"""Every method of predicting responses by name.

A method maps tasks, such as the folds of a split, to a prediction of each.
"""

from dataclasses import replace
from functools import partial
from typing import Any

from infosem_jax import _settings
from infosem_jax._settings import Method
from infosem_jax.perturbation import adapert, baselines
from infosem_jax.perturbation.knowledge import shuffled

METHODS: dict[str, Method] = {**adapert.METHODS, **baselines.METHODS}
# Predict the same of all perturbations: what any method must beat.
CONTROLS = frozenset(name for name, method in METHODS.items() if method.control)
# What a comparison takes by default.
USUAL = ("adapert", "txpert_untuned", "gears_untuned", *baselines.METHODS)

methods = partial(_settings.every, METHODS)
configured = partial(_settings.configured, METHODS)


def shuffled_graph(method: Method) -> Method:
    """Return a method that is given graphs whose nodes are permuted among genes."""
    about = f"{method.about.removesuffix('.')}, on a graph with shuffled genes."
    return Method(partial(_on_shuffled, method), about)


def with_config(method: Method, **changes: Any) -> Method:
    """Return a network method with some settings changed."""
    return method._replace(settings=replace(method.settings, **changes))


def _on_shuffled(method: Method, tasks, seed: int):
    knowledge = shuffled(tasks[0].knowledge, seed)
    return method.predict([task._replace(knowledge=knowledge) for task in tasks], seed)
