"""From expression and priors to a network with exact posteriors: `fit`."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from jaxtyping import Float, Int

from infosem_jax import _typing
from infosem_jax._shown import shown
from infosem_jax.data.dataset import Dataset, normalise
from infosem_jax.data.stream import Stream, as_read, n_cells
from infosem_jax.engine.fingerprint import fingerprint
from infosem_jax.engine.types import Progress
from infosem_jax.grn.exact import hyper, score
from infosem_jax.grn.exact.config import Config
from infosem_jax.grn.exact.decomposition import Spectrum, count_as, spectrum, spectrum_of_cells
from infosem_jax.grn.exact.effective import effective_cells
from infosem_jax.grn.exact.likeness import levels_of, vectors_of
from infosem_jax.grn.exact.posterior import LONG, factor_cost
from infosem_jax.grn.exact.priors import (
    Kind,
    Normals,
    directed,
    kind,
    one_scale,
    prior_odds,
)
from infosem_jax.grn.exact.roles import effects_alone, means_of_roles
from infosem_jax.grn.exact.same_cells import spreads
from infosem_jax.grn.exact.solving import Solved, solve
from infosem_jax.grn.exact.statistics import in_memory, kept_sums, moments
from infosem_jax.grn.networks import Network
from infosem_jax.grn.priors import BoundPrior, GeneContext, Prior, bind
from infosem_jax.grn.priors.binding import Expression, Learned, coverage

if TYPE_CHECKING:
    from infosem_jax.grn.numpyro_model import Raw

log = logging.getLogger("infosem_jax")

# Time grows with the cube of the rows or of the cells, whichever are fewer: 2,000 take seconds,
# 4,000 minutes.
FEW, MOST = 2000, 4000


@shown("weight", "regulators", "genes", "config", "coverage", "seconds")
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
        Where a prior learns what to expect of a target from the cells of others
        (`infosem_jax.grn.priors.GeneEmbedding`, `infosem_jax.grn.priors.GraphSmooth`), it is given
        those.
    learned
        What was learned: ``r2``, ``slope``, ``reliability``, ``edges``, ``activating``,
        ``strength``, ``trust``, ``cells``, and the parameters of the prior.
    losses
        Minus the log density of the hyper-parameters at each step, [steps].
    seconds
        Wall-clock time.
    coverage
        How much of the data each prior knows about, by ``effect`` and ``edge``.
    covariates
        What was taken out of the cells, as `infosem_jax.data.Dataset` says it.
    spreads
        Mean square of the cells in a few directions, which tells others from them.
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
    covariates: tuple[str, ...] = ()
    spreads: tuple[float, ...] = ()

    def raw(self, data: Dataset, effect: Prior | None = None) -> "Raw":
        """Return the NumPyro functions of this fit with the hyper-parameters that it learned.

        Parameters
        ----------
        data
            The cells of the fit, or others with the same genes.
        effect
            Prior of the fit, which does not hold it. (An edge prior has a part in scores alone.)

        Raises
        ------
        ValueError
            If the data have other genes, the prior learns something else, or it is one that the
            engine does not integrate out in closed form.
        """
        # At the top of the module it would be a circle: what opens fits needs this module.
        from infosem_jax.grn.numpyro_model import of_exact_fit

        return of_exact_fit(self, data, effect)


class Task(NamedTuple):
    """What is known before the expression is looked at: genes, rows and priors that were checked.

    Attributes
    ----------
    data
        Normalised expression, or a stream.
    config
        Settings, with the rows and the normalisation that were chosen.
    rows
        Which genes act, as columns of the data.
    reported
        Which rows are the candidate regulators.
    context
        Genes as priors see them.
    effect, edge
        The priors.
    bound, kind
        The prior of the effects, bound to the genes, and what it is; None where there is none.
    from_cells
        Whether its mean depends on what the cells say.
    levels
        Mean, standard deviation and share of cells of each gene before it was normalised; None of
        a stream, and of data that came normalised.
    """

    data: Dataset | Stream
    config: Config
    rows: Int[np.ndarray, " rows"]
    reported: Int[np.ndarray, " regulators"]
    context: GeneContext
    effect: Prior | None
    edge: Prior | None
    bound: BoundPrior | None
    kind: Kind | None
    from_cells: bool = False
    levels: Float[np.ndarray, "genes levels"] | None = None


def fit(
    data: Dataset | Stream,
    effect: Prior | None = None,
    edge: Prior | None = None,
    *,
    config: Config = Config(),
    key: int = 0,
    basis: Spectrum | None = None,
    on_chunk: Callable[[Progress], None] | None = None,
) -> Fit:
    """Fit a linear-Gaussian network with exact posteriors.

    Parameters
    ----------
    data
        Expression as read, or normalised; or a stream of cells that stay on disk.
    effect
        Prior of the effects; None for ``Normal(0, t)`` with t from the evidence.
    edge
        Prior of the existence of edges.
    config
        Settings.
    key
        Seed of the draws of hyper-parameters and of the start of networks in a prior.
    basis
        The same cells and rows from before, see `decomposed`.
    on_chunk
        Told after each step.

    Raises
    ------
    ValueError, TypeError
        If data are no expression that was read; if a prior is neither normal given its parameters
        nor a scale mixture, or does not fit the genes; or if rows and cells are both too many.
    """
    given = task(as_read(data), effect, edge, config)
    return solution(given, key=key, basis=basis, on_chunk=on_chunk)


def task(data: Dataset | Stream, effect: Prior | None, edge: Prior | None, config: Config) -> Task:
    """Choose the rows, and bind and check the priors.

    Parameters
    ----------
    data, effect, edge, config
        As in `fit`.

    Raises
    ------
    ValueError
        As `fit`.
    """
    if isinstance(data, Stream) and config.cells == "effective":
        raise ValueError(
            'Expected cells in memory for cells = "effective", which looks for cells that are '
            "alike, found a stream; give a number of cells, or read them into memory."
        )
    ready = scaled(data, config)
    chosen = replace(config, rows=chosen_rows(ready, config), normalisation=ready.normalisation)
    given = _bound(ready, effect, edge, chosen)
    fewer = len(ready.regulators) < len(given.rows)
    if config.rows == "auto" and fewer and _takes_long(given):
        log.info(
            "%s: the prior has a scale for every pair, which takes a factorisation for every "
            'target, so that the %s regulators act; set rows = "all" to let all %s genes act.',
            *(ready.name, f"{len(ready.regulators):,}", f"{len(ready.genes):,}"),
        )
        given = _bound(ready, effect, edge, replace(chosen, rows="regulators"))
    return given._replace(levels=levels_of(data))


def solution(
    given: Task,
    *,
    key: int = 0,
    basis: Spectrum | None = None,
    on_chunk: Callable[[Progress], None] | None = None,
) -> Fit:
    """Fit what was checked.

    Parameters
    ----------
    given
        Data, settings and priors.
    key, basis, on_chunk
        As in `fit`.
    """
    began = time.perf_counter()
    data, config, context = given.data, given.config, given.context
    show = _stages(on_chunk, data.name)
    logits = replace(context, site="logit", rows=data.regulators)
    sites = {"effect": (given.effect, context), "edge": (given.edge, logits)}
    covered = {
        site: coverage(prior, at) for site, (prior, at) in sites.items() if prior is not None
    }
    reported = jnp.asarray(given.reported)
    if basis is None:
        basis = decomposed(data, given.rows, on_chunk, sums=config.sums)
    show(1, "solving for effects")
    solved = solve_for(given, basis, given.reported, key)
    show(2, "scoring edges")
    expected = (
        None if solved.expected is None else Normals(*(part[reported] for part in solved.expected))
    )
    settings = {"shrinkage": config.shrinkage, "sign": directed(given.effect)}
    found = score.bayes_factors(basis, reported, expected, **settings)
    vectors = partial(vectors_of, basis, given.levels)
    expression = Expression(lambda: np.asarray(found.log_bayes_factor, np.float64), vectors)
    logits = replace(logits, expression=expression)
    odds = None if given.edge is None else prior_odds(given.edge, logits, random.key(key))
    ranked = score.score(found, odds, edges=config.edges)
    show(3, "done")
    learned = {**solved.learned, **found.learned}
    effects = solved.effects._asdict()
    del effects["noise"]
    return Fit(
        genes=data.genes,
        rows=context.rows,
        regulators=data.regulators,
        name=data.name,
        config=config,
        score=np.asarray(ranked.score),
        probability=np.asarray(ranked.probability),
        learned=jax.tree.map(np.asarray, learned),
        losses=np.asarray(solved.losses),
        seconds=time.perf_counter() - began,
        coverage=covered,
        covariates=() if isinstance(data, Stream) else data.covariates,
        spreads=spreads(data),
        **{name: np.asarray(part) for name, part in effects.items()},
    )


def solve_for(
    given: Task, basis: Spectrum, wanted: Int[np.ndarray, " some"], key: int = 0
) -> Solved:
    """Learn the hyper-parameters from cells, and solve for the effects of some rows.

    Parameters
    ----------
    given
        Settings, priors and the cells.
    basis
        The same cells, decomposed.
    wanted
        The rows.
    key
        As in `fit`.
    """
    basis, bound, what = bound_to_cells(given, basis)
    solved = solve(basis, jnp.asarray(wanted), bound, what, given.config, random.key(key))
    if given.config.cells is not None:
        solved.learned["cells"] = np.asarray(basis.cells)
    return solved


def bound_to_cells(given: Task, basis: Spectrum) -> tuple[Spectrum, BoundPrior | None, Kind | None]:
    """Count the cells as the settings say, and bind what a prior takes from them.

    Parameters
    ----------
    given, basis
        As in `solve_for`.

    Returns
    -------
    The cells, the prior of the effects, and what it is.
    """
    data, config = given.data, given.config
    cells = None if isinstance(config.cells, str) else config.cells
    if config.cells == "effective" and not isinstance(data, Stream):
        cells = effective_cells(data.x, given.rows, basis)
    basis, bound = count_as(basis, cells), given.bound
    if given.from_cells and given.effect is not None:
        settings = {"basis": basis, "reported": given.reported, "r2": config.r2}
        learned = Learned(partial(means_of_roles, **settings), partial(effects_alone, **settings))
        bound = bind(given.effect, replace(given.context, learned=learned))
    return basis, bound, given.kind


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


def scaled(data: Dataset | Stream, config: Config) -> Dataset | Stream:
    """Bring expression to the scale of the settings, unless it is normalised already."""
    if isinstance(data, Stream) or data.normalisation != "none":
        return data
    return normalise(data, config.normalisation, clip=config.clip)


def chosen_rows(data: Dataset | Stream, config: Config) -> Literal["all", "regulators"]:
    """Return which genes act.

    Raises
    ------
    ValueError
        If they are so many, and the cells as well, that matrices take hours to decompose.
    """
    cells = n_cells(data)
    rows = config.rows
    if rows == "auto":
        rows = "all" if min(cells, len(data.genes)) <= FEW else "regulators"
    number = len(data.genes if rows == "all" else data.regulators)
    if min(cells, number) > MOST:
        raise ValueError(
            f"{data.name}: the exact engine decomposes a matrix of genes that act, or of cells, "
            f"expected at most {MOST:,} of either, found {number:,} genes and {cells:,} cells; set "
            'rows = "regulators" (table [exact] of --config) with a list of regulators, or take '
            "the svi engine."
        )
    return rows


def decomposed(
    data: Dataset | Stream,
    rows: Int[np.ndarray, " rows"],
    on_chunk: Callable[[Progress], None] | None = None,
    *,
    sums: _typing.Path | None = None,
) -> Spectrum:
    """Sum up normalised cells and decompose the sums, from the smaller side.

    Parameters
    ----------
    data
        Normalised expression, or a stream.
    rows
        Which genes act, as columns of the data.
    on_chunk
        Told before each block of cells.
    sums
        Folder that the sums are kept in, see `Config`.

    Raises
    ------
    ValueError
        If sums that were kept are damaged.
    """
    show = _stages(on_chunk, data.name)
    if n_cells(data) < len(rows):
        show(0, "decomposing the cells")
        x = in_memory(data) if isinstance(data, Stream) else data.x
        return _counted(spectrum_of_cells(x, rows), data)
    sum_up = partial(
        moments,
        data if isinstance(data, Stream) else data.x,
        rows,
        on_block=lambda n, total: show(0, f"summing up cells, {n / total:.0%}"),
    )
    if sums is None:
        return _counted(spectrum(sum_up(), rows), data)
    cells = data.cells if isinstance(data, Stream) else fingerprint((data.x, data.genes))
    return _counted(spectrum(kept_sums(sums, cells, rows, sum_up), rows), data)


def _counted(basis: Spectrum, data: Dataset | Stream) -> Spectrum:
    """Count cells as so many fewer as covariates took."""
    return basis if isinstance(data, Stream) else count_as(basis, len(data.cells) - data.lost)


def _bound(
    data: Dataset | Stream, effect: Prior | None, edge: Prior | None, config: Config
) -> Task:
    names = data.genes if config.rows == "all" else data.regulators
    at = {gene: i for i, gene in enumerate(data.genes)}
    place = {name: i for i, name in enumerate(names)}
    context = GeneContext(data.genes, names, n_cells(data))
    asked = []

    def nothing_yet(*question) -> np.ndarray:
        asked.append(question)
        return np.zeros(context.shape)

    unknown = replace(context, learned=Learned(nothing_yet, nothing_yet))
    bound = None if effect is None else bind(effect, unknown)
    if edge is not None:
        bind(edge, replace(context, site="logit", rows=data.regulators, checking=True))
    return Task(
        data,
        config,
        np.array([at[name] for name in names]),
        np.array([place[name] for name in data.regulators]),
        context,
        effect,
        edge,
        bound,
        None if bound is None else kind(bound.distribution),
        bool(asked),
    )


def _takes_long(given: Task) -> bool:
    """Tell whether a prior with a scale for every pair takes minutes."""
    targets, rows = len(given.data.genes), len(given.rows)
    cost = factor_cost(targets, rows, min(rows, n_cells(given.data)))
    if given.bound is None or given.kind is None or cost < LONG:
        return False
    return given.kind.mixture or not one_scale(hyper.at({}, given.bound.distribution).scale)


def _stages(on_chunk: Callable[[Progress], None] | None, name: str) -> Callable[[int, str], None]:
    def show(done: int, text: str) -> None:
        if on_chunk is not None:
            on_chunk(Progress(done, 3, "steps", f"{name}: {text}", None))

    return show
