"""InfoSEM as an explicit NumPyro model, and the guides that fit it.

``effect ~ prior``, ``logit ~ edge prior`` (only if there is one), ``W = effect * sigmoid(logit)``,
``z ~ latent prior`` per cell, ``u = z (I - W)^-1``, ``x ~ Normal(decoder(u), observation_sd)``.
Source: DeepSEM (Shu et al. 2021) for the autoencoder, InfoSEM (Cui et al. 2025) for the priors.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from numpyro.distributions import biject_to, constraints

from infosem_jax.grn.config import Config, remainder_rank
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


def model(batch: Batch, graph: Graph, weights: Weights = Weights(), *, config: Config) -> None:
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
    """
    n_genes = batch.x.shape[1]
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
    remainder = _sample_remainder(n_genes, remainder_rank(config.rows), weights.effect)
    location, scale = latent_prior(W, graph.rows, remainder, n_genes, config)
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
            numpyro.sample("x", likelihood.to_event(1), obs=batch.x)


def guide(batch: Batch, graph: Graph, weights: Weights = Weights(), *, config: Config) -> None:
    """Declare the variational posterior: point or mean-field edges, amortised ``z``.

    ``z ~ Normal(m (I - W), exp(v (I - W)))`` with ``(m, v) = encoder(x)`` per gene, or with v left
    as it is (`Config.absorbed`). Sites that priors declare get the same kind of posterior as edges.

    Parameters
    ----------
    batch, graph, weights, config
        As in `model`.
    """
    n_genes = batch.x.shape[1]
    shape = (len(graph.rows), n_genes)
    hyper = _hyper_sites(batch, graph, config)

    def sample_hyper(room: str) -> list:
        return [_posterior(n, site, config) for n, site in hyper.items() if n.startswith(room)]

    unit = 1.0 / max(n_genes - 1, 1)
    with handlers.scale(scale=weights.effect):
        sample_hyper("effect_prior/")
        effect = _edge_posterior("effect", _start_effect(shape, config), unit, config)
    logit = None
    if graph.edge is not None:
        with handlers.scale(scale=weights.logit):
            sample_hyper("logit_prior/")
            logit = _edge_posterior("logit", lambda key: jnp.zeros(shape), 1.0, config)
    W = weight_matrix(effect, logit, graph.rows)
    remainder = None
    if remainder_rank(config.rows):
        with handlers.scale(scale=weights.effect):
            remainder = Remainder(*sample_hyper("remainder/"))
    network = ScalarNetwork(config.hidden, 2, offset=config.encoder_offset)
    encoder = flax_module("encoder", network, input_shape=(1,))
    location, log_variance = evaluate(encoder, batch.x, config.knots)
    location = absorb(location, W, graph.rows, remainder, precision=config.precision)
    if config.absorbed == "both":
        log_variance = absorb(log_variance, W, graph.rows, remainder, precision=config.precision)
    scale = jnp.sqrt(jnp.exp(log_variance) + VARIANCE_FLOOR)
    with _cells(batch), handlers.scale(scale=weights.z):
        numpyro.sample("z", dist.Normal(location, scale).to_event(1))


def decoder(config: Config) -> Callable[[Float[Array, "*shape"]], Float[Array, "*shape"]]:
    """Declare the decoder, and return the function from states to mean expression.

    Parameters
    ----------
    config
        Settings.
    """
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


def _hyper_sites(batch: Batch, graph: Graph, config: Config) -> dict:
    """Find the latent sites that priors declare, their supports and shapes, without computing."""
    sites = {}

    def probe(batch, graph):
        with handlers.block(), handlers.seed(rng_seed=random.key(0)):
            trace = handlers.trace(lambda: model(batch, graph, config=config)).get_trace()
        for name, site in trace.items():
            latent = site["type"] == "sample" and not site["is_observed"]
            if latent and name not in ("effect", "logit", "z"):
                sites[name] = (site["fn"].support, jnp.shape(site["value"]))

    jax.eval_shape(probe, batch, graph)
    return sites


def _posterior(name: str, site: tuple, config: Config) -> Any:
    support, shape = site
    transform = biject_to(support)
    free = transform.inverse_shape(shape)

    def start(key):
        return 0.1 * random.normal(key, free)

    location = numpyro.param(f"{name}_loc", start)
    if config.guide == "point":
        return numpyro.sample(name, dist.Delta(transform(location), event_dim=len(shape)))
    scale: Any = numpyro.param(f"{name}_log_scale", jnp.full(free, jnp.log(0.1)))
    base = dist.Normal(location, jnp.exp(scale)).to_event(len(free))
    if support is constraints.real:
        return numpyro.sample(name, base)
    return numpyro.sample(name, dist.TransformedDistribution(base, transform))


def _edge_posterior(name: str, start, unit: float, config: Config) -> Any:
    location: Any = numpyro.param(f"{name}_loc", start)
    if config.guide == "point":
        return numpyro.sample(name, dist.Delta(location, event_dim=2))
    log_scale = jnp.full(jnp.shape(location), jnp.log(config.start_scale * unit))
    raw_scale: Any = numpyro.param(f"{name}_log_scale", log_scale)
    scale = jnp.exp(raw_scale)
    return numpyro.sample(name, dist.Normal(location, scale).to_event(2))


def _start_effect(shape: tuple[int, int], config: Config):
    constant = 1.0 / max(shape[1] - 1, 1) if config.start == "constant" else 0.0
    return lambda key: constant + config.start_noise * random.uniform(key, shape)
