"""What training sees of InfoSEM: the data of a fit, its objective, and its schedule."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import random
from jaxtyping import Array, Bool, Float, Int
from numpyro import handlers
from numpyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO

from infosem_jax.engine import training
from infosem_jax.engine.types import Cells, Extent, Rate, Schedule
from infosem_jax.grn.config import OF_DRAWS, Config
from infosem_jax.grn.model import Batch, Graph, Weights, guide, model

DEFAULTS = Config()
# Numbers that the compiled program takes as input, so that fits may differ by them.
FREE = (
    *("epochs", "decay", "rate_networks", "rate_edges", "rate_priors"),
    *("weight_z", "weight_effect", "weight_logit"),
)


class FitIndex(NamedTuple):
    """What one fit takes of the data that all fits of a program share.

    Attributes
    ----------
    dataset, graph
        Which data set, and which graph.
    n_cells, n_held_out
        Number of real cells, and of those kept out of training.
    weights
        Weights of the sites in the objective.
    share
        What a cell counts for, less than 1 where covariates were taken out.
    """

    dataset: Int[Array | np.ndarray, "*fits"]
    graph: Int[Array | np.ndarray, "*fits"]
    n_cells: Int[Array | np.ndarray, "*fits"]
    n_held_out: Int[Array | np.ndarray, "*fits"]
    weights: Weights
    share: Float[Array | np.ndarray | np.float32, "*fits"] = np.float32(1)


class FitData(NamedTuple):
    """Cells that lie on the device: those of all fits, or of one fit.

    Attributes
    ----------
    x, observed
        Normalised expression and the entries to score (None: all) of all data sets of a program,
        [datasets, cells, genes]; rows past a data set's number of cells are padding.
    graph
        Bound priors and rows: every array with a leading axis of graphs, or those of one fit.
    own
        What one fit takes of them; None where the data are those of all fits.
    """

    x: Float[Array | np.ndarray, "datasets cells genes"]
    observed: Bool[Array | np.ndarray, "datasets cells genes"] | None
    graph: Graph
    own: Any = None

    @property
    def n_rows(self) -> int:
        """Number of cells with padding."""
        return self.x.shape[1]

    @property
    def n_genes(self) -> int:
        """Number of genes."""
        return self.x.shape[2]

    @property
    def n_cells(self) -> Any:
        """Number of real cells."""
        return self.own.n_cells

    @property
    def extent(self) -> Extent:
        """All cells; an epoch passes over those that train."""
        return Extent(self.n_rows, self.n_cells, self.own.n_held_out)

    def view(self, own: FitIndex) -> "FitData":
        """Return the data of one fit from those of all."""
        return self._replace(graph=pick(self.graph, own.graph), own=own)

    def batch(self, index: Int[Array, " batch"]) -> tuple[Array, Array | None]:
        """Return expression and scored entries of some cells."""
        at = (self.own.dataset, index)
        return self.x[at], None if self.observed is None else self.observed[at]


@dataclass(frozen=True)
class InfoSEM:
    """The objective: minus the weighted evidence bound, per cell and gene.

    With guide ``nuts`` a point estimate is what is trained: chains start from it, and its networks
    stay as they are.
    """

    config: Config

    @property
    def trained(self) -> Config:
        """Settings of what is trained by gradients."""
        of_draws = self.config.guide in OF_DRAWS
        return replace(self.config, guide="point") if of_draws else self.config

    def view(self, shared: Any, own: FitIndex) -> Any:
        """Return the data of one fit."""
        return shared.view(own)

    def init(self, key: Array, data: Any) -> training.Params:
        """Draw starting parameters; logits, and effects on request, start at their prior's mean.

        Own guides start as they say.
        """
        batch = blank(data.n_genes)
        svi = self._svi()
        state = svi.init(key, batch, data.graph, config=self.trained)
        params = dict(svi.optim.get_params(state.optim_state))
        for site, wanted in (("effect", self.config.start == "prior"), ("logit", True)):
            if wanted and not callable(self.config.guide) and f"{site}_loc" in params:
                noise = params["effect_loc"] if site == "effect" else 0.0
                mean = prior_mean(site, params, data.graph, self.trained)
                params[f"{site}_loc"] = mean + noise
        return params

    def loss(
        self, params: training.Params, key: Array, data: Any, cells: Cells, epoch: Array
    ) -> Array:
        """Return minus the evidence bound of some cells, per cell and gene, see `Objective`."""
        config = self.trained
        x, observed = data.batch(cells.index)
        if config.observe == "all":
            observed = None
        batch = Batch(x, observed, cells.real, cells.total.astype(x.dtype) * data.own.share)
        anneal = jnp.minimum(1.0, (epoch + 1.0) / max(config.anneal_epochs, 1))
        weights = jax.tree.map(lambda weight: weight * anneal, data.own.weights)
        params = self.constrain(params, data.graph)
        parts: Any = self._svi().loss.loss(
            key, params, model, guide, batch, data.graph, weights, config=config
        )
        # Sites come in an order that may differ between processes; sums must not.
        bound = sum((parts[name] for name in sorted(parts)), start=jnp.zeros(()))
        return bound / (cells.total * data.n_genes)

    def group(self, name: str) -> str:
        """Return which of the three groups of parameters a parameter belongs to."""
        if name in ("encoder$params", "decoder$params", "latent$params"):
            return "networks"
        if callable(self.config.guide):
            return "priors" if name.startswith(("effect_prior/", "logit")) else "edges"
        return "edges" if name in ("effect_loc", "effect_log_scale", "effect_factor") else "priors"

    def constrain(self, params: training.Params, graph: Graph) -> training.Params:
        """Map parameters to the supports that the model declares for them."""
        svi, batch = self._svi(), blank(n_genes_of(graph))
        # Tracing alone tells which constraints the model declares; nothing is computed.
        jax.eval_shape(partial(svi.init, config=self.trained), random.key(0), batch, graph)
        constrain: Any = svi.constrain_fn
        return constrain(params)

    def bound(self, *, sum_sites: bool = True) -> Trace_ELBO | TraceMeanField_ELBO:
        """Return minus the evidence bound, of all sites together or of each."""
        sampled = self.config.divergence == "sampled"
        return (Trace_ELBO if sampled else TraceMeanField_ELBO)(sum_sites=sum_sites)

    def _svi(self) -> SVI:
        return SVI(model, guide, optax.identity(), self.bound(sum_sites=False))


def objective(config: Config) -> InfoSEM:
    """Return the objective of a configuration, the same for all that share a compiled program."""
    return InfoSEM(replace(config, **{field: getattr(DEFAULTS, field) for field in FREE}))


def schedule(config: Config, n_cells: int, *, held_out: int | None = None) -> Schedule:
    """Lay out the training of a configuration on a number of cells.

    Parameters
    ----------
    config
        Settings.
    n_cells
        Number of cells, held-out ones included.
    held_out
        How many of them are held out; the share that the settings name where None.

    Raises
    ------
    ValueError
        If the held-out share leaves no cells on one side, or the optimiser is not known any more.
    """
    if held_out is None:
        held_out = round(config.held_out * n_cells)
    if config.held_out and not 1 <= held_out <= n_cells - 2:
        raise ValueError(
            f"held_out: expected a share that leaves cells on both sides, found {config.held_out}, "
            f"which holds out {held_out} of {n_cells} cells."
        )
    if config.optimiser == "own":
        raise ValueError(
            "optimiser: own is the record of an optimiser that was made in Python; give it again, "
            "or choose rmsprop or adam."
        )
    batch_size = min(config.batch_size, n_cells - held_out)
    if config.phase_networks + config.phase_edges == 0:
        phases = ((("networks", "edges", "priors"), 1),)
    else:
        phases = (
            (("networks",), config.phase_networks),
            (("edges", "priors"), config.phase_edges),
        )
    return Schedule(
        optimisers=(
            ("networks", config.optimiser),
            ("edges", config.optimiser),
            ("priors", "adam"),
        ),
        phases=tuple(phase for phase in phases if phase[1]),
        batch_size=batch_size,
        steps=-(-(n_cells - held_out) // batch_size),
        held_out=held_out,
        patience=config.patience,
    )


def rates(config: Config) -> dict[str, Rate]:
    """Return the learning rate of each group of parameters."""
    numbers = {
        "networks": (config.rate_networks, config.decay),
        "edges": (config.rate_edges, 1.0),
        "priors": (config.rate_priors, 1.0),
    }
    return {group: Rate(*map(_float, pair)) for group, pair in numbers.items()}


def weights(config: Config) -> Weights:
    """Return the weights of the sites in the objective."""
    return Weights(*map(_float, (config.weight_z, config.weight_effect, config.weight_logit)))


def pick(graphs: Graph, which: Int[Array | np.ndarray, ""]) -> Graph:
    """Take one graph of several."""
    several = len(graphs.rows) > 1
    return jax.tree.map(lambda leaf: leaf[which] if several else leaf[0], graphs)


def blank(n_genes: int) -> Batch:
    """Return one cell without expression, for what depends on shapes and parameters only."""
    return Batch(jnp.zeros((1, n_genes)), None, jnp.ones(1, bool), 1.0)


def n_genes_of(graph: Graph) -> int:
    """Return the number of genes that priors are bound to."""
    with handlers.block(), handlers.seed(rng_seed=0):
        return graph.effect.distribution().shape()[-1]


def prior_mean(site: str, params: training.Params, graph: Graph, config: Config) -> Array:
    """Return the mean of a site's prior, whose own sites are drawn from the guide.

    Parameters
    ----------
    site
        ``effect`` or ``logit``.
    params
        Parameters of one fit.
    graph, config
        As in `infosem_jax.grn.model.model`.
    """
    batch = blank(n_genes_of(graph))
    posterior = handlers.substitute(handlers.seed(guide, random.key(0)), params)
    guided = handlers.trace(posterior).get_trace(batch, graph, config=config)
    generative = handlers.substitute(handlers.seed(model, random.key(0)), params)
    replayed = handlers.replay(generative, guided)
    return handlers.trace(replayed).get_trace(batch, graph, config=config)[site]["fn"].mean


def _float(number: float) -> np.ndarray:
    return np.asarray(number, np.float32)
