"""Fit InfoSEM to one data set with several seeds at once, and sum up the posterior."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
from jax import lax, random
from jax.scipy.stats import norm
from jaxtyping import Array, Float, Int
from numpyro import handlers
from numpyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO

from infosem_jax import training
from infosem_jax.data.dataset import Dataset, normalise
from infosem_jax.grn.binding import GeneContext, Prior, bind
from infosem_jax.grn.config import Config
from infosem_jax.grn.model import Batch, Graph, Weights, guide, model
from infosem_jax.grn.network import Network
from infosem_jax.grn.priors import MeanAbsolute
from infosem_jax.grn.sem import weight_matrix
from infosem_jax.training import Cells, Rule, Schedule

log = logging.getLogger("infosem_jax")

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


class FitData(NamedTuple):
    """The arrays of one fit.

    Attributes
    ----------
    x, observed
        Normalised expression and the entries to score, [cells, genes]; rows past ``n_cells`` are
        padding.
    n_cells
        Number of real cells.
    graph
        Bound priors and rows.
    """

    x: Array
    observed: Array
    n_cells: Array
    graph: Graph

    @property
    def n_rows(self) -> int:
        """Number of cells with padding."""
        return self.x.shape[0]


@dataclass(frozen=True)
class InfoSEM:
    """The objective: minus the weighted evidence bound, per cell and gene."""

    config: Config

    def init(self, key: Array, data: FitData) -> training.Params:
        """Draw starting parameters; logits, and effects on request, start at their prior's mean."""
        batch = _batch(data, Cells(jnp.arange(1), jnp.ones(1, bool), jnp.int32(1)), self.config)
        svi = self._svi()
        state = svi.init(key, batch, data.graph, config=self.config)
        params = dict(svi.optim.get_params(state.optim_state))
        for site, wanted in (("effect", self.config.start == "prior"), ("logit", True)):
            if wanted and f"{site}_loc" in params:
                noise = params["effect_loc"] if site == "effect" else 0.0
                params[f"{site}_loc"] = _prior_mean(site, params, batch, data.graph, self) + noise
        return params

    def loss(
        self, params: training.Params, key: Array, data: FitData, cells: Cells, epoch: Array
    ) -> Array:
        """Return minus the evidence bound of some cells, per cell and gene."""
        config, batch = self.config, _batch(data, cells, self.config)
        anneal = jnp.minimum(1.0, (epoch + 1.0) / max(config.anneal_epochs, 1))
        weights = Weights(
            config.weight_z * anneal, config.weight_effect * anneal, config.weight_logit * anneal
        )
        bound = self._svi().loss.loss(
            key,
            self.constrain(params, data),
            model,
            guide,
            batch,
            data.graph,
            weights,
            config=config,
        )
        return bound / (cells.total * data.x.shape[1])

    def group(self, name: str) -> str:
        """Return which of the three groups of parameters a parameter belongs to."""
        if name in ("encoder$params", "decoder$params", "latent$params"):
            return "networks"
        return "edges" if name in ("effect_loc", "effect_log_scale") else "priors"

    def constrain(self, params: training.Params, data: FitData) -> training.Params:
        """Map parameters to the supports that the model declares for them."""
        svi, batch = (
            self._svi(),
            _batch(data, Cells(jnp.arange(1), jnp.ones(1, bool), jnp.int32(1)), self.config),
        )
        # Tracing alone tells which constraints the model declares; nothing is computed.
        jax.eval_shape(partial(svi.init, config=self.config), random.key(0), batch, data.graph)
        constrain: Any = svi.constrain_fn
        return constrain(params)

    def _svi(self) -> SVI:
        sampled = self.config.divergence == "sampled"
        bound = Trace_ELBO() if sampled else TraceMeanField_ELBO()
        return SVI(model, guide, optax.identity(), bound)


def fit(
    data: Dataset,
    effect: Prior | None = None,
    edge: Prior | None = None,
    *,
    config: Config = Config(),
    seeds: int = 1,
    key: int = 0,
    on_chunk: Callable[[int, training.Losses], None] | None = None,
) -> Fit:
    """Fit the model to expression with one posterior per seed, all seeds in one compiled program.

    The result depends on the key, the data and the settings only: genes and cells are put in the
    order of their names first, so that the order they came in does not matter.

    Parameters
    ----------
    data
        Expression as read, or already normalised.
    effect
        Prior of the effects; None is DeepSEM's Laplace prior, ``priors.MeanAbsolute()``.
    edge
        Prior of the logits; None is a model without a gate.
    config
        Settings.
    seeds
        Number of fits that differ by their random numbers only.
    key
        Seeds the random numbers; fit i of one key is the same however many seeds there are.
    on_chunk
        Called every few epochs with the number of epochs done and the losses so far.

    Raises
    ------
    ValueError
        If data, settings or priors do not fit together.
    FloatingPointError
        If every seed diverged.
    """
    began = time.perf_counter()
    if seeds < 1:
        raise ValueError(f"Expected at least one seed, found {seeds}.")
    prepared = _prepare(data, effect, edge, config)
    # The number of epochs is no part of the compiled program.
    objective = InfoSEM(replace(config, epochs=1))
    schedule = _schedule(config, len(data.cells))
    keys = jax.vmap(partial(random.fold_in, random.key(key)))(jnp.arange(seeds))
    state, losses = training.run(
        objective,
        schedule,
        keys,
        prepared.arrays,
        epochs=config.epochs,
        patience=config.patience,
        on_chunk=on_chunk,
    )
    diverged = np.asarray(state.diverged)
    _report_divergence(diverged, data.name, schedule)
    summary = _summarise(objective, state.params, prepared.arrays, prepared.reported)
    summary = jax.tree.map(lambda part: np.asarray(part)[:, :, prepared.restore], summary)
    weight, sd, positive, prior_mean, probability = summary
    return Fit(
        genes=data.genes,
        rows=prepared.rows,
        regulators=data.regulators,
        name=data.name,
        config=config,
        weight=weight,
        sd=sd,
        positive=positive,
        probability=probability,
        prior_mean=prior_mean,
        losses=jax.tree.map(np.asarray, losses),
        diverged=diverged,
        params=jax.tree.map(np.asarray, state.params),
        seconds=time.perf_counter() - began,
    )


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


def context(data: Dataset, config: Config, site: str = "effect") -> GeneContext:
    """Return what priors see of the data: names in sorted order, and which genes have rows.

    Parameters
    ----------
    data
        Expression.
    config
        Settings; ``rows`` matters.
    site
        ``effect`` or ``logit``.
    """
    genes = tuple(sorted(data.genes))
    acting = set(genes if config.rows == "all" else data.regulators)
    return GeneContext(genes, tuple(g for g in genes if g in acting), len(data.cells), site)


class _Prepared(NamedTuple):
    arrays: FitData
    rows: tuple[str, ...]
    reported: np.ndarray
    restore: np.ndarray


def _prepare(data: Dataset, effect: Prior | None, edge: Prior | None, config: Config) -> _Prepared:
    """Normalise, sort genes and cells by name, and bind the priors to the sorted names."""
    if data.normalisation == "none":
        data = normalise(data, config.normalisation, clip=config.clip)
    effect_context = context(data, config)
    genes, rows = effect_context.genes, effect_context.rows
    gene_order = np.argsort(np.asarray(data.genes))
    cell_order = np.argsort(np.asarray(data.cells))
    graph = Graph(
        effect=bind(MeanAbsolute() if effect is None else effect, effect_context),
        edge=None if edge is None else bind(edge, context(data, config, "logit")),
        rows=jnp.asarray(np.searchsorted(genes, rows)),
    )
    observed = data.observed if config.observe == "nonzero" else np.ones_like(data.observed)
    sorted_cells = np.ix_(cell_order, gene_order)
    arrays = FitData(
        x=jnp.asarray(data.x[sorted_cells]),
        observed=jnp.asarray(observed[sorted_cells]),
        n_cells=jnp.int32(len(data.cells)),
        graph=graph,
    )
    reported = pd.Index(rows).get_indexer(pd.Index(data.regulators))
    return _Prepared(arrays, rows, reported, np.argsort(gene_order))


def _schedule(config: Config, n_cells: int) -> Schedule:
    held_out = round(config.held_out * n_cells)
    if config.held_out and not 1 <= held_out <= n_cells - 2:
        raise ValueError(
            f"held_out: expected a share that leaves cells on both sides, found {config.held_out}, "
            f"which holds out {held_out} of {n_cells} cells."
        )
    batch_size = min(config.batch_size, n_cells - held_out)
    if config.phase_networks + config.phase_edges == 0:
        phases = ((("networks", "edges", "priors"), 1),)
    else:
        phases = (
            (("networks",), config.phase_networks),
            (("edges", "priors"), config.phase_edges),
        )
    rules = (
        ("networks", Rule(config.optimiser, config.rate_networks, config.decay)),
        ("edges", Rule(config.optimiser, config.rate_edges)),
        ("priors", Rule("adam", config.rate_priors)),
    )
    return Schedule(
        rules=rules,
        phases=tuple(phase for phase in phases if phase[1]),
        batch_size=batch_size,
        steps=-(-(n_cells - held_out) // batch_size),
        held_out=held_out,
        keep_best=config.patience > 0,
    )


def _batch(data: FitData, cells: Cells, config: Config) -> Batch:
    x, observed = data.x[cells.index], data.observed[cells.index]
    return Batch(x, observed, cells.real, cells.total.astype(x.dtype))


def _prior_mean(site: str, params, batch: Batch, graph: Graph, objective: InfoSEM) -> Array:
    """Mean of a site's prior under given parameters, its own sites drawn from the guide."""
    config = objective.config
    posterior = handlers.substitute(handlers.seed(guide, random.key(0)), params)
    guided = handlers.trace(posterior).get_trace(batch, graph, config=config)
    generative = handlers.substitute(handlers.seed(model, random.key(0)), params)
    replayed = handlers.replay(generative, guided)
    return handlers.trace(replayed).get_trace(batch, graph, config=config)[site]["fn"].mean


@partial(jax.jit, static_argnames="objective")
def _summarise(objective: InfoSEM, params, data: FitData, reported: Array):
    """Moments of W = effect * sigmoid(logit), which are independent, for the reported rows."""
    cells = Cells(jnp.arange(1), jnp.ones(1, bool), jnp.int32(1))
    batch = _batch(data, cells, objective.config)
    rows = data.graph.rows[reported]

    def moments(site, params):
        mean = params[f"{site}_loc"][reported]
        log_scale = params.get(f"{site}_log_scale")
        sd = jnp.zeros_like(mean) if log_scale is None else jnp.exp(log_scale[reported])
        return mean, sd

    def one(params):
        params = objective.constrain(params, data)
        mean, sd = moments("effect", params)
        prior = _prior_mean("effect", params, batch, data.graph, objective)[reported]
        positive = jnp.where(sd > 0, norm.cdf(mean / jnp.where(sd > 0, sd, 1)), mean > 0)
        gate = prior_gate = None
        if data.graph.edge is not None:
            logit, spread = moments("logit", params)
            gate, gate_square = _gate_moments(logit, spread)
            prior_gate = _prior_mean("logit", params, batch, data.graph, objective)[reported]
            # A point estimate of the gate has no variance; do not let rounding give it one.
            gate_variance = jnp.where(spread > 0, jnp.maximum(gate_square - gate**2, 0), 0)
            sd = jnp.sqrt(mean**2 * gate_variance + sd**2 * gate_square)
            mean = mean * gate
        no_self = partial(weight_matrix, logit=None, rows=rows)
        prior = weight_matrix(prior, prior_gate, rows)
        return no_self(mean), no_self(sd), positive, prior, gate

    return jax.lax.map(one, params)


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


def _report_divergence(diverged: np.ndarray, name: str, schedule: Schedule) -> None:
    bad = np.flatnonzero(diverged >= 0)
    if not len(bad):
        return
    where = ", ".join(f"seed {i} at step {diverged[i]}" for i in bad[:5])
    message = (
        f"{name}: {len(bad)} of {len(diverged)} seeds diverged ({where}; {schedule.steps} steps an "
        "epoch). Lower the learning rates, or clip expression harder."
    )
    if len(bad) == len(diverged):
        raise FloatingPointError(message)
    log.warning("%s They are left out of the network.", message)
