"""Knock-outs and over-expression in a fitted model: which genes move, how far, and how surely.

Gene i is cut off from what acts on it and held at a state c: ``u_i = c``, every other equation of
``u = u W + z`` stays as it is, and so does the noise z. The states then move by
``(c - u_i) T[i] / T[i, i]``, ``T = (I - W)^-1``, so that the rows of T of the genes in question are
all that has to be solved for. It is what ``numpyro.handlers.do`` on the sites ``effect`` (the
column of gene i at zero) and ``z`` (such that ``u_i = c``) gives.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import lax, random
from jaxtyping import Array, Float, Int

from infosem_jax._shown import shown
from infosem_jax._typing import Names
from infosem_jax.data.dataset import Dataset
from infosem_jax.grn import exact
from infosem_jax.grn.posterior import (
    decode,
    mechanism,
    over_draws,
)
from infosem_jax.grn.result import Fit
from infosem_jax.grn.sem import propagate
from infosem_jax.grn.states import as_fitted, inferred_states

# Where the decoder is searched for a state; finer than any table of it.
STATES = 4096
MOST_CELLS = 1000


@shown("shift", "silenced", "genes")
class Knockouts(NamedTuple):
    """What is predicted to happen when each of several genes, one at a time, is held at a level.

    Attributes
    ----------
    silenced, genes
        Names of the genes held and of the genes that respond.
    level
        Expression at which each is held, in the units of `shift`, mean over draws, [silenced].
    shift
        Change of mean expression over cells, on the scale of the fit (z-scores unless the
        normalisation says otherwise), mean over draws, [silenced, genes].
    sd
        Its standard deviation over draws of the posterior and over seeds, [silenced, genes]; NaN
        where there is one draw only (a point estimate and one seed).
    probability
        Share of the draws that have the sign of `shift`, [silenced, genes]; NaN likewise.
    """

    silenced: tuple[str, ...]
    genes: tuple[str, ...]
    level: Float[np.ndarray, " silenced"]
    shift: Float[np.ndarray, "silenced genes"]
    sd: Float[np.ndarray, "silenced genes"]
    probability: Float[np.ndarray, "silenced genes"]


def knockout(
    fitted: Fit | exact.Fit, gene: str, data: Dataset | None = None, **settings: Any
) -> pd.DataFrame:
    """Predict how every gene shifts when one is silenced, largest shift first.

    Parameters
    ----------
    fitted
        A fit.
    gene
        The gene to silence.
    data, settings
        As in `knockouts`.

    Returns
    -------
    DataFrame
        Columns ``gene, shift, sd, probability``, see `Knockouts`; the silenced gene is among them.

    Raises
    ------
    ValueError
        As `knockouts`.
    """
    found = knockouts(fitted, [gene], data, **settings)
    columns = {name: getattr(found, name)[0] for name in ("shift", "sd", "probability")}
    table = pd.DataFrame({"gene": found.genes, **columns})
    return table.sort_values("shift", key=np.abs, ascending=False, kind="stable", ignore_index=True)


def knockouts(
    fitted: Fit | exact.Fit,
    genes: Names,
    data: Dataset | None = None,
    *,
    to: float | None = None,
    draws: int = 16,
    cells: int = 256,
    key: int = 0,
) -> Knockouts:
    """Predict how every gene shifts when each of several genes is held at a level, one at a time.

    Cells are compared with themselves: what is inferred or drawn about a cell apart from the gene
    stays. Shifts are means over cells, since the decoder bends. Read them as an order and as signs:
    effects are shrunk, and on simulations shifts are several times too small and their standard
    deviations, which hold within the model, too narrow (``benchmarks/knockout_grn.py``).

    Of an exact fit, the candidate regulators act, ``u = x``, and effects are drawn one by one from
    their own posteriors.

    Parameters
    ----------
    fitted
        A fit.
    genes
        The genes to hold.
    data
        The data of the fit, as read or as normalised for it: the cells that are intervened on.
        Without them, cells are drawn from the model.
    to
        Level to hold the genes at, on the scale of the fit; None silences them: the lowest value
        measured (or drawn, without data) of each. The gene is put in the state, within the range of
        those of the cells, that decodes to the nearest level; `Knockouts.level` tells which it is.
    draws
        Draws from the posterior of each seed; one where the guide is a point.
    cells
        Number of cells to draw, or of the data to take at most (evenly spread, sorted by name).
    key
        Seeds the random numbers.

    Raises
    ------
    ValueError
        If a gene is not in the fit, or acts on none because it has no row in W; if data are those
        of other genes; or if numbers are out of range.
    """
    names, chosen = tuple(sorted(fitted.genes)), tuple(map(str, genes))
    at = _places(fitted, names, chosen)
    if draws < 1 or not 1 <= cells <= MOST_CELLS:
        raise ValueError(
            f"Expected at least 1 draw and 1 to {MOST_CELLS} cells, found {draws} and {cells}."
        )
    if to is not None and not np.isfinite(to):
        raise ValueError(f"to: expected a finite level, found {to}.")
    cell_key, edge_key = random.split(random.key(key))
    if isinstance(fitted, exact.Fit):
        x = None if data is None else _sheet(fitted, data, cells)
        drawn = random.normal(cell_key, (cells, len(names))) if x is None else jnp.asarray(x[0])
        lowest = drawn.min(0) if x is None else x[1]
        wanted = jnp.asarray(lowest[at] if to is None else np.full(len(at), to))
        mean = drawn.mean(0)[at]
        level, shift = _linear(fitted, edge_key, chosen, wanted.astype(mean.dtype), mean, draws)
        return _summary(chosen, fitted.genes, level, shift)
    if data is None:
        # The same noise in every draw, so that draws differ by the mechanism only.
        x, lowest, noise = None, None, random.normal(cell_key, (cells, len(names)))
    else:
        x, lowest = _sheet(fitted, data, cells)
        x, lowest, noise = jnp.asarray(x), lowest[at], None
    wanted = lowest if to is None else np.full(len(at), to, np.float32)
    given = (x, noise, wanted, jnp.asarray(at))
    level, shift = over_draws(_levels_and_shifts, fitted, given, draws=draws, key=edge_key)
    place = np.searchsorted(np.asarray(names), np.asarray(fitted.genes))
    return _summary(chosen, fitted.genes, level, shift[:, :, place])


def _linear(
    fitted: exact.Fit,
    key: Array,
    chosen: tuple[str, ...],
    wanted: Float[Array, " silenced"],
    mean: Float[Array, " silenced"],
    draws: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return levels and shifts for draws of the effects of the candidate regulators."""
    rows = np.array([fitted.genes.index(name) for name in fitted.regulators])
    order = np.argsort(rows)  # `propagate` takes rows in the order of genes where all act
    rows = jnp.asarray(rows[order])
    source = jnp.asarray([fitted.genes.index(name) for name in chosen])
    weight, sd = jnp.asarray(fitted.weight[order]), jnp.asarray(fitted.sd[order])

    def one(key: Array) -> Array:
        W = weight + sd * random.normal(key, weight.shape)
        response = propagate(jax.nn.one_hot(source, weight.shape[1]), W, rows, None)
        own = jnp.take_along_axis(response, source[:, None], 1)
        return (wanted - mean)[:, None] * response / own

    shift = np.asarray(lax.map(one, random.split(key, draws)))
    return np.broadcast_to(wanted, (draws, len(chosen))), shift


def _summary(silenced, genes, level: np.ndarray, shift: np.ndarray) -> Knockouts:
    mean = shift.mean(0)
    if len(shift) == 1:
        sd = probability = np.full_like(mean, np.nan)
    else:
        sd = shift.std(0, ddof=1)
        probability = (np.sign(shift) == np.sign(mean)).mean(0)
    return Knockouts(silenced, genes, level.mean(0), mean, sd, probability.astype(mean.dtype))


def _levels_and_shifts(
    fitted: Fit, key: Array, given: tuple[Any, Any, Any, Int[Array, " silenced"]]
) -> tuple[Float[Array, " silenced"], Float[Array, "silenced genes"]]:
    """Return levels and shifts for one draw of the mechanism."""
    x, noise, wanted, at = given
    drawn = mechanism(fitted, key)
    if x is None:
        z = drawn.location + drawn.scale * noise
        u = propagate(z, drawn.W, drawn.rows, drawn.remainder)
    else:
        u = inferred_states(fitted, x, key)
    one_hot = jax.nn.one_hot(at, u.shape[1], dtype=u.dtype)
    response = propagate(one_hot, drawn.W, drawn.rows, drawn.remainder)
    return _shifts(partial(decode, fitted), u, response, at, wanted)


def _shifts(
    expression: Callable[[Array], Array],
    u: Float[Array, "cells genes"],
    response: Float[Array, "silenced genes"],
    at: Int[Array, " silenced"],
    wanted: Float[Array, " silenced"] | None,
) -> tuple[Float[Array, " silenced"], Float[Array, "silenced genes"]]:
    before = expression(u)
    states = jnp.linspace(u.min(), u.max(), STATES)
    decoded = expression(states[:, None])[:, 0]

    def one(gene: Array, level: Array, row: Array) -> tuple[Array, Array]:
        nearest = jnp.abs(decoded - level).argmin()
        step = (states[nearest] - u[:, gene])[:, None] * (row / row[gene])
        return decoded[nearest], (expression(u + step) - before).mean(0)

    levels = before[:, at].min(0) if wanted is None else wanted
    return lax.map(lambda parts: one(*parts), (at, levels, response))


def _places(fitted: Fit | exact.Fit, names: tuple[str, ...], chosen: tuple[str, ...]) -> np.ndarray:
    if not chosen:
        raise ValueError("Expected at least one gene to silence, found none.")
    unknown = [gene for gene in chosen if gene not in fitted.genes]
    if unknown:
        raise ValueError(
            f"{', '.join(unknown[:5])}: no gene of this fit, which knows {len(names)} genes such "
            f"as {', '.join(names[:3])}."
        )
    rows = fitted.regulators if isinstance(fitted, exact.Fit) else fitted.rows
    idle = [gene for gene in chosen if gene not in rows]
    if idle:
        raise ValueError(
            f"{', '.join(idle[:5])}: acts on no gene in this model, which has rows for "
            f"{len(rows)} of its {len(names)} genes; fit with rows = 'all', or name it "
            "among the regulators."
        )
    return np.searchsorted(np.asarray(names), np.asarray(chosen))


def _sheet(fitted: Fit | exact.Fit, data: Dataset, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Return some cells on the scale of the fit, genes sorted by name, and the lowest values."""
    x = as_fitted(fitted, data).x[:, np.argsort(np.asarray(data.genes))]
    order = np.argsort(np.asarray(data.cells))
    order = order[np.linspace(0, len(order) - 1, min(cells, len(order))).round().astype(int)]
    return x[order], x.min(0)
