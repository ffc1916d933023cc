"""Posterior draws for ArviZ: `to_arviz`."""

from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax import random
from jaxtyping import Array
from numpyro import handlers
from numpyro.infer import Predictive, log_likelihood

from infosem_jax.data.dataset import Dataset
from infosem_jax.grn import exact
from infosem_jax.grn.config import OF_DRAWS
from infosem_jax.grn.evidence import under_draws
from infosem_jax.grn.posterior import draw_edges, mechanism, sorted_genes
from infosem_jax.grn.priors.binding import Prior
from infosem_jax.grn.result import Fit
from infosem_jax.grn.states import as_fitted

if TYPE_CHECKING:
    from arviz import InferenceData


def to_arviz(
    fitted: Fit | exact.Fit,
    data: Dataset | None = None,
    effect: Prior | None = None,
    *,
    draws: int = 200,
    key: int = 0,
) -> "InferenceData":
    """Return posterior draws of the edges as ArviZ's InferenceData, a chain for each sound seed.

    ``effect`` has the dimensions ``row`` and ``gene``; what priors declare keeps its prefix,
    ``effect_prior/...``. Draws are independent, but with guide ``nuts`` those of the chains in
    their order, with ``diverging`` and ``lp``, their log density per measured value, as sample
    statistics. An exact fit has one chain, with the hyper-parameters and the ``variance`` of the
    noise of each gene, and the log density of a cell is that of its regressions, given both.

    Parameters
    ----------
    fitted
        A fit.
    data
        The cells that it is of, to add the log density ``x`` of each cell under each draw with its
        noise integrated out, which ``arviz.loo`` and ``arviz.waic`` take; None leaves it out. It
        takes the time of ``infosem_jax.grn.evidence.density`` for each draw. An exact fit needs
        them, as it holds the moments of its posterior only.
    effect
        Prior of an exact fit, which does not hold it either.
    draws
        Draws of each seed; all that there are where a fit keeps them.
    key
        Seeds the random numbers.

    Raises
    ------
    ImportError
        If ArviZ is not installed.
    ValueError
        If every seed diverged, or the data have other genes; of an exact fit also if they are not
        given, or as `infosem_jax.grn.exact.Fit.raw`.
    """
    try:
        import arviz
    except ImportError as error:
        raise ImportError("to_arviz needs ArviZ: pip install 'infosem_jax[arviz]'.") from error
    names = ["row", "gene"]
    dimensions = {"effect": names, "logit": names, "variance": ["gene"], "x": ["cell"]}
    coordinates: dict[str, Any] = {"row": list(fitted.rows)}
    if data is not None:
        coordinates["cell"] = list(data.cells)
    if isinstance(fitted, exact.Fit):
        groups = _exact_chain(fitted, data, effect, draws, random.key(key))
        coordinates["gene"] = list(fitted.genes)
        return arviz.from_dict(**groups, coords=coordinates, dims=dimensions)
    coordinates["gene"] = list(sorted_genes(fitted))
    sound = np.flatnonzero(fitted.diverged < 0)
    if not len(sound):
        raise ValueError(f"{fitted.name}: every seed diverged; there are no draws.")
    keys = random.split(random.key(key), (len(sound), draws))
    chains = [_chain(fitted, data, int(s), own) for s, own in zip(sound, keys, strict=True)]
    groups = {
        name: jax.tree.map(lambda *parts: np.stack(parts), *(chain[name] for chain in chains))
        for name in chains[0]
    }
    return arviz.from_dict(**groups, coords=coordinates, dims=dimensions)


def _exact_chain(
    fitted: exact.Fit, data: Dataset | None, effect: Prior | None, draws: int, key: Array
) -> dict[str, Any]:
    """Return the groups of an exact fit, every array with axes of one chain and of draws."""
    if data is None:
        raise ValueError(
            f"{fitted.name}: expected the cells of the exact fit, from which its posterior is "
            "drawn, found none; call to_arviz(fitted, data, prior)."
        )
    raw = fitted.raw(data, effect)
    posterior = Predictive(raw.guide, params=raw.params, num_samples=draws)(key)
    at = {gene: i for i, gene in enumerate(data.genes)}
    order = [at[gene] for gene in fitted.genes]
    observed = handlers.condition(raw.model, {"x": as_fitted(fitted, data).x[:, order]})
    nats = log_likelihood(observed, posterior)["x"]
    groups = {"posterior": posterior, "log_likelihood": {"x": nats}}
    return jax.tree.map(lambda values: np.asarray(values)[None], groups)


def _chain(fitted: Fit, data: Dataset | None, seed: int, keys: Array) -> dict[str, Any]:
    """Return the groups of one seed, every array with a leading axis of draws."""
    groups: dict[str, Any] = {}
    if fitted.config.guide == "nuts":
        groups["sample_stats"] = {
            "lp": -fitted.losses.train[seed],
            "diverging": fitted.params["diverging"][seed],
        }
    if fitted.config.guide in OF_DRAWS:
        given = {name: values[seed] for name, values in fitted.params["draws"].items()}
        groups["posterior"] = given
        draw_of, draws = _of_one_draw(fitted, seed), given
    else:
        draw_of, draws = (lambda own: mechanism(fitted, own, seed=seed)), keys
        groups["posterior"] = jax.vmap(lambda own: draw_edges(fitted, own, seed=seed))(keys)
    if data is not None:
        each = np.arange(len(data.cells))
        mechanisms = jax.vmap(draw_of)(draws)
        groups["log_likelihood"] = {"x": under_draws(fitted, data, each, mechanisms, seed=seed)[0]}
    return groups


def _of_one_draw(fitted: Fit, seed: int):
    """Return the function that makes a mechanism of one draw of a chain."""
    params = {name: value[seed] for name, value in fitted.params.items() if name != "draws"}

    def made(draw):
        only = {**params, "draws": jax.tree.map(lambda leaf: leaf[None], draw)}
        alone = fitted._replace(params=jax.tree.map(lambda leaf: leaf[None], only))
        return mechanism(alone, random.key(0))

    return made
