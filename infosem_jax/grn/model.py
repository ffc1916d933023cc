"""InfoSEM as an explicit NumPyro model, and the guide that fits it.

``effect ~ prior``, ``logit ~ edge prior`` (only if there is one), ``W = effect * sigmoid(logit)``,
``z ~ latent prior`` per cell, ``u = z (I - W)^-1``, ``x ~ Normal(decoder(u), observation_sd)``.
With the identity for a decoder and standard noise it is the linear-Gaussian model, see `linear`.
Source: DeepSEM (Shu et al. 2021) for the autoencoder, InfoSEM (Cui et al. 2025) for the priors.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import random
from jaxtyping import Array, Bool, Float, Int
from numpyro import handlers
from numpyro.contrib.module import flax_module

from infosem_jax.grn import linear
from infosem_jax.grn.config import Config, remainder_rank
from infosem_jax.grn.edge_guides import (
    Draw,
    EdgeModel,
    one_draw,
    sample_edges,
    sample_hyper,
    sample_own,
)
from infosem_jax.grn.priors import BoundPrior
from infosem_jax.grn.scalar import ScalarNetwork, evaluate
from infosem_jax.grn.sem import Remainder, absorb, propagate, weight_matrix

VARIANCE_FLOOR = 1e-8


class Batch(NamedTuple):
    """Some cells, standing for all of them.

    Attributes
    ----------
    x
        Normalised expression, [cells, genes].
    observed
        Entries whose reconstruction is scored, [cells, genes]; None for all.
    real
        False for padding, [cells].
    total
        Number of cells that the batch stands for.
    """

    x: Float[Array, "cells genes"]
    observed: Bool[Array, "cells genes"] | None
    real: Bool[Array, " cells"]
    total: Float[Array, ""] | float


class Graph(NamedTuple):
    """What the edges are a priori.

    Attributes
    ----------
    effect, edge
        Bound priors of the effects and of the logits (None: no gate).
    rows
        Which gene each row of the effects is, [rows], in ascending order.
    """

    effect: BoundPrior
    edge: BoundPrior | None
    rows: Int[Array, " rows"]


class Weights(NamedTuple):
    """Weights of the divergence of each site in the objective; all 1 is the evidence bound."""

    z: Float[Array | np.ndarray, "*fits"] | float = 1.0
    effect: Float[Array | np.ndarray, "*fits"] | float = 1.0
    logit: Float[Array | np.ndarray, "*fits"] | float = 1.0


def model(
    batch: Batch,
    graph: Graph,
    weights: Weights = Weights(),
    *,
    config: Config,
    drawn: bool = False,
) -> None:
    """Declare the generative model: sites ``effect``, ``logit``, ``z`` and ``x``.

    What a prior declares is found under ``effect_prior/`` and ``logit_prior/``, the loadings of
    the remainder under ``remainder/``, labels of observed gates under ``logit_prior/known_edges``.

    Parameters
    ----------
    batch
        Cells.
    graph
        Bound priors and the genes that have rows.
    weights
        Weights of the sites in the objective.
    config
        Settings.
    drawn
        Whether to draw expression, of as many cells, instead of observing it.
    """
    n_genes = batch.x.shape[1]
    W, remainder = sample_structure(graph, weights, n_genes, config=config)
    location, scale = (
        jnp.broadcast_to(part, batch.x.shape)
        for part in latent_prior(W, graph.rows, remainder, n_genes, config)
    )
    decode = decoder(config)
    with _cells(batch):
        with handlers.scale(scale=weights.z):
            z: Any = numpyro.sample("z", dist.Normal(location, scale).to_event(1))
        u = propagate(z, W, graph.rows, remainder, precision=config.precision)
        likelihood: Any = dist.Normal(decode(u), config.observation_sd)
        share = jnp.ones(())
        if batch.observed is not None:
            # Masked entries are replaced by the mean of the others: a masked mean squared error.
            scored = batch.observed & batch.real[:, None]
            share = scored.sum() / jnp.maximum(batch.real.sum() * n_genes, 1)
            likelihood = likelihood.mask(batch.observed)
        with handlers.scale(scale=1 / jnp.maximum(share, 1e-6)):
            numpyro.sample("x", likelihood.to_event(1), obs=None if drawn else batch.x)


def sample_structure(
    graph: Graph, weights: Weights, n_genes: int, *, config: Config
) -> tuple[Float[Array, "rows genes"], Remainder | None]:
    """Declare the part of the model that all cells share, and return W and the remainder.

    Parameters
    ----------
    graph, weights, config
        As in `model`.
    n_genes
        Number of genes.
    """
    with handlers.scale(scale=weights.effect):
        with handlers.scope(prefix="effect_prior"):
            prior = graph.effect.distribution()
        effect: Any = numpyro.sample("effect", prior)
    logit: Any = None
    if graph.edge is not None:
        with handlers.scale(scale=weights.logit):
            with handlers.scope(prefix="logit_prior"):
                prior = graph.edge.distribution()
            logit = numpyro.sample("logit", prior)
            if graph.edge.observe is not None:
                with handlers.scope(prefix="logit_prior"):
                    graph.edge.observe(logit)
    W = weight_matrix(effect, logit, graph.rows)
    return W, _sample_remainder(n_genes, remainder_rank(config.rows), weights.effect)


def guide(batch: Batch, graph: Graph, weights: Weights = Weights(), *, config: Config) -> None:
    """Declare the posterior: edges by `Config.guide`, ``z`` given edges and expression.

    ``z ~ Normal(m (I - W), exp(v (I - W)))`` with ``(m, v) = encoder(x)`` per gene, or with v left
    as it is (`Config.absorbed`). In the linear-Gaussian model z has its exact conditional
    distribution instead, and there is no encoder. Sites that priors declare get independent
    posteriors. Where draws are kept, edges and such sites are one of them.

    Parameters
    ----------
    batch, graph, weights, config
        As in `model`.
    """
    effect, logit, remainder = _guide_edges(batch, graph, weights, config)
    W = weight_matrix(effect, logit, graph.rows)
    noise = _noise_posterior(batch.x, W, graph.rows, remainder, config)
    with _cells(batch), handlers.scale(scale=weights.z):
        numpyro.sample("z", noise)


def own_edges(graph: Graph, n_genes: int, *, config: Config) -> Draw:
    """Declare an own posterior of the edges, and return a draw of each of its sites.

    Parameters
    ----------
    graph, config
        As in `model`.
    n_genes
        Number of genes.
    """
    declare = partial(sample_structure, graph, Weights(), n_genes, config=config)
    own: Any = config.guide
    return sample_own(own, EdgeModel(declare, (len(graph.rows), n_genes)))


def decoder(config: Config) -> Callable[[Float[Array, "*shape"]], Float[Array, "*shape"]]:
    """Declare the decoder, and return the function from states to mean expression.

    Parameters
    ----------
    config
        Settings.
    """
    if config.decoder == "identity":
        return jnp.asarray
    network = flax_module("decoder", ScalarNetwork(config.hidden, 1), input_shape=(1,))
    return lambda u: evaluate(network, u, config.knots)[0]


def latent_prior(
    W: Float[Array, "rows genes"],
    rows: Int[Array, " rows"],
    remainder: Remainder | None,
    n_genes: int,
    config: Config,
) -> tuple[Float[Array, " genes"], Float[Array, " genes"]]:
    """Declare the prior of the noise z, and return its mean and standard deviation per gene.

    Parameters
    ----------
    W, rows, remainder
        Effects, see `infosem_jax.grn.sem.absorb`.
    n_genes
        Number of genes.
    config
        Settings.
    """
    if config.latent_prior == "standard":
        return jnp.zeros(n_genes), jnp.ones(n_genes)
    network = flax_module("latent", _LatentPrior(n_genes, config.hidden), input_shape=(1, 1))
    location, log_variance = network(jnp.ones((1, 1)))
    location = absorb(location, W, rows, remainder)[0]
    log_variance = absorb(log_variance, W, rows, remainder)[0]
    return location, jnp.sqrt(jnp.exp(log_variance) + VARIANCE_FLOOR)


class _LatentPrior(nn.Module):
    """DeepSEM's network from a constant to a mean and a log-variance per gene."""

    genes: int
    hidden: int

    @nn.compact
    def __call__(self, one):
        init = nn.initializers.xavier_normal()

        def head(name):
            h = nn.tanh(nn.Dense(self.hidden, kernel_init=init, name=f"{name}_hidden")(one))
            return nn.Dense(self.genes, kernel_init=init, name=name)(h)

        return head("mean"), head("log_variance")


def _sample_remainder(n_genes: int, rank: int, weight) -> Remainder | None:
    if not rank:
        return None
    unit = dist.Normal(0.0, 1.0)
    with handlers.scope(prefix="remainder"), handlers.scale(scale=weight):
        source: Any = numpyro.sample("source", unit.expand((n_genes, rank)).to_event(2))
        target: Any = numpyro.sample("target", unit.expand((rank, n_genes)).to_event(2))
    # A factor is a weighted mean over genes, so that a step of the optimiser moves it as little
    # with many genes as with few.
    return Remainder(source / n_genes, target)


@contextmanager
def _cells(batch: Batch) -> Iterator[None]:
    """Plate over cells in which the real ones stand for all cells, and padding for none."""
    scale = batch.total / jnp.maximum(batch.real.sum(), 1)
    plate, mask = numpyro.plate("cells", batch.x.shape[0]), handlers.mask(mask=batch.real)
    with plate, handlers.scale(scale=scale), mask:
        yield


class Site(NamedTuple):
    """What is known of a site of the model without computing it.

    Attributes
    ----------
    kind
        ``sample`` or ``param``.
    support, shape
        Of its values.
    event_dim
        How many of the last axes are one event; plates are over those before.
    """

    kind: str
    support: Any
    shape: tuple[int, ...]
    event_dim: int = 0


def sites(batch: Batch, graph: Graph, *, config: Config) -> dict[str, Site]:
    """Find the latent sites (kind ``sample``) and the parameters (``param``) of the model.

    Parameters
    ----------
    batch, graph, config
        As in `model`; only shapes matter.
    """
    found = {}

    def probe(batch, graph):
        with handlers.block(), handlers.seed(rng_seed=random.key(0)):
            trace = handlers.trace(lambda: model(batch, graph, config=config)).get_trace()
        for name, site in trace.items():
            if site["type"] == "param":
                found[name] = Site("param", None, ())
            elif site["type"] == "sample" and not site["is_observed"]:
                fn, shape = site["fn"], jnp.shape(site["value"])
                found[name] = Site("sample", fn.support, shape, fn.event_dim)

    jax.eval_shape(probe, batch, graph)
    return found


def _guide_edges(
    batch: Batch, graph: Graph, weights: Weights, config: Config
) -> tuple[Any, Any, Remainder | None]:
    n_genes = batch.x.shape[1]
    shape = (len(graph.rows), n_genes)
    if callable(config.guide):
        with handlers.scale(scale=weights.effect):
            own = own_edges(graph, n_genes, config=config)
        remainder = None
        if remainder_rank(config.rows):
            remainder = Remainder(own["remainder/source"] / n_genes, own["remainder/target"])
        return own["effect"], own.get("logit"), remainder

    drawn = one_draw(config)
    hyper: dict[str, list] = {"effect_prior": [], "logit_prior": [], "remainder": []}
    for name, site in sites(batch, graph, config=config).items():
        prefix = name.partition("/")[0]
        if site.kind == "sample" and prefix in hyper:
            hyper[prefix].append((name, site))

    logit, remainder = None, None
    with handlers.scale(scale=weights.effect):
        _sample_hyper(hyper["effect_prior"], config, drawn)
        start, unit = _start_effect(shape, config), 1.0 / max(n_genes - 1, 1)
        effect, factors = sample_edges("effect", start, unit, config, drawn=drawn)
    if graph.edge is not None:
        with handlers.scale(scale=weights.logit):
            _sample_hyper(hyper["logit_prior"], config, drawn)
            logit, _ = sample_edges(
                "logit", lambda key: jnp.zeros(shape), 1.0, config, factors=factors, drawn=drawn
            )
    if hyper["remainder"]:
        with handlers.scale(scale=weights.effect):
            source, target = _sample_hyper(hyper["remainder"], config, drawn)
        remainder = Remainder(source / n_genes, target)
    return effect, logit, remainder


def _sample_hyper(sites: list[tuple[str, Site]], config: Config, drawn: Draw | None) -> list:
    return [
        sample_hyper(name, site.support, site.shape, site.event_dim, config, drawn=drawn)
        for name, site in sites
    ]


def _noise_posterior(
    x: Array, W: Array, rows: Array, remainder: Remainder | None, config: Config
) -> dist.Distribution:
    if linear.is_linear(config):
        A = linear.structure(W, rows, remainder)
        return linear.noise_posterior(x, A, config.observation_sd)
    network = ScalarNetwork(config.hidden, 2, offset=config.encoder_offset)
    encoder = flax_module("encoder", network, input_shape=(1,))
    location, log_variance = evaluate(encoder, x, config.knots)
    location = absorb(location, W, rows, remainder, precision=config.precision)
    if config.absorbed == "both":
        log_variance = absorb(log_variance, W, rows, remainder, precision=config.precision)
    return dist.Normal(location, jnp.sqrt(jnp.exp(log_variance) + VARIANCE_FLOOR)).to_event(1)


def _start_effect(shape: tuple[int, int], config: Config):
    constant = 1.0 / max(shape[1] - 1, 1) if config.start == "constant" else 0.0
    return lambda key: constant + config.start_noise * random.uniform(key, shape)
