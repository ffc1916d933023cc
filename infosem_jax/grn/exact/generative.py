"""The model of the exact engine for NumPyro: hyper-parameters, effects, and expression.

Given the cells, effects and noise are integrated out: the model is `hyper.collapsed`, whose log
density is the evidence. Without them it draws noise, effects and the expression of every gene from
the measured expression of the genes that act, as the regressions have it,

    s_j^2 ~ InverseGamma(noise / 2, noise / 2),  w_ij ~ Normal(m_ij, (t s_j)^2),
    x_j ~ Normal(Z w_j, s_j^2)

The guide has a point for each hyper-parameter (or, of a fit by NUTS, one of the draws that it
kept), and draws effects and noise exactly given those.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import random
from jax.tree_util import Partial
from jaxtyping import Array, Float
from numpyro import handlers
from numpyro.infer.autoguide import AutoDelta

from infosem_jax.grn.exact.decomposition import Spectrum
from infosem_jax.grn.exact.fitting import Task, bound_to_cells, decomposed
from infosem_jax.grn.exact.hyper import START, Pattern, at, collapsed, declared
from infosem_jax.grn.exact.posterior import draw
from infosem_jax.grn.exact.priors import Kind, normals, one_scale
from infosem_jax.grn.exact.solving import pattern_of


class Given(NamedTuple):
    """What model and guide are made of.

    Attributes
    ----------
    basis
        Moments of the cells.
    pattern, prior, r2, noise
        As in `infosem_jax.grn.exact.hyper.collapsed`.
    acting
        Normalised expression of the genes that act, [cells, rows].
    kept
        Whether the guide takes one of the draws of hyper-parameters under the parameter ``draws``.
    """

    basis: Spectrum
    pattern: Pattern | None
    prior: Partial | None
    r2: float | None
    noise: float
    acting: Float[Array, "cells rows"]
    kept: bool = False


def given(task: Task) -> Given:
    """Put together what model and guide are made of.

    Parameters
    ----------
    task
        Data, settings and priors that were checked.

    Raises
    ------
    ValueError
        If the prior is one that the engine does not integrate out in closed form.
    """
    data: Any = task.data
    if task.edge is not None:
        raise ValueError(
            "Expected no edge prior, which has a part in the scores of the exact engine and none "
            "in its model; leave it out, or take the settings of the svi engine."
        )
    basis, bound, kind = bound_to_cells(task, decomposed(data, task.rows))
    what, prior = kind or Kind(False, False), None if bound is None else bound.distribution
    if prior is not None and (what.mixture or not one_scale(at({}, prior).scale)):
        raise ValueError(
            "Expected a prior with one scale for all pairs, which the exact engine integrates out "
            "in closed form, found a scale mixture or scales that differ; take the settings of the "
            "svi engine."
        )
    stated = None if prior is None or what.learns else normals(prior)
    return Given(
        basis,
        None if stated is None else pattern_of(basis, stated),
        prior if what.learns else None,
        task.config.r2,
        task.config.noise,
        jnp.asarray(data.x[:, task.rows]),
    )


def model(given: Given, basis: Spectrum | None = None) -> None:
    """Declare the hyper-parameters and, unless cells are given, noise, effects and expression.

    Parameters
    ----------
    given
        What it is made of.
    basis
        Moments of the cells, to condition on them.
    """
    if basis is not None:
        collapsed(basis, given.pattern, given.prior, r2=given.r2, noise=given.noise)
        return
    scale, mean, _ = declared(given.basis, given.pattern, given.prior, given.r2)
    shape = len(given.basis.vectors), len(given.basis.total)
    half = jnp.full(shape[1], given.noise / 2)
    variance: Any = numpyro.sample("variance", dist.InverseGamma(half, half).to_event(1))
    sd = jnp.sqrt(variance)
    prior = dist.Normal(jnp.zeros(shape) if mean is None else mean, scale * sd)
    effect: Any = numpyro.sample("effect", prior.to_event(2))
    location = given.acting @ jnp.where(given.basis.itself, 0.0, effect)
    with numpyro.plate("cells", len(location)):
        numpyro.sample("x", dist.Normal(location, sd).to_event(1))


def guide(given: Given, basis: Spectrum | None = None) -> None:
    """Declare the hyper-parameters and, unless cells are given, noise and effects.

    Parameters
    ----------
    given, basis
        As in `model`.
    """
    point = AutoDelta(model, init_loc_fn=START)
    values = _one_draw() if given.kept else point(given, given.basis)
    if basis is not None:
        return
    # Parameters of the prior are shared with the model; its sites have their values already.
    with (
        handlers.block(hide_fn=lambda site: site["type"] == "sample"),
        handlers.substitute(data=values),
    ):
        scale, mean, _ = declared(given.basis, given.pattern, given.prior, given.r2)
    key: Any = numpyro.prng_key()
    effect, variance = draw(key, given.basis, scale, mean, given.noise)
    numpyro.sample("variance", dist.Delta(variance, event_dim=1))
    numpyro.sample("effect", dist.Delta(effect, event_dim=2))


def _one_draw() -> dict[str, Any]:
    """Take one of the draws that a fit kept, all equally likely."""
    draws: Any = numpyro.param("draws")
    key: Any = numpyro.prng_key()
    at = random.randint(key, (), 0, len(next(iter(draws.values()))))
    return {
        name: numpyro.sample(name, dist.Delta(values[at], event_dim=values.ndim - 1))
        for name, values in draws.items()
    }
