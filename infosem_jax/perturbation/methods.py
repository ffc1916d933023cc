"""Every method of predicting responses by name, its settings from tables, and its quick form."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from infosem_jax._settings import changed, hint
from infosem_jax.perturbation import adapert, baselines
from infosem_jax.perturbation.config import AdaPertConfig
from infosem_jax.perturbation.knowledge import shuffled
from infosem_jax.perturbation.task import Method

# Predict the same of all perturbations: what any method must beat.
CONTROLS = frozenset({"no_change", "mean"})
NETWORKS = frozenset(adapert.METHODS)
METHODS: dict[str, Method] = {**adapert.METHODS, **baselines.METHODS}
# What a comparison takes by default.
USUAL = ("adapert", "txpert", "gears", *baselines.METHODS)
QUICK = {
    "features": 8, "layers": 1, "latent": 4, "hidden": 16, "epochs": 6, "most": 32, "members": 1,
    "rate": 5e-3,
}  # fmt: skip


def settings_of(name: str) -> AdaPertConfig:
    """Return the usual settings of a network."""
    return getattr(METHODS[name].predict, "keywords", {})["config"]


def methods(*, quick: bool = False) -> dict[str, Method]:
    """Return every method by name; ``quick`` networks are small, for trials and tests."""
    if not quick:
        return dict(METHODS)
    return METHODS | {name: configured(name, QUICK)[0] for name in NETWORKS}


def configured(
    name: str, settings: Mapping[str, Any] | None = None
) -> tuple[Method, AdaPertConfig | None]:
    """Return a method with some of its settings changed, and all of its settings.

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
    if name not in NETWORKS:
        if settings:
            raise ValueError(f"{name} has no settings, found {', '.join(settings)}.")
        return METHODS[name], None
    config = changed(name, settings_of(name), settings or {})
    return METHODS[name]._replace(predict=partial(adapert.predict_tasks, config=config)), config


def shuffled_graph(method: Method, seed: int = 0) -> Method:
    """Return a method that is given graphs whose nodes are permuted among genes."""
    about = f"{method.about.removesuffix('.')}, on a graph with shuffled genes."
    return method._replace(predict=partial(_on_shuffled, method, seed), about=about)


def _on_shuffled(method: Method, first: int, tasks, seed: int):
    knowledge = shuffled(tasks[0].knowledge, first + seed)
    return method.predict([task._replace(knowledge=knowledge) for task in tasks], seed)


def with_config(method: Method, **changes: Any) -> Method:
    """Return a network method with some settings changed."""
    config = getattr(method.predict, "keywords", {})["config"]
    return method._replace(
        predict=partial(adapert.predict_tasks, config=replace(config, **changes))
    )
