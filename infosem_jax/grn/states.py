"""Measured cells on the scale of a fit, and the states that the fit infers for them."""

import jax.numpy as jnp
from jax import random
from jaxtyping import Array, Float
from numpyro import handlers

from infosem_jax.data.dataset import Dataset, normalise
from infosem_jax.grn import exact
from infosem_jax.grn.model import Batch, guide
from infosem_jax.grn.posterior import draw_edges, flat_graph, mechanism, parameters
from infosem_jax.grn.result import Fit
from infosem_jax.grn.sem import propagate


def as_fitted(fitted: Fit | exact.Fit, data: Dataset) -> Dataset:
    """Bring the data of a fit to its scale, or refuse them.

    Parameters
    ----------
    fitted
        A fit.
    data
        Expression as read, or already normalised.

    Raises
    ------
    ValueError
        If they have other genes, were normalised otherwise, or have other covariates taken out.
    """
    if set(data.genes) != set(fitted.genes):
        raise ValueError(
            f"{data.name}: expected the {len(fitted.genes)} genes of the fit "
            f"({', '.join(fitted.genes[:3])}, ...), found {len(data.genes)} genes "
            f"({', '.join(data.genes[:3])}, ...); give the data that were fitted."
        )
    if data.covariates != fitted.covariates:
        found, fit = (", ".join(each) or "none" for each in (data.covariates, fitted.covariates))
        raise ValueError(
            f"{data.name}: expected cells with the covariates of the fit taken out ({fit}), found "
            f"{found}; give infosem_jax.data.regress_out(data, covariates)."
        )
    config = fitted.config
    if data.normalisation == "none":
        data = normalise(data, config.normalisation, clip=config.clip)
    if data.normalisation != config.normalisation:
        raise ValueError(
            f"{data.name}: expected values as read or normalised by {config.normalisation}, as in "
            f"the fit; found {data.normalisation}."
        )
    return data


def inferred_states(
    fitted: Fit, x: Float[Array, "cells genes"], key: Array, *, seed: int = 0
) -> Float[Array, "cells genes"]:
    """Return the states u of cells at the posterior mean of their noise, for one draw of the edges.

    Parameters
    ----------
    fitted
        A fit.
    x
        Expression on the scale of the fit, genes sorted by name, [cells, genes].
    key
        Random key of the edges; `mechanism` draws the same with it.
    seed
        Which seed.
    """
    values = parameters(fitted, seed) | draw_edges(fitted, key, seed=seed)
    posterior = handlers.substitute(handlers.seed(guide, random.key(0)), values)
    batch = Batch(x, None, jnp.ones(len(x), bool), float(len(x)))
    traced = handlers.trace(posterior).get_trace(batch, flat_graph(fitted), config=fitted.config)
    drawn = mechanism(fitted, key, seed=seed)
    return propagate(traced["z"]["fn"].mean, drawn.W, drawn.rows, drawn.remainder)
