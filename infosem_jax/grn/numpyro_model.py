"""What a fit runs, for those who know NumPyro: `raw`."""

from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
from jax import random
from jaxtyping import Array
from numpyro.infer import SVI, Trace_ELBO

from infosem_jax.data.covariates import regress_out
from infosem_jax.data.dataset import Dataset, subset
from infosem_jax.engine.training import step_rule
from infosem_jax.grn import exact, prepare
from infosem_jax.grn import model as declared
from infosem_jax.grn.config import Config
from infosem_jax.grn.exact import generative
from infosem_jax.grn.exact.fitting import task as exact_task
from infosem_jax.grn.objective import InfoSEM, rates, weights
from infosem_jax.grn.posterior import parameters
from infosem_jax.grn.priors.binding import Prior, Priors
from infosem_jax.grn.result import Fit
from infosem_jax.grn.states import as_fitted


class Raw(NamedTuple):
    """A model and its guide as plain NumPyro functions, and what to call them with.

    Attributes
    ----------
    model
        ``model(x=None, *, cells=None)`` declares the sites ``effect``, ``logit`` (with an edge
        prior), ``z`` and ``x``, and what the priors declare. Without ``x`` it draws expression, of
        as many cells as the data have or as ``cells`` says. Of the exact engine it is
        ``model(basis=None)`` with the sites ``r2`` and ``slope``, and ``variance``, ``effect`` and
        ``x`` without moments of cells to condition on, see ``infosem_jax.grn.exact.generative``.
    guide
        ``guide(x=None, *, cells=None)`` declares the posterior, given ``x`` or the data; of the
        exact engine ``guide(basis=None)``.
    svi
        The two with the objective and the optimisers of the settings; all parameters are trained
        together, without the phases of a fit, and annealing is over.
    args, kwargs
        The data: normalised expression, [cells, genes]; of the exact engine its moments.
    genes, rows
        Names of the columns of expression and effects, and of the rows of effects. Of the svi
        engine they are sorted, as its fits do not depend on the order of the data, and so is
        ``args``; of the exact engine they are in the order of the data, or of the fit.
    cells
        Names of the cells, sorted or in the order of the data likewise.
    params
        Parameters of the guide and of the networks; empty unless they come from a fit.
    """

    model: Callable[..., None]
    guide: Callable[..., None]
    svi: SVI
    args: tuple[Any]
    kwargs: dict[str, Any]
    genes: tuple[str, ...]
    rows: tuple[str, ...]
    cells: tuple[str, ...]
    params: dict[str, Any]


def raw(
    data: Dataset,
    effect: Prior | None = None,
    edge: Prior | None = None,
    *,
    config: Config | exact.Config = exact.Config(),
    covariates: pd.DataFrame | None = None,
    params: dict[str, Any] | None = None,
) -> Raw:
    """Return what a fit runs, ready for SVI, MCMC, ``Predictive``, handlers and ``render_model``.

    Prior predictive: ``Predictive(raw.model, num_samples=100)(key)["x"]``. Posterior predictive,
    with parameters from training:
    ``Predictive(raw.model, guide=raw.guide, params=params, num_samples=100)(key)["x"]``. Called
    without data both draw expression; called with ``*raw.args`` NumPyro returns the data as ``x``.

    Parameters
    ----------
    data
        Expression as read, or normalised.
    effect, edge
        Priors of the effects and of the logits, as in `infosem_jax.grn.fit`.
    config
        Settings, of either engine; by default of the exact one, as of a fit. With guide ``nuts``,
        ``guide`` is the point estimate that chains start from.
    covariates
        What is known of the cells and taken out of their expression, as in `infosem_jax.grn.fit`.
    params
        Parameters that were trained with the same settings; see `Fit.raw`.

    Raises
    ------
    ValueError, TypeError
        If data, settings or priors do not fit together.
    """
    if not isinstance(data, Dataset):
        raise TypeError(
            f"Expected a Dataset, found {type(data).__name__}; read files with read_expression."
        )
    if covariates is not None:
        data = regress_out(data, covariates, config.normalisation, clip=config.clip)
    if isinstance(config, exact.Config):
        return _raw_exact(data, effect, edge, config, params or {})
    (group,) = prepare.groups({data.name: data}, {"": Priors(effect, edge)}, {"": config})
    (member,) = group.members
    objective = InfoSEM(member.config)
    if params is None:
        objective = InfoSEM(objective.trained)
    x, observed = map(jnp.asarray, prepare.sheet(data, member.config))
    model, guide = (
        partial(_call, function, x, observed, member, objective.config, prepare.share(data))
        for function in (declared.model, declared.guide)
    )
    return Raw(
        model,
        guide,
        svi=SVI(model, guide, _optimisers(objective), objective.bound()),
        args=(x,),
        kwargs={},
        genes=tuple(sorted(data.genes)),
        rows=member.rows,
        cells=tuple(sorted(data.cells)),
        params=params or {},
    )


def of_fit(fitted: Fit, data: Dataset, effect: Prior | None, edge: Prior | None, seed: int) -> Raw:
    """Return what `Fit.raw` does."""
    if not 0 <= seed < len(fitted.diverged) or fitted.diverged[seed] >= 0:
        sound = ", ".join(map(str, np.flatnonzero(fitted.diverged < 0)))
        raise ValueError(f"{fitted.name}: expected one of the sound seeds ({sound}), found {seed}.")
    if (fitted.probability is None) != (edge is None):
        raise ValueError(
            f"{fitted.name}: expected the edge prior of the fit, which "
            f"{'has none' if edge else 'has one'}, found {'one' if edge else 'none'}."
        )
    scaled = as_fitted(fitted, data)
    params = parameters(fitted, seed)
    return raw(scaled, effect, edge, config=fitted.config, params=params)


def of_exact_fit(fitted: exact.Fit, data: Dataset, effect: Prior | None) -> Raw:
    """Return what `infosem_jax.grn.exact.Fit.raw` does."""
    scaled = as_fitted(fitted, data)
    at = {gene: i for i, gene in enumerate(data.genes)}
    order = np.array([at[gene] for gene in fitted.genes])
    ordered = subset(scaled, genes=order)._replace(regulators=fitted.regulators)
    plain = raw(ordered, effect, config=fitted.config)
    start = jax.eval_shape(lambda: plain.svi.get_params(plain.svi.init(random.key(0), *plain.args)))
    site_of = {name: name.removesuffix("_auto_loc") for name in start}
    learned = {
        name: jax.tree.map(jnp.asarray, value)
        for name, value in fitted.learned.items()
        if name in ("r2", "slope") or name.startswith("effect_prior/")
    }
    if set(site_of.values()) != set(learned):
        raise ValueError(
            f"{fitted.name}: expected the prior of the fit, which learned {sorted(learned)}, found "
            f"one that learns {sorted(site_of.values())}."
        )
    if fitted.config.hyper == "nuts" and learned:
        return raw(ordered, effect, config=fitted.config, params={"draws": learned})
    return plain._replace(params={name: learned[site] for name, site in site_of.items()})


def _raw_exact(
    data: Dataset,
    effect: Prior | None,
    edge: Prior | None,
    config: exact.Config,
    params: dict[str, Any],
) -> Raw:
    task = exact_task(data, effect, edge, config)
    given = generative.given(task)._replace(kept="draws" in params)
    model, guide = (partial(function, given) for function in (generative.model, generative.guide))
    svi = SVI(model, guide, optax.adam(config.rate), Trace_ELBO())
    names = (data.genes, task.context.rows, data.cells)
    return Raw(model, guide, svi, (given.basis,), {}, *names, params)


def _call(
    function: Callable[..., None],
    data: Array,
    scored: Array,
    member: prepare.Member,
    config: Config,
    share: np.ndarray,
    x: Array | None = None,
    *,
    cells: int | None = None,
) -> None:
    """Call the model or the guide on expression, or (the guide) on that of the data."""
    drawn = function is declared.model and x is None
    if x is None and cells is not None:
        if not drawn and cells != len(data):
            raise ValueError(
                f"Expected as many cells as the data have, {len(data)}, of a posterior, found "
                f"{cells}; give the guide their expression."
            )
        data = jnp.zeros((cells, data.shape[1]))
    x = data if x is None else x
    masked = config.observe == "nonzero" and x.shape == scored.shape
    batch = declared.Batch(
        x, scored if masked else None, jnp.ones(len(x), bool), jnp.asarray(share * len(x))
    )
    graph = jax.tree.map(jnp.asarray, member.graph)
    options = {"drawn": drawn} if function is declared.model else {}
    function(batch, graph, weights(member.config), config=config, **options)


def _optimisers(objective: InfoSEM) -> optax.GradientTransformation:
    """Put together the optimisers of the three groups of parameters."""
    own = objective.config.optimiser
    rules: dict[str, Any] = {"networks": own, "edges": own, "priors": "adam"}
    each: dict[Hashable, optax.GradientTransformation] = {
        group: optax.chain(step_rule(rules[group]), optax.scale_by_learning_rate(float(rate.rate)))
        if isinstance(rules[group], str)
        else rules[group]
        for group, rate in rates(objective.config).items()
    }
    return optax.multi_transform(each, lambda params: {k: objective.group(k) for k in params})
