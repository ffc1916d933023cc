"""From expression and priors to a network with exact posteriors: `fit`."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from jaxtyping import Float, Int

from infosem_jax.data.dataset import Dataset, normalise
from infosem_jax.engine.types import Progress
from infosem_jax.grn.exact import score
from infosem_jax.grn.exact.config import Config
from infosem_jax.grn.exact.effective import effective_cells
from infosem_jax.grn.exact.posterior import spectrum
from infosem_jax.grn.exact.priors import Normals, directed, prior_odds
from infosem_jax.grn.exact.solving import solve
from infosem_jax.grn.exact.statistics import Moments, moments
from infosem_jax.grn.networks import Network
from infosem_jax.grn.priors import GeneContext, Prior, bind
from infosem_jax.grn.priors.binding import coverage

# Time grows with the cube of the rows: 4,000 take minutes on two cores.
MOST_ROWS = 4000


class Fit(NamedTuple):
    """A network with the posterior of every effect.

    Attributes
    ----------
    genes, rows, regulators
        Names of the targets, of the genes with effects, and of the candidates that are reported.
    name
        What the data were called.
    config
        Settings.
    score
        Log-odds of each edge, prior and expression together, [regulators, genes].
    weight, sd, positive
        Mean and standard deviation of each effect, and the probability that it is positive,
        [regulators, genes].
    probability
        Of each edge, [regulators, genes].
    prior_mean
        Mean of each effect before the expression, [regulators, genes].
    log_evidence
        Of each target, in nats, [genes]; its sum over targets compares priors on the same data.
    learned
        What was learned: ``r2``, ``slope``, ``reliability``, ``edges``, ``activating``,
        ``strength``, ``trust``, ``cells``, and the parameters of the prior.
    losses
        Minus the log density of the hyper-parameters at each step, [steps].
    seconds
        Wall-clock time.
    coverage
        How much of the data each prior knows about, by ``effect`` and ``edge``.
    """

    genes: tuple[str, ...]
    rows: tuple[str, ...]
    regulators: tuple[str, ...]
    name: str
    config: Config
    score: Float[np.ndarray, "regulators genes"]
    weight: Float[np.ndarray, "regulators genes"]
    sd: Float[np.ndarray, "regulators genes"]
    positive: Float[np.ndarray, "regulators genes"]
    probability: Float[np.ndarray, "regulators genes"]
    prior_mean: Float[np.ndarray, "regulators genes"]
    log_evidence: Float[np.ndarray, " genes"]
    learned: dict[str, Any]
    losses: Float[np.ndarray, " steps"]
    seconds: float
    coverage: dict[str, dict[str, Any]] = {}  # noqa: RUF012


def fit(
    data: Dataset,
    effect: Prior | None = None,
    edge: Prior | None = None,
    *,
    config: Config = Config(),
    key: int = 0,
    summed: Moments | None = None,
    on_chunk: Callable[[Progress], None] | None = None,
) -> Fit:
    """Fit a linear-Gaussian network with exact posteriors.

    Parameters
    ----------
    data
        Expression as read, or normalised.
    effect
        Prior of the effects; None for ``Normal(0, t)`` with t from the evidence.
    edge
        Prior of the existence of edges.
    config
        Settings.
    key
        Seed of the draws of hyper-parameters and of the start of networks in a prior.
    summed
        Moments of the same data and rows from before, see `infosem_jax.grn.exact.moments`.
    on_chunk
        Told after each step.

    Raises
    ------
    ValueError
        If a prior is neither normal given its parameters nor a scale mixture, or does not fit the
        genes.
    """
    began = time.perf_counter()
    ready = scaled(data, config)
    rows = acting(ready, config)
    names = tuple(ready.genes[i] for i in rows)
    place = {name: i for i, name in enumerate(names)}
    reported = np.array([place[name] for name in ready.regulators])
    context = GeneContext(ready.genes, names, len(ready.cells))
    bound = None if effect is None else bind(effect, context)
    given = {"effect": (effect, context), "edge": (edge, replace(context, site="logit"))}
    covered = {
        site: coverage(prior, at) for site, (prior, at) in given.items() if prior is not None
    }
    tell = _teller(on_chunk, data.name)

    tell(0, "summing up the cells")
    summed = moments(ready.x, rows) if summed is None else summed
    basis = spectrum(summed, rows)
    tell(1, "solving for effects")
    cells = effective_cells(ready.x, rows, basis) if config.cells == "effective" else config.cells
    solved = solve(summed, basis, rows, bound, config, random.key(key), cells=cells)
    tell(2, "scoring edges")
    known = jnp.asarray(reported)
    base = prior_odds(edge, context, config.edges, random.key(key))
    base = None if base is None else base[known]
    told = None if solved.told is None else Normals(*(part[known] for part in solved.told))
    settings = {"cells": config.score_cells, "sign": directed(effect)}
    ranked = score.score(basis, known, base, told, **settings)
    tell(3, "done")
    effects = {
        name: np.asarray(getattr(solved.effects, name))[reported]
        for name in ("weight", "sd", "positive", "prior_mean")
    }
    learned = {**solved.learned, **ranked.learned}
    if cells is not None:
        learned["cells"] = np.asarray(cells)
    return Fit(
        genes=ready.genes,
        rows=names,
        regulators=ready.regulators,
        name=data.name,
        config=replace(config, normalisation=ready.normalisation),
        score=np.asarray(ranked.score),
        probability=np.asarray(ranked.probability),
        log_evidence=np.asarray(solved.effects.log_evidence),
        learned=jax.tree.map(np.asarray, learned),
        losses=np.asarray(solved.losses),
        seconds=time.perf_counter() - began,
        coverage=covered,
        **effects,
    )


def network(fitted: Fit) -> Network:
    """Return the network of a fit: effects, their spread, and how sure their sign is."""
    return Network(
        regulators=fitted.regulators,
        genes=fitted.genes,
        weight=fitted.weight,
        sd=fitted.sd,
        sign_agreement=np.where(fitted.weight >= 0, fitted.positive, 1 - fitted.positive),
        probability=fitted.probability,
        name=fitted.name,
        score=fitted.score,
    )


def scaled(data: Dataset, config: Config) -> Dataset:
    """Bring expression to the scale of the settings, unless it is normalised already."""
    if data.normalisation != "none":
        return data
    return normalise(data, config.normalisation, clip=config.clip)


def acting(data: Dataset, config: Config) -> Int[np.ndarray, " rows"]:
    """Return which genes act, as columns of the data.

    Raises
    ------
    ValueError
        If they are so many that their square matrices take hours.
    """
    names = data.genes if config.rows == "all" else data.regulators
    if len(names) > MOST_ROWS:
        raise ValueError(
            f"{data.name}: the exact engine decomposes a matrix of genes that act by genes that "
            f'act, expected at most {MOST_ROWS:,}, found {len(names):,}; set rows = "regulators" '
            "(table [exact] of --config) with a list of regulators, or take the svi engine."
        )
    at = {gene: i for i, gene in enumerate(data.genes)}
    return np.array([at[name] for name in names])


def _teller(on_chunk: Callable[[Progress], None] | None, name: str) -> Callable[[int, str], None]:
    def tell(done: int, text: str) -> None:
        if on_chunk is not None:
            on_chunk(Progress(done, 3, "steps", f"{name}: {text}", None))

    return tell
