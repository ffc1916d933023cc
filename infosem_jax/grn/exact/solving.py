"""Effects under a prior of any kind that is normal given its parameters, or a scale mixture."""

import logging
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, Key

from infosem_jax.grn.exact import hyper
from infosem_jax.grn.exact.config import Config
from infosem_jax.grn.exact.decomposition import Spectrum, trimmed
from infosem_jax.grn.exact.posterior import (
    LONG,
    Posterior,
    factor_cost,
    positive_probability,
    posterior,
    posterior_by_pair,
    standard_deviation,
)
from infosem_jax.grn.exact.priors import Kind, Normals, local_scales, normals, one_scale
from infosem_jax.grn.priors.binding import BoundPrior

log = logging.getLogger("infosem_jax")

# Draws of hyper-parameters that effects are averaged over.
AVERAGED = 20


class Effects(NamedTuple):
    """Moments of the posterior of the effects that are reported, averaged over hyper-parameters.

    Attributes
    ----------
    weight, sd, positive
        Mean, standard deviation and probability of being positive, [regulators, genes].
    prior_mean
        Mean before the expression, [regulators, genes].
    log_evidence
        Of each target, [genes].
    noise
        Square of the scale of each target's unexplained variation, [genes].
    """

    weight: Float[Array, "regulators genes"]
    sd: Float[Array, "regulators genes"]
    positive: Float[Array, "regulators genes"]
    prior_mean: Float[Array, "regulators genes"]
    log_evidence: Float[Array, " genes"]
    noise: Float[Array, " genes"]


class Solved(NamedTuple):
    """Effects, what the prior says of each pair, and what was learned on the way.

    Attributes
    ----------
    effects
        Their posterior.
    expected
        Prior means and scales as stated; None where all pairs are alike.
    mean
        Of all effects a priori, [rows, genes]; None where all are zero.
    scale
        Standard deviation of the effects a priori, in units of the noise: one, or one of each pair.
    learned
        Hyper-parameters by name; draws of them with ``hyper="nuts"``.
    losses
        Minus the log density of the hyper-parameters at each step.
    """

    effects: Effects
    expected: Normals | None
    mean: Float[Array, "rows genes"] | None
    scale: Float[Array, "*pairs"]
    learned: dict[str, Any]
    losses: Float[Array, " steps"]


def solve(
    basis: Spectrum,
    reported: Int[Array, " regulators"],
    bound: BoundPrior | None,
    kind: Kind | None,
    config: Config,
    key: Key[Array, ""],
) -> Solved:
    """Learn the hyper-parameters, and solve for the effects given them.

    Parameters
    ----------
    basis
        Moments of the cells in the basis of their spectrum.
    reported
        The rows whose effects are wanted.
    bound, kind
        Prior of the effects, and what it is; None for one scale and no mean.
    config
        Settings.
    key
        Of draws and starts.
    """
    prior = None if bound is None else bound.distribution
    what = kind or Kind(False, False)
    stated = None if prior is None or what.learns or what.mixture else normals(prior)
    pattern = None if stated is None else pattern_of(basis, stated)
    learns = prior if what.learns else None
    found, losses = _learn(key, basis, pattern, learns, config)
    by_pair = None
    if learns is not None and config.hyper == "map" and hyper.moves_scales(learns):
        by_pair = learns
        found = _learn_scales(basis, by_pair, found, config)

    def effects(values: dict[str, Any]) -> tuple[Effects, Array | None, Array]:
        scale = hyper.scale_of(values["r2"] if config.r2 is None else config.r2, basis.n_rows)
        if prior is not None and what.mixture:
            mixed, scales = _mixture(basis, reported, prior, scale, config)
            return mixed, None, scales
        expected = stated if learns is None else hyper.at(values, learns)
        if expected is None:
            return _summary(posterior(basis, scale, None, config.noise, reported)), None, scale
        alike = one_scale(expected.scale)
        mean, each = hyper.scaled(expected, scale)
        if pattern is not None:
            mean = scale * values["slope"] * pattern.mean
        elif learns is None:
            mean = jnp.zeros_like(mean)
        if alike:
            found = posterior(basis, scale, mean, config.noise, reported)
        else:
            scale = each
            _say_cost(basis, 1)
            settings = {"block": config.block}
            found = posterior_by_pair(basis, scale, mean, config.noise, reported, **settings)
        return _summary(found, mean[reported]), mean, scale

    if config.hyper == "map" or not found:
        if by_pair is not None:
            # Scales that the cells taught say nothing of edges that the cells do not.
            expected = hyper.before_cells(found, by_pair)
        else:
            expected = stated if learns is None else hyper.at(found, learns)
            _say_what_stays(expected, learns)
        solved, mean, scale = effects(found)
        return Solved(solved, expected, mean, scale, found, losses)
    centre = {name: values.mean(0) for name, values in found.items()}
    expected = stated if learns is None else hyper.at(centre, learns)
    _say_what_stays(expected, learns)
    drawn = np.linspace(0, config.draws - 1, min(config.draws, AVERAGED)).astype(int)
    each = [effects({name: values[i] for name, values in found.items()}) for i in drawn]
    averaged, (_, mean, scale) = _averaged([one for one, *_ in each]), each[0]
    return Solved(averaged, expected, mean, scale, found, losses)


def _learn(
    key: Key[Array, ""],
    basis: Spectrum,
    pattern: hyper.Pattern | None,
    prior: Partial | None,
    config: Config,
) -> tuple[dict[str, Any], Array]:
    settings: dict[str, Any] = {"r2": config.r2, "noise": config.noise}
    if pattern is None and prior is None and config.r2 is not None:
        return {}, jnp.zeros(0)
    if config.hyper == "nuts":
        sizes = {"warmup": config.warmup, "samples": config.draws}
        return hyper.draws(key, basis, pattern, prior, **settings, **sizes), jnp.zeros(0)
    search = {"steps": config.steps, "rate": config.rate}
    return hyper.optimum(key, basis, pattern, prior, **settings, **search)


def _learn_scales(
    basis: Spectrum, prior: Partial, values: dict[str, Any], config: Config
) -> dict[str, Any]:
    """Find the scales of pairs with the highest evidence, by expectation maximisation."""
    _say_cost(basis, config.sweeps)
    search = {"r2": config.r2, "steps": config.steps, "rate": config.rate}
    noise, block = config.noise, config.block
    for _ in range(config.sweeps):
        share = values["r2"] if config.r2 is None else config.r2
        expected = hyper.scaled(hyper.at(values, prior), hyper.scale_of(share, basis.n_rows))
        found = posterior_by_pair(basis, expected.scale, expected.mean, noise, block=block)
        values = hyper.refitted(values, prior, found, ~basis.itself, **search)
    return values


def pattern_of(basis: Spectrum, expected: Normals) -> hyper.Pattern | None:
    """Return the prior means that a prior without parameters expects; None where all are zero."""
    mean = hyper.standardised(expected.mean / expected.scale, ~basis.itself)
    return hyper.Pattern(mean, basis.vectors.T @ mean) if bool((mean != 0).any()) else None


def _mixture(
    basis: Spectrum,
    reported: Int[Array, " regulators"],
    prior: Partial,
    scale: Array,
    config: Config,
) -> tuple[Effects, Array]:
    """Find the scales at which normal effects act as the mixture does, by EM."""
    found = posterior(basis, scale, None, config.noise)
    none = jnp.zeros_like(found.mean)
    _say_cost(basis, config.sweeps)
    scales = none
    for sweep in range(config.sweeps):
        size = jnp.sqrt(found.mean**2 + standard_deviation(found) ** 2)
        scales = local_scales(prior, jnp.maximum(size, 1e-6))
        rows = reported if sweep == config.sweeps - 1 else None
        settings = {"block": config.block}
        found = posterior_by_pair(basis, scales, none, config.noise, rows, **settings)
    return _summary(found), scales


def _say_what_stays(expected: Normals | None, learns: Partial | None) -> None:
    # One scale has evidence in closed form; scales of pairs take rounds for the most probable ones.
    if learns is not None and expected is not None and not bool((expected.mean != 0).any()):
        log.warning(
            "The prior expects no effect to be other than zero, and its parameters move scales "
            "only. The exact engine learns one scale for all effects (r2) and leaves those "
            "parameters where their own prior has them; it learns sites that make scales differ "
            'between pairs with hyper = "map", and engine = "svi" learns all.'
        )


def _say_cost(basis: Spectrum, times: int) -> None:
    rows, components = trimmed(basis).vectors.shape
    cost = times * factor_cost(len(basis.total), rows, components)
    log.log(
        logging.WARNING if cost > LONG else logging.INFO,
        "Scales differ between pairs: %s targets x %s rows have a factorisation each, %.1e "
        'multiplications in all; with rows = "regulators" they are fewer.',
        *(f"{n:,}" for n in (len(basis.total), rows)),
        cost,
    )


@jax.jit
def _summary(found: Posterior, mean: Array | None = None) -> Effects:
    prior_mean = jnp.zeros_like(found.mean) if mean is None else mean
    sd, positive = standard_deviation(found), positive_probability(found)
    noise = found.rate / found.shape
    return Effects(found.mean, sd, positive, prior_mean, found.log_evidence, noise)


def _averaged(each: list[Effects]) -> Effects:
    mean = Effects(*(jnp.stack(parts).mean(0) for parts in zip(*each, strict=True)))
    within = jnp.stack([effects.sd**2 for effects in each]).mean(0)
    between = jnp.stack([effects.weight for effects in each]).var(0)
    return mean._replace(sd=jnp.sqrt(within + between))
