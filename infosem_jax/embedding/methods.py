"""Every way to embed genes by name, its settings from tables, and its quick form."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any, NamedTuple

from infosem_jax._settings import changed, hint
from infosem_jax.embedding import baselines, model
from infosem_jax.embedding.graph import StudyGraph
from infosem_jax.embedding.model import Vectors


class Method(NamedTuple):
    """A way to embed genes.

    Attributes
    ----------
    embed
        Maps graphs and a seed to an embedding of each study, [genes, dim].
    about
        What it is, in a sentence.
    """

    embed: Callable[[Sequence[StudyGraph], int], Vectors]
    about: str


METHODS: dict[str, Method] = {
    "musegnn": Method(model.embed, "MuSe-GNN: graph transformers with shared layers, joined."),
    "musegnn_alone": Method(
        partial(model.embed, config=replace(model.DEFAULT, similarity=0.0, contrast=0.0)),
        "MuSe-GNN with shared layers, without the losses that join studies.",
    ),
    "pca": Method(baselines.pca, "Principal components of each study."),
    "pca_aligned": Method(
        baselines.pca_aligned, "Principal components, turned onto each other by common genes."
    ),
    "gene2vec": Method(baselines.gene2vec, "Skip-gram on the edges of each study."),
    "gae": Method(baselines.gae, "Graph autoencoder of each study."),
    "vgae": Method(baselines.vgae, "Variational graph autoencoder of each study."),
    "mae": Method(baselines.mae, "Masked autoencoder of each study."),
    "wsmae": Method(baselines.wsmae, "Masked autoencoders with shared layers that tell edges."),
    "degree": Method(baselines.degree, "Control: genes by their number of neighbours alone."),
}
# Know nothing of a gene but how many neighbours it has; they take no part in ranks.
CONTROLS = frozenset({"degree"})
# What a comparison takes where nothing is asked for.
USUAL = tuple(name for name in METHODS if name != "musegnn_alone")


class _Settings(NamedTuple):
    """What a method's settings apply to, under which name, those it has, and the quick ones."""

    apply: Callable[..., Vectors]
    keyword: str
    default: Any
    quick: dict[str, Any]


_ALONE: Any = METHODS["musegnn_alone"].embed
_SMALL = {"epochs": 40, "dim": 8}
_CONFIGURED = {
    name: _Settings(model.embed, "config", config, _SMALL | {"heads": (2, 1)})
    for name, config in (("musegnn", model.DEFAULT), ("musegnn_alone", _ALONE.keywords["config"]))
} | {
    name: _Settings(getattr(baselines, name), "settings", default, quick)
    for name, default, quick in (
        ("pca", baselines.COMPONENTS, {"dim": 8}),
        ("pca_aligned", baselines.COMPONENTS, {"dim": 8}),
        *((name, own, _SMALL) for name, own in baselines.SETTINGS.items()),
    )
}
_CONFIGURED["gene2vec"] = _CONFIGURED["gene2vec"]._replace(quick={"epochs": 2, "dim": 8})


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
        Its name.
    settings
        Values by name of setting; lists become tuples.

    Returns
    -------
    The method, and its settings as a dataclass; None of methods that have none.

    Raises
    ------
    ValueError
        If there is no such method or setting, or a value does not fit.
    """
    if name not in METHODS:
        raise ValueError(f"There is no method {name!r}; {hint(name, METHODS)}")
    own = _CONFIGURED.get(name)
    if own is None:
        if settings:
            raise ValueError(f"{name} has no settings, found {', '.join(settings)}.")
        return METHODS[name], None
    config = changed(name, own.default, settings or {})
    return METHODS[name]._replace(embed=partial(own.apply, **{own.keyword: config})), config


def settings_of(name: str, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return all settings of a method as a table."""
    config = configured(name, settings)[1]
    return {} if config is None else asdict(config)
