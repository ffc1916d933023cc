"""Every way to embed genes by name.

A method maps the graphs of studies to an embedding of each, [genes, dim].
"""

from dataclasses import replace
from functools import partial

from infosem_jax import _settings
from infosem_jax._settings import Method
from infosem_jax.embedding import baselines, joining, model

_SMALL = {"epochs": 40, "dim": 8}
_NETWORKS = {
    "gene2vec": "Skip-gram on the edges of each study.",
    "gae": "Graph autoencoder of each study.",
    "vgae": "Variational graph autoencoder of each study.",
    "mae": "Masked autoencoder of each study.",
    "wsmae": "Masked autoencoders with shared layers that predict edges.",
}
METHODS: dict[str, Method] = {
    "auto": Method(
        joining.embed,
        "MuSe-GNN and aligned components side by side.",
        model.DEFAULT,
        _SMALL | {"heads": (2, 1)},
    ),
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
        baselines.pca,
        "Principal components of each study.",
        baselines.COMPONENTS,
        {"dim": 8},
        random=False,
    ),
    "pca_aligned": Method(
        baselines.pca_aligned,
        "Principal components, turned onto each other by common genes.",
        baselines.COMPONENTS,
        {"dim": 8},
        random=False,
    ),
    **{
        name: Method(partial(baselines.embed, name), about, baselines.SETTINGS[name], _SMALL)
        for name, about in _NETWORKS.items()
    },
    "degree": Method(
        baselines.degree,
        "Control: genes by their number of neighbours alone.",
        random=False,
        control=True,
    ),
}
METHODS["gene2vec"] = METHODS["gene2vec"]._replace(quick={"epochs": 2, "dim": 8})
# They take no part in ranks.
CONTROLS = frozenset(name for name, method in METHODS.items() if method.control)
# What a comparison takes by default.
USUAL = tuple(name for name in METHODS if name != "musegnn_alone")

methods = partial(_settings.every, METHODS)
configured = partial(_settings.configured, METHODS)
