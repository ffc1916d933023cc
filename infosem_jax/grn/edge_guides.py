"""Posteriors of edges, and of what priors sample, for each kind of guide."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import random
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float
from numpyro import handlers
from numpyro.distributions import biject_to, constraints, transforms
from numpyro.infer.autoguide import AutoGuide, AutoLaplaceApproximation

from infosem_jax.grn.config import OF_DRAWS, Config

Draw: TypeAlias = dict[str, Array]


class Factors(NamedTuple):
    """What is known of the factors that the edges of a low-rank posterior share.

    Attributes
    ----------
    mean
        Mean of the factors, [K].
    root
        Square root of their covariance, ``root root^T``, [K, K].
    """

    mean: Float[Array, " K"]
    root: Float[Array, "K K"]


def sample_edges(
    name: str,
    start: Callable[[Array], Array],
    unit: float,
    config: Config,
    *,
    factors: Factors | None = None,
    drawn: Draw | None = None,
) -> tuple[Any, Factors | None]:
    """Declare the posterior of effects or logits, [rows, genes], and draw from it.

    ``point`` and ``normal`` treat entries as independent. With ``lowrank`` all entries of effects
    and logits are jointly normal with covariance ``D + F F^T``, D diagonal and F of rank K: the
    effects come first, and what they tell of the K factors shifts and narrows the logits. (The
    parameter ``_factor`` is F in units of the root of D.) Where draws are kept, they are those of
    one.

    Parameters
    ----------
    name
        ``effect`` or ``logit``.
    start
        Draws the starting location.
    unit
        What standard deviations start relative to.
    config
        Settings.
    factors
        What earlier sites told of the factors; None for nothing.
    drawn
        What `one_draw` returned.

    Returns
    -------
    The draw, and what is known of the factors now (None unless low-rank).
    """
    if drawn is not None:
        return numpyro.sample(name, dist.Delta(drawn[name], event_dim=drawn[name].ndim)), None
    location: Any = numpyro.param(f"{name}_loc", start)
    shape = jnp.shape(location)
    if config.guide == "point":
        return numpyro.sample(name, dist.Delta(location, event_dim=2)), None
    begin = jnp.full(shape, jnp.log(config.start_scale * unit))
    raw: Any = numpyro.param(f"{name}_log_scale", begin)
    if config.guide == "normal":
        return numpyro.sample(name, dist.Normal(location, jnp.exp(raw)).to_event(2)), None
    rank = config.low_rank
    # Loadings are in units of the standard deviations, so that a step moves both alike. At zero
    # they would stay there on average: noise breaks the symmetry.
    loading: Any = numpyro.param(
        f"{name}_factor", lambda key: rank**-0.5 * random.normal(key, (*shape, rank))
    )
    known = factors or Factors(jnp.zeros(rank), jnp.eye(rank))
    F, variance = (jnp.exp(raw)[..., None] * loading).reshape(-1, rank), jnp.exp(2 * raw).ravel()
    centre = location.ravel() + F @ known.mean
    joint = dist.LowRankMultivariateNormal(centre, F @ known.root, variance)
    laid_out = transforms.ReshapeTransform(forward_shape=shape, inverse_shape=centre.shape)
    value: Any = numpyro.sample(name, dist.TransformedDistribution(joint, laid_out))
    return value, _updated(known, F, variance, value.ravel() - centre)


def sample_hyper(
    name: str,
    support: Any,
    shape: tuple[int, ...],
    event_dim: int,
    config: Config,
    *,
    drawn: Draw | None = None,
) -> Any:
    """Declare the posterior of a site that a prior declares, and draw from it.

    Points with guide ``point``, those of a draw that was kept, independent normals in unconstrained
    space with the others.

    Parameters
    ----------
    name, support, shape, event_dim
        The site; axes before those of its events are plates.
    config
        Settings.
    drawn
        As in `sample_edges`.
    """
    if drawn is not None:
        return numpyro.sample(name, dist.Delta(drawn[name], event_dim=event_dim))
    transform = biject_to(support)
    free = transform.inverse_shape(shape)
    location = numpyro.param(f"{name}_loc", lambda key: 0.1 * random.normal(key, free))
    if config.guide == "point":
        return numpyro.sample(name, dist.Delta(transform(location), event_dim=event_dim))
    scale: Any = numpyro.param(f"{name}_log_scale", jnp.full(free, jnp.log(0.1)))
    of_events = len(free) - (len(shape) - event_dim)
    base = dist.Normal(location, jnp.exp(scale)).to_event(of_events)
    if support is constraints.real:
        return numpyro.sample(name, base)
    return numpyro.sample(name, dist.TransformedDistribution(base, transform))


@dataclass(frozen=True, eq=False)
class EdgeModel:
    """The model of the edges and of what priors sample, which an own guide is called with.

    Called without arguments it declares the sites ``effect`` and ``logit`` (with an edge prior),
    and those of the priors and the remainder.

    Attributes
    ----------
    declare
        What is called.
    shape
        Of effects and logits, [rows, genes].
    """

    declare: Callable[[], Any]
    shape: tuple[int, int]

    def __call__(self) -> None:
        """Declare the sites."""
        self.declare()


def sample_own(guide: Callable[[EdgeModel], Any], edges: EdgeModel) -> Draw:
    """Call an own guide, and return a draw of each of its sites.

    Parameters
    ----------
    guide
        As in `Config.guide`.
    edges
        The model that it is called with.

    Raises
    ------
    ValueError
        If it is one that needs the likelihood of the cells.
    """
    with handlers.trace() as trace:
        made = guide(edges)
        if isinstance(made, AutoLaplaceApproximation):
            raise ValueError(
                "guide: expected one that is trained, found AutoLaplaceApproximation, whose spread "
                "is that of the model of the edges without the cells; take AutoMultivariateNormal."
            )
        if isinstance(made, AutoGuide):
            made()
    return {
        name: site["value"]
        for name, site in trace.items()
        if site["type"] == "sample" and not site["infer"].get("is_auxiliary")
    }


def one_draw(config: Config) -> Draw | None:
    """Take one of the draws that are kept under the parameter ``draws``, all equally likely.

    Parameters
    ----------
    config
        Settings; None is returned for guides of which no draws are kept.
    """
    if config.guide not in OF_DRAWS:
        return None
    draws: Any = numpyro.param("draws")
    number = jax.tree.leaves(draws)[0].shape[0]
    key: Any = numpyro.prng_key()
    at = random.randint(key, (), 0, number)
    return jax.tree.map(lambda leaf: leaf[at], draws)


def _updated(known: Factors, F: Array, variance: Array, residual: Array) -> Factors:
    """Condition the factors on a draw, ``residual = F (factors - mean) + noise``."""
    scaled = (F @ known.root) / variance[:, None]
    precision = jnp.eye(F.shape[1]) + (F @ known.root).T @ scaled
    lower = jnp.linalg.cholesky(precision)
    root = solve_triangular(lower, known.root.T, lower=True).T
    return Factors(known.mean + root @ (root.T @ (F.T @ (residual / variance))), root)
