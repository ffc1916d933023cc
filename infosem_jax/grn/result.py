"""What a fit leaves behind, and how it is summed up to a network."""

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import lax
from jax.scipy.stats import norm
from jaxtyping import Array, Float, Int

from infosem_jax._shown import shown
from infosem_jax.data.dataset import Dataset
from infosem_jax.engine import training
from infosem_jax.grn import exact
from infosem_jax.grn.config import OF_DRAWS, Config
from infosem_jax.grn.model import Graph
from infosem_jax.grn.networks import Network
from infosem_jax.grn.objective import InfoSEM, prior_mean
from infosem_jax.grn.priors.binding import Prior
from infosem_jax.grn.sem import weight_matrix

if TYPE_CHECKING:
    from infosem_jax.grn.numpyro_model import Raw

QUADRATURE = 20


@shown("weight", "regulators", "genes", "config", "coverage", "seconds")
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
        Training and held-out loss per measured value, [seeds, epochs]; with guide ``nuts``, minus
        the log density of each draw (up to a constant) per measured value, [seeds, draws].
    diverged
        Step at which a seed's loss stopped being finite, -1 for sound seeds, [seeds].
    params
        Parameters of the model and the guide, seeds leading; rows and genes sorted by name. With
        guide ``nuts`` or an own one, ``draws`` holds the draws of each site instead of parameters
        of the guide, [seeds, draws, ...].
    seconds
        Wall-clock time, compilation included.
    coverage
        How much of the data each prior knows about, by ``effect`` and ``edge``.
    covariates
        What was taken out of the cells, as `infosem_jax.data.Dataset` says it.
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
    coverage: dict[str, dict[str, Any]] = {}  # noqa: RUF012
    covariates: tuple[str, ...] = ()

    def raw(
        self,
        data: Dataset,
        effect: Prior | None = None,
        edge: Prior | None = None,
        *,
        seed: int = 0,
    ) -> "Raw":
        """Return the NumPyro functions of this fit with the parameters of one seed.

        Parameters
        ----------
        data
            The cells of the fit, or others with the same genes.
        effect, edge
            Priors of the fit, which does not hold them.
        seed
            Which seed.

        Raises
        ------
        ValueError
            If there is no such seed, it diverged, the data have other genes, or an edge prior is
            missing.
        """
        # At the top of the module it would be a circle: what prepares fits needs this module.
        from infosem_jax.grn.numpyro_model import of_fit

        return of_fit(self, data, effect, edge, seed)


def network(fitted: Fit | exact.Fit) -> Network:
    """Sum up the sound seeds of a fit: mean effect, its spread, and how sure its sign is.

    Exact fits have no seeds, and a score of every edge.

    Raises
    ------
    FloatingPointError
        If no seed is sound.
    """
    if isinstance(fitted, exact.Fit):
        return exact.network(fitted)
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


def loss_table(fitted: Fit | exact.Fit) -> pd.DataFrame:
    """Lay the losses out as a long table: seed, epoch, loss, held_out (nats per measured value).

    Of an exact fit: step and loss, minus the log density of the hyper-parameters, in nats.
    """
    if isinstance(fitted, exact.Fit):
        return pd.DataFrame({"step": np.arange(1, len(fitted.losses) + 1), "loss": fitted.losses})
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
    """Return the moments of ``W = effect * sigmoid(logit)``.

    Effects and logits are independent, or jointly normal with guide ``lowrank``; draws that were
    kept are averaged.

    Parameters
    ----------
    objective, params, graph
        What was trained; parameters with a leading axis of seeds.
    reported
        Which rows are wanted.
    """
    summed_up = _of_draws if objective.config.guide in OF_DRAWS else _of_guide

    def one(params):
        return summed_up(objective, objective.constrain(params, graph), graph, reported)

    return lax.map(one, params)


def _of_guide(objective: InfoSEM, params, graph: Graph, reported: Array) -> Moments:
    rows = graph.rows[reported]
    mean, sd, loading = _site_moments("effect", params, reported)
    prior = prior_mean("effect", params, graph, objective.config)[reported]
    positive = jnp.where(sd > 0, norm.cdf(mean / jnp.where(sd > 0, sd, 1)), mean > 0)
    gate = prior_gate = None
    if graph.edge is not None:
        logit, spread, logit_loading = _site_moments("logit", params, reported)
        covariance = (loading * logit_loading).sum(-1)
        correlation = covariance / jnp.where(sd * spread > 0, sd * spread, 1)
        prior_gate = prior_mean("logit", params, graph, objective.config)[reported]
        mean, sd, gate = _gated_moments(mean, sd, logit, spread, correlation)
    no_self = partial(weight_matrix, logit=None, rows=rows)
    prior = weight_matrix(prior, prior_gate, rows)
    return Moments(no_self(mean), no_self(sd), positive, prior, gate)


def _of_draws(objective: InfoSEM, params, graph: Graph, reported: Array) -> Moments:
    rows, draws = graph.rows[reported], params["draws"]
    gated = graph.edge is not None

    def prior_of(draw):
        only = params | {"draws": jax.tree.map(lambda leaf: leaf[None], draw)}
        wanted = ("effect", "logit") if gated else ("effect",)
        means = [prior_mean(site, only, graph, objective.config)[reported] for site in wanted]
        return weight_matrix(means[0], means[1] if gated else None, rows)

    effect = draws["effect"][:, reported]
    logit = draws["logit"][:, reported] if gated else None
    W = jax.vmap(weight_matrix, (0, 0 if gated else None, None))(effect, logit, rows)
    gate = None if logit is None else jax.nn.sigmoid(logit).mean(0)
    prior = lax.map(prior_of, draws).mean(0)
    return Moments(W.mean(0), W.std(0), (effect > 0).mean(0), prior, gate)


def _site_moments(site: str, params, reported: Array) -> tuple[Array, Array, Array]:
    """Return mean, standard deviation and loadings on shared factors (none: one of zero)."""
    mean = params[f"{site}_loc"][reported]
    log_scale, factor = params.get(f"{site}_log_scale"), params.get(f"{site}_factor")
    none = jnp.zeros((*mean.shape, 1))
    if log_scale is None:
        return mean, jnp.zeros_like(mean), none
    scale = jnp.exp(log_scale[reported])
    if factor is None:
        return mean, scale, none
    loading = scale[..., None] * factor[reported]
    return mean, jnp.sqrt(scale**2 + (loading**2).sum(-1)), loading


def _gated_moments(
    effect: Array, sd: Array, logit: Array, spread: Array, correlation: Array
) -> tuple[Array, Array, Array]:
    """Mean and sd of effect * sigmoid(logit), jointly normal, and mean gate (Gauss-Hermite)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(QUADRATURE)
    points = jnp.asarray(nodes, logit.dtype), jnp.asarray(weights / weights.sum(), logit.dtype)
    own = sd**2 * (1 - correlation**2)

    def at(node):
        gate = jax.nn.sigmoid(logit + spread * node)
        return gate, gate * (effect + correlation * sd * node)

    def add(sums, node_and_weight):
        node, weight = node_and_weight
        gate, product = at(node)
        return (sums[0] + weight * gate, sums[1] + weight * product), None

    def spread_out(variance, node_and_weight):
        node, weight = node_and_weight
        gate, product = at(node)
        # What does not vary has no variance; do not let rounding give it one.
        between = jnp.where(spread > 0, (product - mean) ** 2, 0)
        return variance + weight * (between + own * gate**2), None

    zero = jnp.zeros_like(logit)
    (gate, mean), _ = lax.scan(add, (zero, zero), points)
    variance, _ = lax.scan(spread_out, zero, points)
    return mean, jnp.sqrt(variance), gate
