"""Every way to embed genes by name, its settings from tables, and its quick form."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from infosem_jax._settings import changed, hint
from infosem_jax.embedding import baselines, model
from infosem_jax.embedding.graph import StudyGraph
from infosem_jax.embedding.model import Vectors


class Method(NamedTuple):
    """A way to embed genes.

    Attributes
    ----------
    function
        Maps graphs, a seed and, where there are any, settings to an embedding of each study,
        [genes, dim].
    about
        What it is, in a sentence.
    settings
        A dataclass; None of methods that have none.
    quick
        Settings of its small form, for trials and tests.
    """

    function: Callable[..., Vectors]
    about: str
    settings: Any = None
    quick: Mapping[str, Any] = {}

    def embed(self, graphs: Sequence[StudyGraph], seed: int) -> Vectors:
        """Embed the genes of every study."""
        given = () if self.settings is None else (self.settings,)
        return self.function(graphs, seed, *given)


_SMALL = {"epochs": 40, "dim": 8}
_NETWORKS = {
    "gene2vec": (baselines.gene2vec, "Skip-gram on the edges of each study."),
    "gae": (baselines.gae, "Graph autoencoder of each study."),
    "vgae": (baselines.vgae, "Variational graph autoencoder of each study."),
    "mae": (baselines.mae, "Masked autoencoder of each study."),
    "wsmae": (baselines.wsmae, "Masked autoencoders with shared layers that predict edges."),
}
METHODS: dict[str, Method] = {
    "musegnn": Method(
        model.embed,
        "MuSe-GNN: graph transformers with shared layers, joined.",
        model.DEFAULT,
        _SMALL | {"heads": (2, 1)},
    ),
    "musegnn_alone": Method(
        model.embed,
        "MuSe-GNN with shared layers, without the losses that join studies.",
        replace(model.DEFAULT, similarity=0.0, contrast=0.0),
        _SMALL | {"heads": (2, 1)},
    ),
    "pca": Method(
        baselines.pca, "Principal components of each study.", baselines.COMPONENTS, {"dim": 8}
    ),
    "pca_aligned": Method(
        baselines.pca_aligned,
        "Principal components, turned onto each other by common genes.",
        baselines.COMPONENTS,
        {"dim": 8},
    ),
    **{
        name: Method(function, about, baselines.SETTINGS[name], _SMALL)
        for name, (function, about) in _NETWORKS.items()
    },
    "degree": Method(baselines.degree, "Control: genes by their number of neighbours alone."),
}
METHODS["gene2vec"] = METHODS["gene2vec"]._replace(quick={"epochs": 2, "dim": 8})
# Use nothing of a gene but its number of neighbours; they take no part in ranks.
CONTROLS = frozenset({"degree"})
# What a comparison takes by default.
USUAL = tuple(name for name in METHODS if name != "musegnn_alone")


def methods(*, quick: bool = False) -> dict[str, Method]:
    """Return every method by name; ``quick`` ones are small, for trials and tests."""
    return {
        name: configured(name, method.quick if quick else {}) for name, method in METHODS.items()
    }


def configured(name: str, settings: Mapping[str, Any]) -> Method:
    """Return a method with some of its settings changed.

    Parameters
    ----------
    name
        Its name.
    settings
        Values by name of setting; lists become tuples.

    Raises
    ------
    ValueError
        If there is no such method or setting, or a value does not fit.
    """
    if name not in METHODS:
        raise ValueError(f"There is no method {name!r}; {hint(name, METHODS)}")
    method = METHODS[name]
    if method.settings is None:
        if settings:
            raise ValueError(f"{name} has no settings, found {', '.join(settings)}.")
        return method
    return method._replace(settings=changed(name, method.settings, settings))
