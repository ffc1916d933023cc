"""The collapsed model: effects and noise integrated out, hyper-parameters left to NumPyro.

``r2 ~ Beta(1, 1)`` is the share of a target's variance that effects are expected to explain,
``scale^2 rows = r2 / (1 - r2)``, and prior means are ``slope scale c`` with c what the prior says
in units of its own standard deviation, so that neither depends on the number of genes. What the
prior declares is found under ``effect_prior/``. The evidence of all targets is a factor.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
from jax import lax
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Key
from numpyro import handlers
from numpyro.infer import MCMC, NUTS, SVI, Trace_ELBO, init_to_mean, init_to_value
from numpyro.infer.autoguide import AutoDelta

from infosem_jax.grn.exact.decomposition import Spectrum
from infosem_jax.grn.exact.posterior import Posterior, draw, log_evidence, project
from infosem_jax.grn.exact.priors import Normals, normals, one_scale

SLOPE_SCALE = 0.5
# Shares of variance that effects explain, among which evidence chooses.
SHARES = np.exp(np.linspace(np.log(1e-3), np.log(0.9), 24))
START = init_to_value(values={"r2": 0.1, "slope": 0.0})


class Pattern(NamedTuple):
    """Prior means in units of the prior's standard deviation.

    Attributes
    ----------
    mean
        Of each effect, [rows, genes].
    projected
        The same in the basis of the spectrum, [rows, genes].
    """

    mean: Float[Array, "rows genes"]
    projected: Float[Array, "rows genes"]


def collapsed(
    basis: Spectrum,
    pattern: Pattern | None = None,
    prior: Partial | None = None,
    *,
    r2: Float[Array, ""] | float | None = None,
    noise: Float[Array, ""] | float = 1.0,
    effects: bool = False,
) -> None:
    """Declare the model.

    Parameters
    ----------
    basis
        Moments of the cells.
    pattern
        What a prior without parameters expects; its strength is the site ``slope``.
    prior
        The distribution of a bound prior with parameters of its own, instead of a pattern.
    r2
        Expected share of variance explained; None makes it a site.
    noise
        Cells that the prior ``s_j^2 = 1`` is worth.
    effects
        Whether to draw the effects, exactly, as the deterministic site ``effect``.
    """
    scale, mean, projected = declared(basis, pattern, prior, r2)
    numpyro.factor("evidence", log_evidence(basis, scale, projected, noise).sum())
    if effects:
        key: Any = numpyro.prng_key()
        numpyro.deterministic("effect", draw(key, basis, scale, mean, noise)[0])


def declared(
    basis: Spectrum,
    pattern: Pattern | None = None,
    prior: Partial | None = None,
    r2: Float[Array, ""] | float | None = None,
) -> tuple[Array, Array | None, Array | None]:
    """Declare the hyper-parameters, and return what effects are a priori given them.

    Parameters
    ----------
    basis, pattern, prior, r2
        As in `collapsed`.

    Returns
    -------
    Their scale in units of the noise; their means, [rows, genes], and the same in the basis of the
    spectrum, None for zero.
    """
    scale = _declared_scale(basis.n_rows, r2)
    if pattern is not None:
        slope: Any = numpyro.sample("slope", dist.Normal(0.0, SLOPE_SCALE))
        return scale, slope * scale * pattern.mean, slope * scale * pattern.projected
    if prior is None:
        return scale, None, None
    with handlers.scope(prefix="effect_prior"):
        expected = normals(prior)
    mean = scale * expected.mean / expected.scale
    return scale, mean, project(basis, mean)


def scale_of(r2: Float[Array, ""] | float, rows: int) -> Float[Array, ""]:
    """Return the standard deviation of effects at which so many explain a share of a variance."""
    return jnp.sqrt(r2 / (1 - r2) / rows)


def likeliest_share(
    basis: Spectrum,
    mean: Float[Array, "components genes"] | None = None,
    noise: Float[Array, ""] | float = 1.0,
) -> float:
    """Return the share of variance that effects explain with the highest evidence, of `SHARES`.

    Parameters
    ----------
    basis, mean, noise
        As in `infosem_jax.grn.exact.posterior.log_evidence`.
    """
    evidence = _evidence_of_shares(basis, mean, noise)
    return float(SHARES[int(np.argmax(np.asarray(evidence)))])


@jax.jit
def _evidence_of_shares(basis: Spectrum, mean: Array | None, noise) -> Float[Array, " shares"]:
    """Return the log evidence of all targets at each of the `SHARES`."""

    def one(share):
        return log_evidence(basis, scale_of(share, basis.n_rows), mean, noise).sum()

    # Without a mean, all are one product with the squares of the cells; else each has its own.
    return (jax.vmap(one) if mean is None else partial(lax.map, one))(jnp.asarray(SHARES))


def optimum(
    key: Key[Array, ""],
    basis: Spectrum,
    pattern: Pattern | None = None,
    prior: Partial | None = None,
    *,
    r2: float | None = None,
    noise: float = 1.0,
    steps: int = 60,
    rate: float = 0.1,
) -> tuple[dict[str, Any], Float[Array, " steps"]]:
    """Find the most probable hyper-parameters, and return them with the losses on the way.

    Parameters
    ----------
    key
        Of the start of what the prior declares.
    basis, pattern, prior, r2, noise
        As in `collapsed`.
    steps, rate
        Steps of Adam and its learning rate.
    """
    search = {"steps": steps, "rate": rate}
    return _search(key, basis, pattern, prior, r2, noise, **search)


@partial(jax.jit, static_argnames=("steps", "rate"))
def _search(key, basis, pattern, prior, r2, noise, *, steps: int, rate: float):
    guide = AutoDelta(collapsed, init_loc_fn=START)
    svi = SVI(collapsed, guide, optax.adam(rate), Trace_ELBO())
    settings = {"r2": r2, "noise": noise, "progress_bar": False}
    result = svi.run(key, steps, basis, pattern, prior, **settings)
    found = guide.median(result.params)
    free = {k: v for k, v in result.params.items() if not k.endswith("_auto_loc")}
    return {**found, **free}, result.losses


def draws(
    key: Key[Array, ""],
    basis: Spectrum,
    pattern: Pattern | None = None,
    prior: Partial | None = None,
    *,
    r2: float | None = None,
    noise: float = 1.0,
    warmup: int = 200,
    samples: int = 200,
) -> dict[str, Array]:
    """Draw the hyper-parameters from their posterior with NUTS.

    Parameters
    ----------
    key, basis, pattern, prior, r2, noise
        As in `optimum`.
    warmup, samples
        Transitions that adapt, and that are kept.
    """
    chain = MCMC(
        NUTS(collapsed, init_strategy=START),
        num_warmup=warmup,
        num_samples=samples,
        progress_bar=False,
    )
    chain.run(key, basis, pattern, prior, r2=r2, noise=noise)
    return chain.get_samples()


def moves_scales(prior: Partial) -> bool:
    """Tell whether sites of a prior make the scales of some effects differ from those of others.

    Parameters
    ----------
    prior
        The distribution of a bound prior.
    """
    one, other = (at({}, prior, seed).scale for seed in (0, 1))
    return not one_scale(jnp.where(other > 0, one / other, 1.0))


@partial(jax.jit, static_argnames=("steps", "rate"))
def refitted(
    values: dict[str, Any],
    prior: Partial,
    effects: Posterior,
    pairs: Bool[Array, "rows genes"],
    *,
    r2: Float[Array, ""] | float | None,
    steps: int,
    rate: float,
) -> dict[str, Any]:
    """Return the hyper-parameters that effects with known posteriors are most probable under.

    The step M of expectation maximisation of the evidence: with ``E[1 / s_j^2]`` and the unit
    variances v of the posterior, the mean of the log density of the effects is

        sum_ij -log t_ij - (E[1 / s_j^2] (E[w_ij] - m_ij)^2 + v_ij) / (2 t_ij^2)

    Parameters
    ----------
    values
        Where the search starts; parameters that are no sites stay there.
    prior
        The distribution of a bound prior.
    effects
        Their posterior under these values.
    pairs
        Which effects there are.
    r2
        As in `collapsed`.
    steps, rate
        Steps of Adam and its learning rate.
    """

    def model():
        scale = _declared_scale(len(effects.mean), r2)
        with handlers.scope(prefix="effect_prior"):
            expected = scaled(normals(prior), scale)
        away = effects.mean - expected.mean
        square = away**2 * (effects.shape / effects.rate)[None] + effects.unit_variance
        free = pairs & (expected.scale > 0)
        size = jnp.where(free, expected.scale, 1.0)
        density = -jnp.log(size) - square / (2 * size**2)
        numpyro.factor("effects", jnp.where(free, density, 0.0).sum())

    def parameter(site):
        return values.get(site["name"]) if site["type"] == "param" else None

    fixed = handlers.substitute(model, substitute_fn=parameter)
    guide = AutoDelta(fixed, init_loc_fn=init_to_value(values=values))
    svi = SVI(fixed, guide, optax.adam(rate), Trace_ELBO())
    params = svi.run(jax.random.key(0), steps, progress_bar=False).params
    return {**values, **guide.median(params)}


def scaled(expected: Normals, scale: Float[Array, ""] | float) -> Normals:
    """Bring means and scales of a prior to a root mean square scale, pattern and all."""
    size = jnp.sqrt((expected.scale**2).mean())
    return Normals(scale * expected.mean / expected.scale, scale * expected.scale / size)


def standardised(
    mean: Float[Array, "rows genes"], pairs: Bool[Array, "rows genes"]
) -> Float[Array, "rows genes"]:
    """Bring prior means to mean square 1 over the pairs; zeros stay zero."""
    square = jnp.where(pairs, mean, 0.0) ** 2
    size = jnp.sqrt(square.sum() / pairs.sum())
    return jnp.where(pairs, mean, 0.0) / jnp.where(size > 0, size, 1.0)


def at(values: dict[str, Any], prior: Partial, seed: int = 0) -> Normals:
    """Return the normals of a prior with parameters at these values, and drawn by the seed else."""
    with (
        handlers.block(),
        handlers.substitute(data=values),
        handlers.seed(rng_seed=seed),
        handlers.scope(prefix="effect_prior"),
    ):
        return normals(prior)


def before_cells(values: dict[str, Any], prior: Partial) -> Normals:
    """Return what `at` does, with scales as they are where sites have their prior means."""

    def unlearned(site):
        return init_to_mean(site) if site["type"] == "sample" else values.get(site["name"])

    found = at(values, prior)
    with (
        handlers.block(),
        handlers.substitute(substitute_fn=unlearned),
        handlers.seed(rng_seed=0),
        handlers.scope(prefix="effect_prior"),
    ):
        scale = normals(prior).scale
    return Normals(scale * found.mean / found.scale, scale)


def _declared_scale(rows: int, r2: Float[Array, ""] | float | None) -> Array:
    share: Any = numpyro.sample("r2", dist.Beta(1.0, 1.0)) if r2 is None else jnp.asarray(r2)
    return scale_of(share, rows)
