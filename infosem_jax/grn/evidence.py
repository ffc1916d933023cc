"""How well a fit predicts cells that it has not seen: the currency in which priors are compared.

The model says ``u A = z`` with ``A = I - W``, ``z ~ Normal(location, scale^2)`` and
``x ~ Normal(f(u), observation_sd^2)`` with the decoder f. What it says of a new cell is
``p(x) = integral p(u) p(x | u) du``, estimated by importance sampling from a normal distribution
near the integrand. The estimate is unbiased for ``p(x)``, so its logarithm falls short of
``log p(x)`` on average, by less the more samples there are. No divergence weight and no part of a
prior enters: fits with different priors are comparable.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random
from jax.scipy.linalg import cho_solve, solve_triangular
from jax.scipy.special import logsumexp
from jaxtyping import Array, Bool, Float, Int
from numpyro import handlers

from infosem_jax.data.dataset import Dataset, normalise
from infosem_jax.engine import training
from infosem_jax.engine.layout import Layout, choose, over_fits
from infosem_jax.grn.config import Config
from infosem_jax.grn.model import decoder
from infosem_jax.grn.objective import objective, schedule
from infosem_jax.grn.posterior import Mechanism, mechanism, parameters
from infosem_jax.grn.result import Fit

MOST_GENES = 4000
# Draws of the effects where the guide has a spread.
DRAWS = 4
NEWTON_STEPS = 3
# Steps from the mode towards the best normal proposal, and points of each average over it.
SETTLING_STEPS, NODES = 2, 7
STEP_SIZES = (1.0, 0.5, 0.25, 0.125, 0.0)


class Density(NamedTuple):
    """What a fit says of some cells.

    Attributes
    ----------
    cells
        Their names.
    nats
        Log predictive density of each, [cells], in nats.
    values
        Measured values that it is the density of, [cells].
    effective
        Effective sample size of each estimate, [cells]: the mean over draws of the effects.
    """

    cells: tuple[str, ...]
    nats: Float[np.ndarray, " cells"]
    values: Int[np.ndarray, " cells"]
    effective: Float[np.ndarray, " cells"]

    @property
    def per_value(self) -> Float[np.ndarray, " cells"]:
        """Nats per measured value of each cell, [cells]."""
        return self.nats / self.values


def held_out_cells(
    data: Dataset, config: Config, *, key: int = 0, seed: int = 0
) -> Int[np.ndarray, " held_out"]:
    """Return the places of the cells that a fit keeps out of training, in random order.

    They depend on the key, the seed and the names and number of the cells only: fits with
    different priors keep out the same ones.

    Parameters
    ----------
    data
        What is fitted.
    config
        Settings; ``held_out`` matters.
    key, seed
        Of the fit, and which of its seeds.

    Raises
    ------
    ValueError
        If the settings hold no cells out.
    """
    n_cells = len(data.cells)
    held_out = schedule(config, n_cells).held_out
    if not held_out:
        raise ValueError(
            "held_out: expected a share of the cells above 0, since held-out cells are what is "
            "scored, found 0; set it in the settings, for instance to 0.1."
        )
    order = training.cell_order(random.fold_in(random.key(key), seed), n_cells, n_cells)
    return np.argsort(np.asarray(data.cells))[np.asarray(order)[n_cells - held_out :]]


def density(
    fitted: Fit,
    data: Dataset,
    cells: Int[np.ndarray, " cells"],
    *,
    seed: int = 0,
    samples: int = 64,
    draws: int | None = None,
) -> Density:
    """Estimate the log predictive density of some cells under one seed of a fit.

    Where effects have a posterior, densities are averaged over draws of it. Settings that score
    measured values only (``observe = "nonzero"``) have the density of those: the others count as
    not known, as they do in training.

    Parameters
    ----------
    fitted
        A fit.
    data
        The data that it is of, as read or normalised.
    cells
        Places of the cells to score, see `held_out_cells`. Each takes a time that grows with the
        cube of the number of genes.
    seed
        Which seed of the fit.
    samples
        Importance samples for each cell and draw.
    draws
        Draws of the effects; None takes 1 for point estimates and 4 otherwise.

    Raises
    ------
    ValueError
        If the data have other genes, or too many; if there is no cell or no sample; or if the seed
        diverged.
    """
    if draws is None:
        draws = 1 if fitted.config.guide == "point" else DRAWS
    draw = partial(mechanism, fitted, seed=seed)
    mechanisms = jax.vmap(draw)(random.split(random.key(0), draws))
    nats, effective, values = under_draws(
        fitted, data, cells, mechanisms, seed=seed, samples=samples
    )
    return Density(
        tuple(data.cells[i] for i in cells),
        np.logaddexp.reduce(nats) - np.log(len(nats)),
        values,
        effective.mean(0),
    )


def under_draws(
    fitted: Fit,
    data: Dataset,
    cells: Int[np.ndarray, " cells"],
    mechanisms: Mechanism,
    *,
    seed: int = 0,
    samples: int = 64,
) -> tuple[
    Float[np.ndarray, "draws cells"], Float[np.ndarray, "draws cells"], Int[np.ndarray, " cells"]
]:
    """Estimate the log density of some cells under each draw of the posterior.

    Parameters
    ----------
    fitted, data, cells, seed, samples
        As in `density`.
    mechanisms
        The draws; every array has a leading axis of them.

    Returns
    -------
    Nats and effective sample sizes, [draws, cells], and the number of measured values, [cells].

    Raises
    ------
    ValueError
        As `density`.
    """
    _check(fitted, data, len(cells), samples, seed)
    if data.normalisation == "none":
        data = normalise(data, fitted.config.normalisation, clip=fitted.config.clip)
    layout = choose(len(cells), 1)
    fill = -len(cells) % layout.devices[0]
    at = np.ix_(np.pad(cells, (0, fill), mode="edge"), np.argsort(np.asarray(data.genes)))
    x, observed = data.x[at], data.observed[at]
    if fitted.config.observe == "all":
        observed = np.ones_like(observed)
    keys = random.split(random.key(1), len(x))
    known = parameters(fitted, seed)
    networks = {name: known[name] for name in known if name == "decoder$params"}
    nats, effective = _densities(
        (x, observed, keys),
        mechanisms,
        networks,
        config=objective(fitted.config).config,
        samples=samples,
        layout=layout,
    )
    n = len(cells)
    nats, effective = (np.asarray(part, np.float64)[:, :n] for part in (nats, effective))
    return nats, effective, observed[:n].sum(1)


class _State(NamedTuple):
    """The normal distribution of the states of the genes before anything is measured.

    ``u A ~ Normal(location, scale^2)``; ``precision = A diag(scale^-2) A^T``.
    """

    A: Array
    location: Array
    scale: Array
    precision: Array
    log_determinant: Array


def _check(fitted: Fit, data: Dataset, n_cells: int, samples: int, seed: int) -> None:
    if set(data.genes) != set(fitted.genes):
        raise ValueError(
            f"{data.name}: expected the {len(fitted.genes)} genes of the fit, found "
            f"{len(data.genes)} genes that differ; give the data that were fitted."
        )
    if len(data.genes) > MOST_GENES:
        raise ValueError(
            f"{data.name}: expected at most {MOST_GENES} genes, found {len(data.genes)}; the time "
            "for each cell grows with their cube. Select genes, or score fewer of them."
        )
    if n_cells < 1 or samples < 1:
        raise ValueError(
            f"Expected at least one cell and one sample, found {n_cells} and {samples}."
        )
    if fitted.diverged[seed] >= 0:
        raise ValueError(f"{fitted.name}: seed {seed} diverged and has no density.")


@partial(jax.jit, static_argnames=("config", "samples", "layout"))
def _densities(
    cells: tuple[Array, Array, Array],
    mechanisms: Mechanism,
    networks: dict,
    *,
    config: Config,
    samples: int,
    layout: Layout,
) -> tuple[Float[Array, "draws cells"], Float[Array, "draws cells"]]:
    """Score every cell under every draw."""

    def under(draw, cells, networks):
        one = partial(_cell_density, config=config, samples=samples)
        return over_fits(one, layout)(cells, _state(draw, cells[0].shape[1]), networks)

    with jax.default_matmul_precision("float32"):
        return lax.map(lambda draw: under(draw, cells, networks), mechanisms)


def _state(draw: Mechanism, n_genes: int) -> _State:
    A = jnp.eye(n_genes).at[draw.rows].add(-draw.W)
    if draw.remainder is not None:
        A = A - draw.remainder.source @ draw.remainder.target
    precision = (A / draw.scale[None] ** 2) @ A.T
    return _State(A, draw.location, draw.scale, precision, jnp.linalg.slogdet(A)[1])


def _cell_density(
    cell: tuple[Float[Array, " genes"], Bool[Array, " genes"], Array],
    state: _State,
    networks: dict,
    *,
    config: Config,
    samples: int,
) -> tuple[Array, Array]:
    """Return the log density of one cell, and the effective sample size of its estimate."""
    x, observed, key = cell
    decode = handlers.substitute(handlers.seed(lambda u: decoder(config)(u), 0), networks)
    energy = partial(_energy, x=x, observed=observed, state=state, decode=decode, config=config)
    curvature = partial(_curvature, x, observed, state, decode, config)

    def improve(_, u):
        # Gauss-Newton: the decoder is taken for a straight line around the present state.
        gradient, factor = curvature(u)
        step = cho_solve((factor, True), gradient)
        tried = u[None] - jnp.array(STEP_SIZES)[:, None] * step[None]
        heights = energy(tried)
        return tried[jnp.argmin(jnp.where(jnp.isnan(heights), jnp.inf, heights))]

    start = jnp.linalg.solve(state.A.T, state.location)
    mode = lax.fori_loop(0, NEWTON_STEPS, improve, start)
    settle = partial(_settle, x, observed, state, decode, config)
    centre, factor = lax.fori_loop(0, SETTLING_STEPS, settle, (mode, curvature(mode)[1]))
    noise = random.normal(key, (samples, len(x)))
    u = centre[None] + solve_triangular(factor, noise.T, lower=True, trans=1).T
    log_proposal = jnp.log(jnp.diag(factor)).sum() - 0.5 * (noise**2).sum(1)
    log_weight = -energy(u) - log_proposal + _log_constant(observed, state, config)
    effective = jnp.exp(2 * logsumexp(log_weight) - logsumexp(2 * log_weight))
    return logsumexp(log_weight) - jnp.log(samples), effective


def _energy(
    u: Float[Array, "states genes"],
    *,
    x: Array,
    observed: Array,
    state: _State,
    decode: Callable,
    config: Config,
) -> Float[Array, " states"]:
    """Minus the log of ``p(u) p(x | u)``, without its constant."""
    z = (u @ state.A - state.location[None]) / state.scale[None]
    error = jnp.where(observed, x[None] - decode(u), 0.0) / config.observation_sd
    return 0.5 * (z**2).sum(1) + 0.5 * (error**2).sum(1)


def _curvature(
    x: Array, observed: Array, state: _State, decode: Callable, config: Config, u: Array
) -> tuple[Array, Array]:
    """Return the gradient of the energy and the Cholesky factor of its Gauss-Newton Hessian."""
    mean, pull = jax.vjp(decode, u[None])
    slope = jnp.where(observed, pull(jnp.ones_like(mean))[0][0], 0.0) / config.observation_sd
    error = (x - mean[0]) / config.observation_sd
    away = (u @ state.A - state.location) / state.scale**2
    gradient = state.A @ away - slope * error
    return gradient, jnp.linalg.cholesky(state.precision + jnp.diag(slope**2))


def _settle(
    x: Array,
    observed: Array,
    state: _State,
    decode: Callable,
    config: Config,
    _: Array,
    proposal: tuple[Array, Array],
) -> tuple[Array, Array]:
    """Bring centre and width of the proposal nearer to those that minimise its divergence.

    A Newton step of Gaussian variational inference: gradient and curvature of the likelihood are
    averaged over the proposal instead of taken at its centre (Opper and Archambeau 2009).
    """
    centre, factor = proposal
    half = solve_triangular(factor, jnp.eye(len(x)), lower=True)
    spread = jnp.sqrt((half**2).sum(0))
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    nodes, weights = jnp.asarray(nodes, x.dtype), jnp.asarray(weights / weights.sum(), x.dtype)
    mean, pull = jax.vjp(decode, centre[None] + nodes[:, None] * spread[None])
    slope = pull(jnp.ones_like(mean))[0]
    measured = observed / config.observation_sd**2
    push = (x[None] - mean) * slope * measured[None]
    # By Stein's lemma, the mean of minus its derivative; a flat or bent likelihood counts a little.
    bend = -(weights * nodes) @ push / spread
    width = jnp.maximum(bend, 0.1 * weights @ (slope**2) * measured)
    gradient = state.A @ ((centre @ state.A - state.location) / state.scale**2) - weights @ push
    factor = jnp.linalg.cholesky(state.precision + jnp.diag(width))
    return centre - cho_solve((factor, True), gradient), factor


def _log_constant(observed: Array, state: _State, config: Config) -> Array:
    """Return the log of what normalises prior and likelihood; the proposal's 2 pi cancels one."""
    per_value = 0.5 * jnp.log(2 * jnp.pi) + jnp.log(config.observation_sd)
    return state.log_determinant - jnp.log(state.scale).sum() - observed.sum() * per_value
