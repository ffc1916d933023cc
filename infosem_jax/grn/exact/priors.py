"""What the exact engine takes of priors: means and scales of effects, and log-odds of edges."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
import optax
from jax.tree_util import Partial
from jaxtyping import Array, Float, Key
from numpyro import handlers
from numpyro.infer import SVI, Trace_ELBO, init_to_median
from numpyro.infer.autoguide import AutoDelta

from infosem_jax.grn import priors
from infosem_jax.grn.priors import distributions
from infosem_jax.grn.priors.arithmetic import Weakened
from infosem_jax.grn.priors.binding import bind, pair_labels

# Learning from labels: steps of Adam and its rate.
LABEL_STEPS, LABEL_RATE = 300, 0.05
SIGNED = (
    *(priors.SignedEdges, priors.OtherNetwork, priors.GraphPrior),
    *(priors.GeneEmbedding, priors.GraphSmooth),
)
MIXTURES = (
    dist.Laplace,
    distributions.Horseshoe,
    distributions.RegularisedHorseshoe,
    dist.MixtureSameFamily,
)


class Normals(NamedTuple):
    """Independent normal effects.

    Attributes
    ----------
    mean, scale
        Of each effect, [rows, genes].
    """

    mean: Float[Array, "rows genes"]
    scale: Float[Array, "rows genes"]


class EdgeOdds(NamedTuple):
    """What a prior of edges says.

    Attributes
    ----------
    log_odds
        Of each edge, [regulators, genes].
    weighed
        Whether it has learned from labels what the expression's log Bayes factors are worth, so
        that log-odds plus these hold as they are.
    partial
        Whether it names edges, and nothing in it says how many there are besides.
    labels
        How much it counts that a pair is labelled present, and absent: 0 where it is not; None
        where no pair is labelled.
    """

    log_odds: Float[Array, "regulators genes"]
    weighed: bool = False
    partial: bool = False
    labels: Float[Array, "2 regulators genes"] | None = None


class Kind(NamedTuple):
    """What is known of a prior without fitting it.

    Attributes
    ----------
    mixture
        Whether it is a scale mixture of normals instead of normal.
    learns
        Whether it declares parameters or sample sites of its own.
    """

    mixture: bool
    learns: bool


def kind(distribution: Partial) -> Kind:
    """Find out what a bound prior is.

    Raises
    ------
    ValueError
        If it is neither normal given its parameters nor a scale mixture of normals.
    """
    with handlers.block(), handlers.seed(rng_seed=0):
        trace = handlers.trace(lambda: _declare(distribution)).get_trace()
    found: Any = trace.pop("prior")["value"]
    while isinstance(found, dist.ExpandedDistribution):
        found = found.base_dist
    if isinstance(found, dist.Normal):
        return Kind(False, bool(trace))
    if isinstance(found, MIXTURES) and not trace and _symmetric(found):
        return Kind(True, False)
    name = type(getattr(found, "base", found)).__name__
    raise ValueError(
        "The exact engine takes priors of the effects that are normal given their parameters, or "
        "Laplace, Horseshoe, RegularisedHorseshoe and SpikeAndSlab around zero, found "
        f"{name}; fit it with the svi engine (--engine svi)."
    )


def normals(distribution: Partial) -> Normals:
    """Call a bound prior within a model, and return mean and scale of every effect."""
    found = distributions.elementwise(distribution())
    return Normals(
        *(jnp.broadcast_to(part, found.batch_shape) for part in (found.loc, found.scale))
    )


def one_scale(scale: Float[Array, "rows genes"]) -> bool:
    """Tell whether one scale holds for all pairs."""
    return bool(jnp.allclose(scale, scale[0, 0], rtol=1e-5))


def local_scales(
    distribution: Partial, size: Float[Array, "rows genes"]
) -> Float[Array, "rows genes"]:
    """Return the scales at which normal priors act on effects of a size as a scale mixture does.

    For ``p(w) = E[Normal(w; 0, tau^2)]``, ``E[1 / tau^2 | w] = -(d/dw log p(w)) / w``: the weights
    of expectation maximisation.

    Parameters
    ----------
    distribution
        A bound scale mixture.
    size
        Root mean square of each effect, above zero.
    """
    prior = distributions.elementwise(distribution())
    slope = jax.grad(lambda w: prior.log_prob(w).sum())(size)
    return jnp.sqrt(size / jnp.maximum(-slope, 1e-12))


def directed(prior: Any) -> bool:
    """Tell whether the sign of a prior's mean is that of the effect, or whether it tells of edges.

    Signed edges and other networks know repression, and roles of genes and neighbours in a graph
    are learned from effects with their sign; similar genes are expected to be linked, and unlike
    genes not to be, rather than to repress each other.
    """
    return _has_part(prior, SIGNED)


def prior_odds(edge: priors.Prior, context: priors.GeneContext, key: Key[Array, ""]) -> EdgeOdds:
    """Return what a prior of the existence of edges says of them.

    A logit of mean m and standard deviation s counts as ``m / sqrt(1 + pi s^2 / 8)``, the log-odds
    of its mean probability. What a prior learns from labels is learned from them alone.

    Parameters
    ----------
    edge
        The prior.
    context
        Genes, at the site of the logits.
    key
        Of the start of what the prior learns.

    Raises
    ------
    ValueError
        If its logits are neither normal nor logistic.
    """
    odds = _log_odds(edge, context, key)
    labels = _labels(edge, context)
    weighed = _has_part(edge, (priors.LabelledEdges,))
    return EdgeOdds(odds, weighed, _names_edges_only(edge), labels if labels.any() else None)


def _log_odds(edge: priors.Prior, context: priors.GeneContext, key: Key[Array, ""]) -> Array:
    bound = bind(edge, context)

    def labelled():
        prior = bound.distribution()
        if bound.observe is None:
            return numpyro.deterministic("mean", _mean_logit(prior))
        logit = numpyro.sample("logit", prior)
        bound.observe(logit)
        return numpyro.deterministic("mean", logit)

    guide = AutoDelta(labelled, init_loc_fn=init_to_median)
    with handlers.block(), handlers.seed(rng_seed=0):
        trace = handlers.trace(labelled).get_trace()
    if not any(site["type"] == "param" or _latent(site) for site in trace.values()):
        return trace["mean"]["value"]
    svi = SVI(labelled, guide, optax.adam(LABEL_RATE), Trace_ELBO())
    params = svi.run(key, LABEL_STEPS, progress_bar=False).params
    with handlers.block(), handlers.seed(rng_seed=0):
        values = {**params, **guide.median(params)}
        return handlers.trace(handlers.substitute(labelled, values)).get_trace()["mean"]["value"]


def _parts(prior: Any) -> tuple[Any, ...]:
    parts = getattr(prior, "parts", None) or (getattr(prior, "prior", None),)
    return tuple(part for part in parts if part is not None)


def _has_part(prior: Any, kinds: tuple[type, ...]) -> bool:
    return isinstance(prior, kinds) or any(_has_part(part, kinds) for part in _parts(prior))


def _names_edges_only(prior: Any) -> bool:
    if isinstance(prior, priors.KnownEdges):
        table = prior.table
        absent = "label" in table and bool((table["label"].astype(float) == 0).any())
        return prior.unknown is None and not absent
    if isinstance(prior, priors.GraphPrior):
        return True
    parts = _parts(prior)
    return bool(parts) and all(_names_edges_only(part) for part in parts)


def _labels(prior: Any, context: priors.GeneContext) -> Array:
    if isinstance(prior, priors.KnownEdges):
        return jnp.asarray(pair_labels(prior.table, context), float)
    if isinstance(prior, priors.Relabelled):
        context = prior.permuted(context)
    each = [_labels(part, context) for part in _parts(prior)]
    # Labels count once at most.
    weight = min(prior.weight, 1.0) if isinstance(prior, Weakened) else 1.0
    return weight * sum(each, jnp.zeros((2, *context.shape))).clip(max=1.0)


def _latent(site: Any) -> bool:
    return site["type"] == "sample" and not site["is_observed"]


def _mean_logit(prior: dist.Distribution) -> Array:
    found: Any = distributions.elementwise(prior)
    if not isinstance(found, dist.Normal | dist.Logistic):
        raise ValueError(
            "The exact engine takes edge priors with normal or logistic logits, found "
            f"{type(found).__name__}; fit it with the svi engine (--engine svi)."
        )
    loc, variance = jnp.asarray(found.loc), jnp.asarray(found.variance)
    return loc / jnp.sqrt(1 + jnp.pi * variance / 8)


def _declare(distribution: Partial) -> None:
    found = distributions.elementwise(distribution())
    numpyro.deterministic("prior", found)


def _symmetric(found: Any) -> bool:
    if isinstance(found, dist.MixtureSameFamily):
        component = found.component_distribution
        return isinstance(component, dist.Normal) and bool(jnp.all(component.loc == 0))
    return not hasattr(found, "loc") or bool(jnp.all(found.loc == 0))
