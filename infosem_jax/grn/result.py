"""What a fit leaves behind, and how it is summed up to a network."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import lax
from jax.scipy.stats import norm
from jaxtyping import Array, Float, Int

from infosem_jax import training
from infosem_jax.grn.config import Config
from infosem_jax.grn.model import Graph
from infosem_jax.grn.network import Network
from infosem_jax.grn.objective import InfoSEM, prior_mean
from infosem_jax.grn.sem import weight_matrix

QUADRATURE = 20


class Fit(NamedTuple):
    """A fitted model: what the network is made of, and the parameters behind it.

    Attributes
    ----------
    genes, rows, regulators
        Names of the targets, of the genes with effects, and of the candidates that are reported.
    name
        What the data were called.
    config
        Settings of the fit.
    weight, sd
        Posterior mean and standard deviation of W, [seeds, regulators, genes].
    positive
        Posterior probability that W is positive, [seeds, regulators, genes].
    probability
        Posterior mean of the gate, [seeds, regulators, genes]; None without an edge prior.
    prior_mean
        Mean of W under the prior as learned, [seeds, regulators, genes].
    losses
        Training and held-out loss per measured value, [seeds, epochs].
    diverged
        Step at which a seed's loss stopped being finite, -1 for sound seeds, [seeds].
    params
        Parameters of the model and the guide, seeds leading; rows and genes sorted by name.
    seconds
        Wall-clock time, compilation included.
    """

    genes: tuple[str, ...]
    rows: tuple[str, ...]
    regulators: tuple[str, ...]
    name: str
    config: Config
    weight: Float[np.ndarray, "seeds regulators genes"]
    sd: Float[np.ndarray, "seeds regulators genes"]
    positive: Float[np.ndarray, "seeds regulators genes"]
    probability: Float[np.ndarray, "seeds regulators genes"] | None
    prior_mean: Float[np.ndarray, "seeds regulators genes"]
    losses: training.Losses
    diverged: Int[np.ndarray, " seeds"]
    params: dict[str, Any]
    seconds: float


def network(fitted: Fit) -> Network:
    """Sum up the sound seeds of a fit: mean effect, its spread, and how sure its sign is.

    Raises
    ------
    FloatingPointError
        If no seed is sound.
    """
    sound = fitted.diverged < 0
    if not sound.any():
        raise FloatingPointError(f"{fitted.name}: every seed diverged.")
    weight = fitted.weight[sound].mean(0)
    sd = np.sqrt((fitted.sd[sound] ** 2).mean(0) + fitted.weight[sound].var(0))
    positive = fitted.positive[sound].mean(0)
    probability = fitted.probability
    return Network(
        regulators=fitted.regulators,
        genes=fitted.genes,
        weight=weight,
        sd=sd,
        sign_agreement=np.where(weight >= 0, positive, 1 - positive),
        probability=None if probability is None else probability[sound].mean(0),
        name=fitted.name,
    )


def loss_table(fitted: Fit) -> pd.DataFrame:
    """Lay the losses out as a long table: seed, epoch, loss, held_out (nats per measured value)."""
    seeds, epochs = fitted.losses.train.shape
    return pd.DataFrame(
        {
            "seed": np.repeat(np.arange(seeds), epochs),
            "epoch": np.tile(np.arange(1, epochs + 1), seeds),
            "loss": fitted.losses.train.ravel(),
            "held_out": fitted.losses.held_out.ravel(),
        }
    )


class Moments(NamedTuple):
    """Posterior of W and mean of its prior, [seeds, regulators, genes]; as in `Fit`."""

    weight: Array
    sd: Array
    positive: Array
    prior_mean: Array
    probability: Array | None


@partial(jax.jit, static_argnames="objective", compiler_options=training.RUNS_ONCE)
def moments(
    objective: InfoSEM, params: training.Params, graph: Graph, reported: Int[Array, " regulators"]
) -> Moments:
    """Return the moments of ``W = effect * sigmoid(logit)``, whose factors are independent.

    Parameters
    ----------
    objective, params, graph
        What was trained; parameters with a leading axis of seeds.
    reported
        Which rows are wanted.
    """
    rows = graph.rows[reported]

    def site_moments(site, params):
        mean = params[f"{site}_loc"][reported]
        log_scale = params.get(f"{site}_log_scale")
        sd = jnp.zeros_like(mean) if log_scale is None else jnp.exp(log_scale[reported])
        return mean, sd

    def one(params):
        params = objective.constrain(params, graph)
        mean, sd = site_moments("effect", params)
        prior = prior_mean("effect", params, graph, objective)[reported]
        positive = jnp.where(sd > 0, norm.cdf(mean / jnp.where(sd > 0, sd, 1)), mean > 0)
        gate = prior_gate = None
        if graph.edge is not None:
            logit, spread = site_moments("logit", params)
            gate, gate_square = _gate_moments(logit, spread)
            prior_gate = prior_mean("logit", params, graph, objective)[reported]
            # A point estimate of the gate has no variance; do not let rounding give it one.
            gate_variance = jnp.where(spread > 0, jnp.maximum(gate_square - gate**2, 0), 0)
            sd = jnp.sqrt(mean**2 * gate_variance + sd**2 * gate_square)
            mean = mean * gate
        no_self = partial(weight_matrix, logit=None, rows=rows)
        prior = weight_matrix(prior, prior_gate, rows)
        return Moments(no_self(mean), no_self(sd), positive, prior, gate)

    return lax.map(one, params)


def _gate_moments(logit: Array, spread: Array) -> tuple[Array, Array]:
    """First two moments of sigmoid(l), l ~ Normal(logit, spread^2), by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(QUADRATURE)

    def add(moments, node_and_weight):
        node, weight = node_and_weight
        gate = jax.nn.sigmoid(logit + spread * node)
        return (moments[0] + weight * gate, moments[1] + weight * gate**2), None

    start = jnp.zeros_like(logit), jnp.zeros_like(logit)
    points = jnp.asarray(nodes, logit.dtype), jnp.asarray(weights / weights.sum(), logit.dtype)
    return lax.scan(add, start, points)[0]
