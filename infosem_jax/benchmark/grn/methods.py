"""The methods that the benchmark knows, and how to add one."""

import re
from functools import partial

from infosem_jax.benchmark.grn.controls import CONTROLS, Control
from infosem_jax.benchmark.grn.method import Method, Uses


def register(
    name: str,
    method: Method | Control,
    *,
    uses: Uses = "expression",
    knows_names: bool = False,
    random: bool = True,
    about: str = "",
) -> None:
    """Add a method to ``METHODS``, and so to every benchmark of this process.

    Parameters
    ----------
    name
        What it is called in tables and files.
    method
        A method, or a function of a `Problem` that returns scores, [regulators, genes].
    uses, knows_names, random, about
        As of a ``Method``, for a function.

    Raises
    ------
    ValueError
        On a name that is taken, or is more than letters, digits, ``_``, ``+`` and ``-``.
    """
    if not re.fullmatch(r"[\w+-]+", name):
        raise ValueError(
            f"Expected a name of letters, digits, '_', '+' and '-' for a method, found {name!r}."
        )
    if name in methods():
        raise ValueError(f"There is a method {name!r} already; choose another name.")
    if not isinstance(method, Method):
        method = Method(partial(map, method), uses, knows_names, random, about)
    METHODS[name] = method


def methods(quick: bool = False) -> dict[str, Method]:
    """Return every method by its name: controls, baselines, InfoSEM, and what was registered.

    Parameters
    ----------
    quick
        Train for a few epochs only, for a look at what a run gives.
    """
    from infosem_jax.benchmark.grn.baselines import baseline_methods
    from infosem_jax.benchmark.grn.infosem import infosem_methods

    own = {**_controls(), **baseline_methods(quick=quick), **infosem_methods(quick=quick)}
    return {name: method._replace(tested=True) for name, method in own.items()} | METHODS


# What users have registered.
METHODS: dict[str, Method] = {}

_ABOUT = {
    "random": "pairs at random",
    "regulator_positive_rate": "the share of known edges among a regulator's training pairs",
    "target_positive_rate": "the share of known edges among a target's training pairs",
    "regulator_variance": "the variance of the regulator's expression",
    "target_mean": "the mean of the target's expression",
    "correlation": "Pearson's correlation, with sign",
    "correlation_absolute": "Pearson's correlation, without sign",
    "spearman": "Spearman's correlation, with sign",
    "spearman_absolute": "Spearman's correlation, without sign",
    "partial_correlation": "partial correlation given all genes, with sign",
    "partial_correlation_absolute": "partial correlation given all genes, without sign",
    "partial_correlation_ridge": "partial correlation, strongly shrunk, with sign",
    "symbol_cosine": "how alike the two symbols are spelt",
}


def _controls() -> dict[str, Method]:
    return {
        name: Method(
            partial(map, control),
            "labels" if name.endswith("positive_rate") else "expression",
            knows_names=name == "symbol_cosine",
            random=name in ("random", "symbol_cosine"),
            about=f"Control: {_ABOUT[name]}.",
        )
        for name, control in CONTROLS.items()
    }
