"""Simulation-based calibration: whether true effects are where the posterior says they are.

Effects are drawn from the prior and data from the model, the data are fitted, and each true effect
is ranked among posterior draws of it. Over many data sets the ranks of an exact posterior are
uniform; a guide that is too sure of itself piles them up at both ends, one that is not sure
enough in the middle. Source: Talts et al. 2018 (arXiv 1804.06788).
"""

from dataclasses import replace
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random
from jaxtyping import Array, Float, Int
from numpyro import handlers
from numpyro.diagnostics import effective_sample_size
from scipy import stats

from infosem_jax.data.dataset import Dataset
from infosem_jax.grn.config import Config
from infosem_jax.grn.fitting import fit_many
from infosem_jax.grn.model import Batch, Graph, model, sites
from infosem_jax.grn.objective import blank
from infosem_jax.grn.posterior import draw_weights
from infosem_jax.grn.priors.binding import GeneContext, Prior, Priors, bind
from infosem_jax.grn.sem import weight_matrix

Shape = Literal["uniform", "overconfident", "underconfident", "biased"]

MOST_BINS, LEAST_PER_BIN = 10, 8
# Of the two tests of the shape of ranks, together.
LEVEL = 0.01


class Size(NamedTuple):
    """Size of the simulated data sets, and how many there are."""

    genes: int = 5
    regulators: int = 2
    cells: int = 40
    datasets: int = 100


DEFAULT_SIZE = Size()


class Simulated(NamedTuple):
    """Data sets with the effects behind them.

    Attributes
    ----------
    truth
        W of each data set, [datasets, rows, genes].
    data
        The data sets; genes are named in ascending order.
    """

    truth: Float[np.ndarray, "datasets rows genes"]
    data: tuple[Dataset, ...]


class Draws(NamedTuple):
    """True effects beside posterior draws of them; self-effects are left out.

    Attributes
    ----------
    truth
        [datasets, effects].
    draws
        [datasets, draws, effects]; as good as independent.
    names
        Regulator and target of each effect.
    """

    truth: Float[np.ndarray, "datasets effects"]
    draws: Float[np.ndarray, "datasets draws effects"]
    names: tuple[tuple[str, str], ...]


def simulate(
    effect: Prior,
    edge: Prior | None = None,
    *,
    config: Config,
    size: Size = DEFAULT_SIZE,
    key: int = 0,
) -> Simulated:
    """Draw effects from the prior and data from the model, by the model's own code.

    Parameters
    ----------
    effect, edge
        Priors, as `infosem_jax.grn.fit` takes them.
    config
        Settings of the model. It must have no parameters of its own: decoder ``identity``, latent
        prior ``standard``, and priors that learn nothing but what they sample.
    size
        How large, and how many.
    key
        Seeds the random numbers.

    Raises
    ------
    ValueError
        If sizes make no sense, or model or priors have parameters, whose true values no
        distribution stands for, or labels are observed.
    """
    if not (1 <= size.regulators <= size.genes and size.cells >= 2 and size.datasets >= 1):
        raise ValueError(
            "Expected 1 <= regulators <= genes, at least 2 cells and 1 data set, found "
            f"{', '.join(f'{name} = {value}' for name, value in size._asdict().items())}."
        )
    genes = tuple(f"gene{i:04d}" for i in range(size.genes))
    acting = genes if config.rows == "all" else genes[: size.regulators]
    contexts = (GeneContext(genes, acting, size.cells, site) for site in ("effect", "logit"))
    bound, bound_edge = (
        None if prior is None else bind(prior, context)
        for prior, context in zip((effect, edge), contexts, strict=True)
    )
    if bound is None:
        raise ValueError("Expected a prior of the effects to draw them from, found none.")
    if bound_edge is not None and bound_edge.observe is not None:
        raise ValueError("Expected an edge prior without observed labels; use observe=False.")
    graph = Graph(bound, bound_edge, jnp.arange(len(acting)))
    found = sites(blank(size.genes), graph, config=config)
    learned = [name for name, site in found.items() if site.kind == "param"]
    if learned:
        raise ValueError(
            "Expected a model without parameters (decoder = 'identity', latent_prior = "
            f"'standard', priors that sample all they learn), found {', '.join(learned)}."
        )
    keys = random.split(random.key(key), size.datasets)
    truth, x = map(np.asarray, _simulated(graph, keys, config=config, size=size))
    cells = tuple(f"cell{i:06d}" for i in range(size.cells))
    data = tuple(
        Dataset(one, one != 0, genes, cells, genes[: size.regulators], f"simulated {i}")
        for i, one in enumerate(x)
    )
    return Simulated(truth, data)


def posterior_draws(
    simulated: Simulated,
    effect: Prior,
    edge: Prior | None = None,
    *,
    config: Config,
    draws: int = 99,
    key: int = 0,
) -> Draws:
    """Fit every data set, all of them in one program, and draw from what was learned.

    Chains are thinned to evenly spaced draws, and to no more of them than the effective number of
    draws of the effect for which it is least (averaged over data sets).

    Parameters
    ----------
    simulated
        Data sets and their truth.
    effect, edge, config
        As in `simulate`; the guide may be any.
    draws
        Posterior draws per data set.
    key
        Seeds the random numbers.

    Raises
    ------
    ValueError
        If chains are shorter than the draws asked for, or mix too badly for 20 draws of each.
    """
    if config.guide == "nuts" and config.nuts_draws < draws:
        raise ValueError(f"Expected nuts_draws of at least {draws}, found {config.nuts_draws}.")
    config = replace(config, normalisation="none")
    fits = fit_many(simulated.data, {"": Priors(effect, edge)}, configs=config, key=key)
    by_name = {job.data: fitted for job, fitted in fits}
    fitted = [by_name[data.name] for data in simulated.data]
    away = np.asarray(fitted[0].rows)[:, None] != np.asarray(fitted[0].genes)
    if config.guide == "nuts":
        length = config.nuts_draws
        whole = [draw_weights(one, random.key(0), draws=length) for one in fitted]
        draws = min(draws, _effective(np.stack(whole)[:, :, away]))
    keys = random.split(random.fold_in(random.key(key), 1), len(fitted))
    drawn = [
        np.asarray(draw_weights(one, own, draws=draws))[:, away]
        for one, own in zip(fitted, keys, strict=True)
    ]
    names = tuple((fitted[0].rows[i], fitted[0].genes[j]) for i, j in np.argwhere(away))
    return Draws(simulated.truth[:, away], np.stack(drawn), names)


def ranks(made: Draws) -> Int[np.ndarray, "datasets effects"]:
    """Return how many posterior draws lie below each true effect: 0 to the number of draws."""
    return (made.draws < made.truth[:, None]).sum(1)


def uniformity(
    ranks: Int[np.ndarray, "datasets effects"], n_draws: int
) -> Float[np.ndarray, " effects"]:
    """Test the ranks of each effect for uniformity: chi-square p-values after Bonferroni.

    Ranks 0 to ``n_draws`` are cut into at most 10 bins of about equal size, at least 8 data sets
    to each. The correction holds however the effects depend on each other.

    Parameters
    ----------
    ranks
        As `ranks` returns them.
    n_draws
        Posterior draws per data set.

    Raises
    ------
    ValueError
        If there are too few data sets for two bins, or ranks are out of range.
    """
    datasets, effects = ranks.shape
    bins = min(MOST_BINS, datasets // LEAST_PER_BIN, n_draws + 1)
    if bins < 2:
        raise ValueError(
            f"Expected at least {2 * LEAST_PER_BIN} data sets and 1 draw, found {datasets} and "
            f"{n_draws}."
        )
    if ranks.min() < 0 or ranks.max() > n_draws:
        raise ValueError(
            f"Expected ranks from 0 to {n_draws}, found {ranks.min()} to {ranks.max()}."
        )
    bin_of = np.arange(n_draws + 1) * bins // (n_draws + 1)
    expected = np.bincount(bin_of, minlength=bins) * datasets / (n_draws + 1)
    counts = np.stack([np.bincount(bin_of[column], minlength=bins) for column in ranks.T])
    return np.minimum(1.0, stats.chisquare(counts, expected, axis=1).pvalue * effects)


def shape(ranks: Int[np.ndarray, "datasets effects"], n_draws: int) -> Shape:
    """Say in a word how ranks depart from uniform, all effects taken together.

    U-shaped ranks: the posterior is overconfident. A hump: underconfident. A slope: biased. The
    mean rank, and its mean squared distance from the middle, are compared with those of uniform
    ranks by t-tests over data sets, within which effects may depend on each other.

    Parameters
    ----------
    ranks, n_draws
        As in `uniformity`.
    """
    away = (ranks + 0.5) / (n_draws + 1) - 0.5
    uniform = ((np.arange(n_draws + 1) + 0.5) / (n_draws + 1) - 0.5) ** 2
    spread: Any = stats.ttest_1samp((away**2).mean(1), uniform.mean())
    slope: Any = stats.ttest_1samp(away.mean(1), 0.0)
    if min(spread.pvalue, slope.pvalue) >= LEVEL / 2:
        return "uniform"
    if slope.pvalue < spread.pvalue:
        return "biased"
    return "overconfident" if spread.statistic > 0 else "underconfident"


def stretched(made: Draws, factor: float) -> Draws:
    """Plant a fault: stretch the draws about their mean, 1 leaves them as they are.

    Parameters
    ----------
    made
        Draws.
    factor
        Below 1 for a posterior that is too sure of itself, above 1 for the opposite.
    """
    mean = made.draws.mean(1, keepdims=True)
    return made._replace(draws=mean + factor * (made.draws - mean))


def gap(made: Draws, reference: Draws) -> Float[np.ndarray, "datasets effects"]:
    """Return how far posterior means lie from those of a reference, in its standard deviations.

    Parameters
    ----------
    made, reference
        Draws for the same data sets.
    """
    return (made.draws.mean(1) - reference.draws.mean(1)) / reference.draws.std(1)


@partial(jax.jit, static_argnames=("config", "size"))
def _simulated(graph: Graph, keys: Array, *, config: Config, size: Size) -> tuple[Array, Array]:
    real = jnp.ones(size.cells, bool)
    batch = Batch(jnp.zeros((size.cells, size.genes)), None, real, float(size.cells))

    def one(key: Array) -> tuple[Array, Array]:
        free = handlers.seed(handlers.uncondition(model), key)
        drawn = handlers.trace(free).get_trace(batch, graph, config=config)
        logit = drawn["logit"]["value"] if "logit" in drawn else None
        return weight_matrix(drawn["effect"]["value"], logit, graph.rows), drawn["x"]["value"]

    return lax.map(one, keys)


def _effective(chains: Float[np.ndarray, "datasets draws effects"]) -> int:
    size = effective_sample_size(np.moveaxis(chains, 1, 0)[None].astype(np.float64))
    least = int(np.mean(size, axis=0).min())
    if least < 20:
        raise ValueError(
            f"Expected at least 20 effective draws of each effect, found {least}: let chains run "
            "longer (nuts_warmup, nuts_draws)."
        )
    return least
