"""NUTS as the reference posterior of small problems: exact up to Monte Carlo error, and slow.

Edges, and what priors and the remainder sample, are drawn by the no-U-turn sampler, one chain per
seed. In the linear-Gaussian model (see `linear`) the cells' noise is integrated out; otherwise it
is drawn along with the edges. Networks, of the model or of priors, are not drawn: they are trained
with a point estimate of the edges first and stay as they are, so that the posterior is the one
given those networks. Source: Hoffman & Gelman, JMLR 2014, as implemented by NumPyro.
"""

import logging
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pandas as pd
from jax import lax, random
from jaxtyping import Array, Bool, Float, Int
from numpyro import handlers
from numpyro.diagnostics import effective_sample_size, split_gelman_rubin
from numpyro.infer import NUTS
from numpyro.infer.util import constrain_fn, potential_energy

from infosem_jax.engine import training
from infosem_jax.engine.layout import Layout, over_fits
from infosem_jax.grn import linear
from infosem_jax.grn.config import Config
from infosem_jax.grn.model import Batch, Graph, Weights, model, sample_structure, sites
from infosem_jax.grn.objective import InfoSEM, blank
from infosem_jax.grn.result import Fit

log = logging.getLogger("infosem_jax")

# What a chain that can be relied on stays below, and above.
MOST_R_HAT, LEAST_SIZE = 1.05, 50
START_SPREAD = 0.1


class Chain(NamedTuple):
    """What a chain leaves behind; every array has a leading axis of fits.

    Attributes
    ----------
    draws
        Draws of each site but the noise, [fits, draws, ...].
    energy
        Minus the log density of each draw in nats, up to a constant, [fits, draws].
    diverging
        Whether the transition to it was a divergent one, [fits, draws].
    """

    draws: dict[str, Array]
    energy: Float[Array, "*fits draws"]
    diverging: Bool[Array, "*fits draws"]


def check(config: Config, *, n_rows: int, n_genes: int, n_cells: int, gated: bool) -> None:
    """Refuse what NUTS cannot do, before long work starts.

    Parameters
    ----------
    config
        Settings; nothing is checked for other guides.
    n_rows, n_genes, n_cells
        Size of the problem.
    gated
        Whether edges have logits.

    Raises
    ------
    ValueError
        If there are too many unknowns, or settings that leave no posterior to draw from.
    """
    if config.guide != "nuts":
        return
    noise = 0 if linear.is_linear(config) else n_cells * n_genes
    unknowns = n_rows * n_genes * (1 + gated) + noise
    if unknowns > config.nuts_unknowns:
        raise ValueError(
            f"guide nuts: expected at most {config.nuts_unknowns} unknowns (nuts_unknowns), found "
            f"{unknowns}: {n_rows} rows x {n_genes} genes{', twice' if gated else ''}"
            f"{f', and the noise of {n_cells} cells' if noise else ''}. Take fewer genes, rows or "
            "cells, raise the limit, or use guide lowrank or normal."
        )
    if config.nuts_draws < 4:
        raise ValueError(
            f"guide nuts: expected nuts_draws of at least 4, which diagnostics take, found "
            f"{config.nuts_draws}."
        )
    if config.held_out:
        raise ValueError(f"guide nuts: expected held_out = 0, found {config.held_out}.")
    if config.weight_z != 1:
        raise ValueError(
            f"guide nuts: expected weight_z = 1, as in a posterior, found {config.weight_z}."
        )


def has_parameters(config: Config, graph: Graph, n_genes: int) -> bool:
    """Return whether the model has networks, or other parameters, to be trained first.

    Parameters
    ----------
    config, graph
        As in `infosem_jax.grn.model.model`.
    n_genes
        Number of genes.
    """
    found = sites(blank(n_genes), graph, config=config)
    return any(site.kind == "param" for site in found.values())


def run(
    objective: InfoSEM, layout: Layout, fits: training.Fits, shared: Any, params: training.Params
) -> tuple[training.Params, training.Losses, Int[np.ndarray, " fits"]]:
    """Draw a chain for every fit, and return parameters, losses and divergence as training does.

    Parameters
    ----------
    objective, layout, fits, shared, params
        As in `sample`.

    Returns
    -------
    Parameters, with ``draws`` and ``diverging`` in place of the point estimate; minus the log
    density of each draw per measured value; and the first draw without one, -1 if none.
    """
    chain = sample(objective, layout, fits, shared, params)
    networks = {name: value for name, value in params.items() if not name.endswith("_loc")}
    n_genes = chain.draws["effect"].shape[-1]
    values = training.to_host(fits.own.n_cells)[:, None] * n_genes
    train = training.to_host(chain.energy) / values
    bad = ~np.isfinite(train)
    failed = np.where(bad.any(1), bad.argmax(1), -1)
    left = networks | {"draws": chain.draws, "diverging": chain.diverging}
    return left, training.Losses(train, np.full_like(train, np.nan)), failed


@partial(jax.jit, static_argnames=("objective", "layout"))
def sample(
    objective: InfoSEM, layout: Layout, fits: training.Fits, shared: Any, params: training.Params
) -> Chain:
    """Draw one chain for every fit, all in one program.

    Parameters
    ----------
    objective, layout, fits, shared
        As in `infosem_jax.engine.training.init`.
    params
        Parameters of the point estimate that chains start near, with a leading axis of fits.
    """
    config = objective.config

    def one(fit_and_params, shared):
        fit, params = fit_and_params
        data = objective.view(shared, fit.own)
        x, observed = data.batch(jnp.arange(data.n_rows))
        real = jnp.arange(data.n_rows) < data.n_cells
        total = jnp.asarray(data.n_cells, x.dtype) * data.own.share
        batch = Batch(x, observed, real, total)
        known = objective.constrain(params, data.graph)
        # Data sets that are fitted with one key must not share the random numbers of their chains:
        # errors that are meant to average out over data sets would not.
        own = random.fold_in(fit.keys, lax.bitcast_convert_type(x[0, 0], jnp.uint32))
        start_key, chain_key = random.split(random.fold_in(own, 5))
        start = _start(start_key, params, batch, data.graph, config)
        energy = partial(_energy(batch, config), known, data.graph, data.own.weights)
        kernel = NUTS(potential_fn=energy)
        state = kernel.init(chain_key, config.nuts_warmup, start, (), {})
        # One loop for both phases, as each costs a compilation of the sampler.
        steps = config.nuts_warmup + config.nuts_draws
        _, chain = lax.scan(partial(_step, kernel), state, length=steps)
        chain = jax.tree.map(lambda leaf: leaf[config.nuts_warmup :], chain)
        named = handlers.substitute(handlers.seed(model, random.key(0)), known)
        draws = constrain_fn(
            named, (blank(data.n_genes), data.graph), {"config": config}, chain.draws, batch_ndims=1
        )
        return chain._replace(draws={name: draws[name] for name in sorted(chain.draws)})

    return over_fits(one, layout)((fits, params), shared)


def diagnostics(fitted: Fit) -> pd.DataFrame:
    """Tell whether chains have converged: site, r_hat (worst), size (least), divergences.

    ``r_hat`` compares the chains, and halves of each, and ``size`` is the effective number of
    draws; both are the worst over the entries of a site. Self-effects, which have no bearing on
    the data, count as well. Source: numpyro.diagnostics.

    Parameters
    ----------
    fitted
        A fit with guide ``nuts``.

    Raises
    ------
    ValueError
        If it has no draws.
    """
    if fitted.config.guide != "nuts":
        raise ValueError(f"Expected a fit with guide nuts, found {fitted.config.guide}.")
    divergences = int(np.asarray(fitted.params["diverging"]).sum())
    records = []
    for name, draws in fitted.params["draws"].items():
        chains = np.asarray(draws, np.float64)
        # What never moves has no variance to compare.
        moves = np.ptp(chains, axis=1).any(0)
        r_hat = np.where(moves, split_gelman_rubin(chains), np.inf)
        size = np.where(moves, effective_sample_size(chains), 0.0)
        records.append((name, float(r_hat.max()), float(size.min()), divergences))
    return pd.DataFrame(records, columns=pd.Index(["site", "r_hat", "size", "divergences"]))


def log_diagnostics(fitted: Fit) -> None:
    """Log the diagnostics of a fit, as a warning where its draws are not to be relied on."""
    worst = diagnostics(fitted)
    r_hat, size = worst["r_hat"].max(), worst["size"].min()
    divergences = int(worst["divergences"].iloc[0])
    seeds, draws = fitted.losses.train.shape
    text = (
        f"{fitted.name}: NUTS, {seeds} x {draws} draws: R-hat at most {r_hat:.3f}, effective "
        f"number of draws at least {size:.0f}, {divergences} divergent transitions."
    )
    if r_hat > MOST_R_HAT or size < LEAST_SIZE or divergences:
        log.warning("%s Draw more, or warm up longer; a less extreme prior helps too.", text)
    else:
        log.info("%s", text)


def _start(key: Array, params: training.Params, batch: Batch, graph: Graph, config: Config) -> dict:
    """Start near the point estimate, chains apart from each other; noise in unconstrained space."""
    start = {}
    for name, site in sites(batch, graph, config=config).items():
        if site.kind != "sample" or (name == "z" and linear.is_linear(config)):
            continue
        centre = params.get(f"{name}_loc", jnp.zeros(site.shape))
        key, own = random.split(key)
        start[name] = centre + START_SPREAD * random.normal(own, centre.shape)
    return start


def _energy(batch: Batch, config: Config) -> Any:
    """Return minus the log density of unknowns given parameters, graph and weights."""
    if linear.is_linear(config):
        # Cells count for less than one where covariates were taken out.
        share = jnp.sqrt(batch.total / batch.real.sum())
        x = jnp.where(batch.real[:, None], share * batch.x, 0.0)
        cells = linear.scatter(x, batch.total)
        return partial(_energy_of_edges, cells, config)
    return partial(_energy_of_all, batch, config)


def _energy_of_edges(cells, config: Config, known, graph: Graph, weights: Weights, unknowns):
    given = handlers.substitute(handlers.seed(_collapsed, random.key(0)), known)
    return potential_energy(given, (cells, graph, weights), {"config": config}, unknowns)


def _energy_of_all(batch: Batch, config: Config, known, graph: Graph, weights: Weights, unknowns):
    given = handlers.substitute(handlers.seed(model, random.key(0)), known)
    energy = potential_energy(given, (batch, graph, weights), {"config": config}, unknowns)
    # The model leaves the noise of padding out: it needs a density of its own to stay in place.
    padding = jnp.where(batch.real[:, None], 0.0, unknowns["z"])
    return energy + 0.5 * (padding**2).sum()


def _collapsed(cells: linear.Scatter, graph: Graph, weights: Weights, *, config: Config) -> None:
    """Declare the linear-Gaussian model of `model` with the noise of the cells integrated out."""
    W, remainder = sample_structure(graph, weights, cells.root.shape[1], config=config)
    A = linear.structure(W, graph.rows, remainder)
    numpyro.factor("x", linear.log_likelihood(cells, A, config.observation_sd))


def _step(kernel: NUTS, state: Any, _: None) -> tuple[Any, Chain]:
    state = kernel.sample(state, (), {})
    draws = {name: value for name, value in state.z.items() if name != "z"}
    return state, Chain(draws, state.potential_energy, state.diverging)
