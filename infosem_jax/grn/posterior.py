"""Draws from what a fit has learned, for all that goes on from there: evidence, checks, knock-outs.

A fit holds the parameters of the guide and of the networks. Edges are drawn from the guide, and the
networks are run as they are; the priors are not needed again. Genes are sorted by name here, as
they are in `Fit.params`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float, Int
from numpyro import handlers

from infosem_jax.grn.binding import GeneContext, fixed
from infosem_jax.grn.config import remainder_rank
from infosem_jax.grn.model import Graph, decoder, guide, latent_prior
from infosem_jax.grn.objective import blank
from infosem_jax.grn.result import Fit
from infosem_jax.grn.sem import Remainder, weight_matrix


class Mechanism(NamedTuple):
    """One posterior draw of all that turns noise into a state of the genes.

    Attributes
    ----------
    W
        Effects, gated and without self-effects, [rows, genes].
    rows
        Which gene each row is, [rows].
    remainder
        Low-rank effects of the genes without a row, if there are any.
    location, scale
        Mean and standard deviation of the noise z, [genes].
    """

    W: Float[Array, "rows genes"]
    rows: Int[Array, " rows"]
    remainder: Remainder | None
    location: Float[Array, " genes"]
    scale: Float[Array, " genes"]


def sorted_genes(fitted: Fit) -> tuple[str, ...]:
    """Return the genes in the order of the parameters."""
    return tuple(sorted(fitted.genes))


def flat_graph(fitted: Fit) -> Graph:
    """Return a graph whose priors say nothing, to run the model on what has been learned."""
    genes = sorted_genes(fitted)
    context = GeneContext(genes, fitted.rows, 1)
    flat = fixed(dist.Normal(0.0, 1.0), context)
    gated = fitted.probability is not None
    rows = jnp.asarray(np.searchsorted(genes, fitted.rows))
    return Graph(flat, flat if gated else None, rows)


def draw_edges(fitted: Fit, key: Array, *, seed: int = 0) -> dict[str, Array]:
    """Draw the edges of one seed: sites ``effect``, ``logit`` (if gated) and the remainder's.

    Parameters
    ----------
    fitted
        A fit.
    key
        Random key.
    seed
        Which seed.
    """
    graph, n_genes = flat_graph(fitted), len(fitted.genes)
    posterior = handlers.substitute(handlers.seed(guide, key), parameters(fitted, seed))
    drawn = handlers.trace(posterior).get_trace(blank(n_genes), graph, config=fitted.config)
    return {
        name: site["value"]
        for name, site in drawn.items()
        if site["type"] == "sample" and name != "z"
    }


def mechanism(fitted: Fit, key: Array, *, seed: int = 0) -> Mechanism:
    """Draw the mechanism of one seed.

    Parameters
    ----------
    fitted, key, seed
        As in `draw_edges`.
    """
    sites = draw_edges(fitted, key, seed=seed)
    rows, n_genes = flat_graph(fitted).rows, len(fitted.genes)
    W = weight_matrix(sites["effect"], sites.get("logit"), rows)
    remainder = None
    if remainder_rank(fitted.config.rows):
        remainder = Remainder(sites["remainder/source"] / n_genes, sites["remainder/target"])

    def noise():
        return latent_prior(W, rows, remainder, n_genes, fitted.config)

    location, scale = _with_networks(fitted, seed, noise)
    return Mechanism(W, rows, remainder, location, scale)


def decode(fitted: Fit, u: Float[Array, "cells genes"], *, seed: int = 0) -> Array:
    """Return the mean expression of states, [cells, genes], on the scale of the fit.

    Parameters
    ----------
    fitted
        A fit.
    u
        States, [cells, genes].
    seed
        Which seed.
    """
    return _with_networks(fitted, seed, lambda: decoder(fitted.config)(u))


def parameters(fitted: Fit, seed: int) -> dict[str, Any]:
    """Return the parameters of one seed."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[seed]), fitted.params)


def _with_networks(fitted: Fit, seed: int, function: Callable[[], Any]) -> Any:
    seeded = handlers.seed(function, rng_seed=0)
    return handlers.substitute(seeded, data=parameters(fitted, seed))()
