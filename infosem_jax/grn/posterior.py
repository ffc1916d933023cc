"""Draws from what a fit has learned, for all that goes on from there: evidence, checks, knock-outs.

A fit holds the parameters of the guide and of the networks. Edges are drawn from the guide (with
guide ``nuts`` or an own one: from the draws that were kept), and the networks are run as they are;
the priors are not needed again. Genes are sorted by name here, as they are in `Fit.params`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import lax, random
from jaxtyping import Array, Float, Int
from numpyro import handlers

from infosem_jax.grn.config import OF_DRAWS, Config, remainder_rank
from infosem_jax.grn.model import Graph, decoder, guide, latent_prior
from infosem_jax.grn.objective import blank, objective
from infosem_jax.grn.priors.binding import GeneContext, fixed
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


def draw_weights(
    fitted: Fit, key: Array, *, draws: int, seed: int = 0
) -> Float[Array, "draws rows genes"]:
    """Draw W of one seed many times; kept draws are taken evenly spaced instead.

    Parameters
    ----------
    fitted, key, seed
        As in `draw_edges`.
    draws
        How many.

    Raises
    ------
    ValueError
        If fewer are kept.
    """
    graph, params = flat_graph(fitted), parameters(fitted, seed)
    if fitted.config.guide not in OF_DRAWS:
        config = objective(fitted.config).config
        return _drawn_weights(params, graph, random.split(key, draws), config=config)
    length = len(params["draws"]["effect"])
    if draws > length:
        raise ValueError(f"Expected at most {length} draws, as the fit holds, found {draws}.")
    at = np.linspace(0, length - 1, draws).round().astype(int)
    sites = jax.tree.map(lambda leaf: leaf[at], params["draws"])
    return jax.vmap(partial(_weights, graph))(sites)


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


def over_draws(
    function: Callable[[Fit, Array, Any], Any], fitted: Fit, given: Any, *, draws: int, key: Array
) -> Any:
    """Compute something for several draws of the posterior of every sound seed, in one program.

    Parameters
    ----------
    function
        Called with a fit of one seed (genes, rows, settings and parameters only), a random key and
        what is given; a function of a module, since it is fixed at compilation.
    fitted
        A fit.
    given
        Arrays that all draws share.
    draws
        Draws of each seed; one where the guide is a point.
    key
        Random key.

    Returns
    -------
    What the function returns, as NumPy arrays with a leading axis of seeds times draws.

    Raises
    ------
    ValueError
        If every seed diverged.
    """
    sound = np.flatnonzero(fitted.diverged < 0)
    if not len(sound):
        raise ValueError(f"{fitted.name}: every seed diverged; there is nothing to predict from.")
    draws = 1 if fitted.config.guide == "point" else draws
    keys = random.split(key, (len(sound), draws))
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf)[sound], fitted.params)
    gated = fitted.probability is not None
    frame = _Frame(fitted.genes, fitted.rows, fitted.config, gated)
    return jax.tree.map(np.asarray, _over_draws(function, frame, params, keys, given))


def parameters(fitted: Fit, seed: int) -> dict[str, Any]:
    """Return the parameters of one seed."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[seed]), fitted.params)


class _Frame(NamedTuple):
    """What of a fit decides the program."""

    genes: tuple[str, ...]
    rows: tuple[str, ...]
    config: Config
    gated: bool


@partial(jax.jit, static_argnums=(0, 1))
def _over_draws(function: Any, frame: _Frame, params: dict[str, Any], keys: Array, given: Any):
    def of_seed(own: tuple[dict[str, Any], Array]) -> Any:
        fitted = _fit_of(frame, own[0])
        return lax.map(lambda key: function(fitted, key, given), own[1])

    by_seed = lax.map(of_seed, (params, keys))
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), by_seed)


def _fit_of(frame: _Frame, params: dict[str, Any]) -> Fit:
    """Put together as much of a fit of one seed as drawing from it takes."""
    known: dict[str, Any] = dict.fromkeys(Fit._fields)
    known |= {name: getattr(frame, name) for name in ("genes", "rows", "config")}
    known["params"] = jax.tree.map(lambda leaf: leaf[None], params)
    known["probability"] = jnp.zeros(()) if frame.gated else None
    return Fit(**known)


@partial(jax.jit, static_argnames="config")
def _drawn_weights(params: dict[str, Any], graph: Graph, keys: Array, *, config: Config) -> Array:
    batch = blank(params["effect_loc"].shape[1])

    def one(key: Array) -> Array:
        posterior = handlers.substitute(handlers.seed(guide, key), params)
        drawn = handlers.trace(posterior).get_trace(batch, graph, config=config)
        return _weights(graph, {name: site["value"] for name, site in drawn.items()})

    return lax.map(one, keys)


def _weights(graph: Graph, sites: dict[str, Array]) -> Array:
    return weight_matrix(sites["effect"], sites.get("logit"), graph.rows)


def _with_networks(fitted: Fit, seed: int, function: Callable[[], Any]) -> Any:
    seeded = handlers.seed(function, rng_seed=0)
    return handlers.substitute(seeded, data=parameters(fitted, seed))()
