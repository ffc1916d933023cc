"""Knock-outs and over-expression in a fitted model: which genes move, how far, and how surely.

Genes S are cut off from what acts on them and held at states c: ``u_S = c``, every other equation
of ``u = u W + z`` stays as it is, and so does the noise z. The states then move by
``(c - u_S) T[S, S]^-1 T[S]``, ``T = (I - W)^-1``, so that the rows of T of the genes in question
are all that has to be solved for. It is what ``numpyro.handlers.do`` on the sites ``effect`` (the
columns of S at zero) and ``z`` (such that ``u_S = c``) gives.

``T[i, j] / T[i, i]`` is the total effect of gene i on gene j, over all paths: the change of j where
i is held one unit higher. The svi engine has one W; of an exact fit, whose regressions do not tell
which of two regulators acts on the other, total effects are drawn over the orders of regulators
(``infosem_jax.grn.orders``).
"""

from collections.abc import Callable, Iterable
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
from infosem_jax.data._names import find_names
from infosem_jax.data.dataset import Dataset
from infosem_jax.grn import exact
from infosem_jax.grn.networks import Network
from infosem_jax.grn.orders import draws_of
from infosem_jax.grn.posterior import decode, mechanism, over_draws
from infosem_jax.grn.result import Fit
from infosem_jax.grn.sem import propagate
from infosem_jax.grn.states import as_fitted, inferred_states

# How much of the lowest, the mean and the highest value of a gene each level is.
LEVELS: dict[str, tuple[float, float, float]] = {
    "silenced": (1.0, 0.0, 0.0),
    "halved": (0.5, 0.5, 0.0),
    "overexpressed": (0.0, 0.0, 1.0),
}
# Where the decoder is searched for a state; finer than any table of it.
STATES = 4096
CELLS, MOST_CELLS = 256, 1000
ROWS = 8


@shown("shift", "silenced", "genes")
class Knockouts(NamedTuple):
    """What is predicted to happen when genes, one at a time or together, are held at a level.

    Attributes
    ----------
    silenced, genes
        Names of the genes held, those held together joined by ``+``, and of those that respond.
    level
        Expression at which each is held, in the units of ``shift``, mean over draws, [held].
    shift
        Change of mean expression over cells, on the scale of the fit (z-scores unless the
        normalisation says otherwise), mean over draws, [silenced, genes].
    sd
        Its standard deviation over draws of the posterior and over seeds, [silenced, genes]; NaN
        where there is one draw only (a point estimate and one seed).
    probability
        Share of the draws that have the sign of ``shift``, [silenced, genes]; NaN likewise. Of an
        exact fit it is about one half for a regulator, as half of the orders have it before the
        one that is held, and nothing to respond to.
    """

    silenced: tuple[str, ...]
    genes: tuple[str, ...]
    level: Float[np.ndarray, " held"]
    shift: Float[np.ndarray, "silenced genes"]
    sd: Float[np.ndarray, "silenced genes"]
    probability: Float[np.ndarray, "silenced genes"]


def knockout(
    fitted: Fit | exact.Fit, gene: str | Names, data: Dataset | None = None, **settings: Any
) -> pd.DataFrame:
    """Predict how every gene shifts when one is silenced, or several together, largest shift first.

    Parameters
    ----------
    fitted
        A fit.
    gene
        The gene to silence, or several.
    data, settings
        As in `knockouts`.

    Returns
    -------
    DataFrame
        Columns ``gene, shift, sd, probability``, see `Knockouts`; silenced genes are among them.

    Raises
    ------
    ValueError
        As `knockouts`.
    """
    genes = [gene] if isinstance(gene, str) else list(gene)
    return _table(knockouts(fitted, genes, data, together=True, **settings))


def knockouts(
    fitted: Fit | exact.Fit,
    genes: Names,
    data: Dataset | None = None,
    *,
    to: str | float = "silenced",
    together: bool = False,
    among: Names | None = None,
    draws: int = 64,
    cells: int = CELLS,
    key: int = 0,
) -> Knockouts:
    """Predict how every gene shifts when each of several genes is held at a level.

    Cells are compared with themselves: what is inferred or drawn about a cell apart from the gene
    stays. Shifts are means over cells, since the decoder bends.

    Of an exact fit, the candidate regulators act, ``u = x``, and draws are of an order of them
    each, see ``infosem_jax.grn.orders``. Intervals hold where expression is linear, without
    feed-back and without hidden common causes; where it is read out through dropout or genes share
    noise, they are too narrow (``benchmarks/biology_grn.py``). Those of the svi engine hold within
    the model only, and its shifts are several times too small (``benchmarks/knockout_grn.py``):
    read them as an order.

    Parameters
    ----------
    fitted
        A fit.
    genes
        The genes to hold.
    data
        The data of the fit, as read or as normalised for it: the cells that are intervened on. An
        exact fit needs them; of the svi engine, cells are else drawn from the model.
    to
        Level to hold the genes at, on the scale of the fit; or ``silenced``, the lowest value
        measured (or drawn, without data) of each, ``halved``, halfway there from its mean, or
        ``overexpressed``, the highest. The gene is put in the state, within the range of those of
        the cells, that decodes to the nearest level; ``Knockouts.level`` tells which it is.
    together
        Hold all genes at once, instead of one at a time.
    among
        Names of the cells that are intervened on, such as those of a cluster; None for all. What is
        lowest, highest and the scale are those of all cells.
    draws
        Draws from the posterior of each seed; one where the guide is a point. Take an even number
        of an exact fit, as orders come in pairs.
    cells
        Number of cells to draw, or of the data to take at most (evenly spread, sorted by name).
    key
        Seeds the random numbers.

    Raises
    ------
    ValueError
        If a gene is not in the fit, or acts on none because it has no row in W; if data are those
        of other genes, or missing with an exact fit; or if numbers are out of range.
    """
    asked = _asked(fitted, genes, data, to, among, draws, cells)
    sets = np.arange(len(asked.at))[(None, ...) if together else (..., None)]
    held = ("+".join(asked.genes),) if together else asked.genes
    if isinstance(fitted, exact.Fit):
        own = _its_cells(fitted, data)
        level, step = _level_and_step(fitted, own, asked, cells, among)
        move = _together(fitted, asked.genes, step) if together else lambda T: step[:, None] * T
        shifts = map(move, draws_of(fitted, own, asked.genes, draws=draws, key=key))
        return _summary(held, fitted.genes, level[None], shifts)
    cell_key, edge_key = random.split(random.key(key))
    names = sorted(fitted.genes)
    if data is None:
        x, bounds = None, None
        # The same noise in every draw, so that draws differ by the mechanism only.
        noise = random.normal(cell_key, (cells, len(names)))
    else:
        x, bounds = map(jnp.asarray, _sheet(fitted, data, cells, among))
        noise = None
    given = (x, bounds, noise, jnp.asarray(asked.at), jnp.asarray(sets), asked.rule)
    level, shift = over_draws(_levels_and_shifts, fitted, given, draws=draws, key=edge_key)
    place = np.searchsorted(np.asarray(names), np.asarray(fitted.genes))
    return _summary(held, fitted.genes, level, shift[:, :, place])


def total_effects(
    fitted: Fit | exact.Fit, data: Dataset | None = None, *, draws: int = 64, key: int = 0
) -> Network:
    """Return the total effect of each regulator on each gene, over all paths, as a network.

    ``T[i, j] / T[i, i]`` with ``T = (I - W)^-1``: by how much gene j changes where regulator i is
    cut off from what acts on it and held one unit higher. Its table, files and AnnData object are
    those of any network (`edges`, `write_edges`, `to_anndata`); it has no probabilities of edges.
    Its sign agreement is the share of draws with the sign of the mean, see `Knockouts`.

    Parameters
    ----------
    fitted
        A fit; of the svi engine the effects are those on states, before the decoder.
    data
        Of an exact fit, its data, as read or as normalised for it.
    draws
        Draws from the posterior of each seed.
    key
        Seeds the random numbers.

    Raises
    ------
    ValueError
        If there are fewer than two draws, or data that an exact fit needs are missing or others.
    """
    _check_draws(draws)
    names, chosen = tuple(sorted(fitted.genes)), fitted.regulators
    if isinstance(fitted, exact.Fit):
        T: Any = draws_of(fitted, _its_cells(fitted, data), chosen, draws=draws, key=key)
    else:
        at = jnp.asarray(_places(fitted, names, chosen))
        T = over_draws(_responses, fitted, at, draws=draws, key=random.key(key))
        T = T[:, :, np.searchsorted(np.asarray(names), np.asarray(fitted.genes))]
    return _network(fitted, _summary(chosen, fitted.genes, np.zeros((1, 1)), T))


class Intervention(NamedTuple):
    """What holding genes does, beside what holding any regulator would do.

    Attributes
    ----------
    shifts
        Shift of every gene with the genes held together, as `knockout` returns it.
    total
        Total effects of all regulators, as `total_effects` returns them.
    """

    shifts: pd.DataFrame
    total: Network


def intervention(
    fitted: Fit | exact.Fit,
    gene: str | Names,
    data: Dataset | None = None,
    *,
    to: str | float = "silenced",
    among: Names | None = None,
    draws: int = 64,
    key: int = 0,
) -> Intervention:
    """Predict what `knockout` and `total_effects` do, of an exact fit from the same draws.

    Both results are those of the two functions, in half the time.

    Parameters
    ----------
    fitted, gene, data, to, among, draws, key
        As in `knockout` and `total_effects`.

    Raises
    ------
    ValueError
        As these two.
    """
    genes = [gene] if isinstance(gene, str) else list(gene)
    settings: dict[str, Any] = {"draws": draws, "key": key}
    _check_draws(draws)
    if not isinstance(fitted, exact.Fit):
        shifts = knockout(fitted, genes, data, to=to, among=among, **settings)
        return Intervention(shifts, total_effects(fitted, data, **settings))
    asked = _asked(fitted, genes, data, to, among, draws, CELLS)
    own, chosen = _its_cells(fitted, data), fitted.regulators
    level, step = _level_and_step(fitted, own, asked, CELLS, among)
    held, at = "+".join(asked.genes), [chosen.index(name) for name in asked.genes]
    move = _together(fitted, asked.genes, step)
    responses = draws_of(fitted, own, chosen, draws=draws, key=key)
    drawn = (np.concatenate([move(each[at]), each]) for each in responses)
    found = _summary((held, *chosen), fitted.genes, level[None], drawn)
    return Intervention(_table(found), _network(fitted, found))


def _check_draws(draws: int) -> None:
    if draws < 2:
        raise ValueError(f"draws: expected at least 2, found {draws}.")


class _Asked(NamedTuple):
    """Genes to hold, their places among the names in order, and what level to hold them at."""

    genes: tuple[str, ...]
    at: Int[np.ndarray, " held"]
    rule: tuple[Float[Array, " 3"], Float[Array, ""]]


def _asked(
    fitted: Fit | exact.Fit,
    genes: Names,
    data: Dataset | None,
    to: str | float,
    among: Names | None,
    draws: int,
    cells: int,
) -> _Asked:
    chosen = tuple(map(str, genes))
    at = _places(fitted, tuple(sorted(fitted.genes)), chosen)
    if draws < 1 or not 1 <= cells <= MOST_CELLS:
        raise ValueError(
            f"Expected at least 1 draw and 1 to {MOST_CELLS} cells, found {draws} and {cells}."
        )
    if not (to in LEVELS if isinstance(to, str) else np.isfinite(to)):
        raise ValueError(f"to: expected a finite level or one of {', '.join(LEVELS)}, found {to}.")
    if among is not None and data is None:
        raise ValueError("among: expected the data, which the cells are of, found none.")
    weights = jnp.asarray(LEVELS[to] if isinstance(to, str) else (0.0, 0.0, 0.0))
    return _Asked(
        chosen, at, (weights, jnp.asarray(0.0 if isinstance(to, str) else to, jnp.float32))
    )


def _its_cells(fitted: exact.Fit, data: Dataset | None) -> Dataset:
    if data is None:
        raise ValueError(
            f"{fitted.name}: expected the data that were fitted, as an exact fit does not hold its "
            "cells, found none."
        )
    return data


def _level_and_step(
    fitted: exact.Fit, data: Dataset, asked: _Asked, cells: int, among: Names | None
) -> tuple[Float[np.ndarray, " held"], Float[np.ndarray, " held"]]:
    """Return the levels that genes are held at, and how far that is from their means."""
    bounds = _sheet(fitted, data, cells, among)[1]
    level = np.asarray(_levels(jnp.asarray(bounds), asked.rule))[asked.at]
    return level, level - bounds[1][asked.at]


def _together(
    fitted: exact.Fit, chosen: tuple[str, ...], step: Float[np.ndarray, " held"]
) -> Callable[[Float[np.ndarray, "held genes"]], Float[np.ndarray, "1 genes"]]:
    """Return what makes the shift by genes held together of the responses to each alone."""
    source = [fitted.genes.index(gene) for gene in chosen]
    return lambda response: step[None] @ np.linalg.solve(response[:, source], response)


def _moved(
    response: Float[Array, "size genes"], held: Int[Array, " size"], step: Float[Array, "... size"]
) -> Float[Array, "... genes"]:
    """Return how genes move with those that are held: ``step T[S, S]^-1 T[S]``."""
    if len(response) == 1:
        moved = response[0] / response[0, held[0]]
        return step * jnp.expand_dims(moved, range(step.ndim - 1))
    return step @ jnp.linalg.solve(response[:, held], response)


def _levels(
    bounds: Float[Array, "3 genes"], rule: tuple[Float[Array, " 3"], Float[Array, ""]]
) -> Float[Array, " genes"]:
    """Return the levels to hold genes at: shares of their lowest, mean and highest, plus one."""
    return rule[0] @ bounds + rule[1]


def _summary(
    silenced, genes, level: np.ndarray, shifts: Iterable[Float[np.ndarray, "sets genes"]]
) -> Knockouts:
    """Summarise draws of shifts, one at a time, as all regulators' together are large."""
    draws, shape = 0, (len(silenced), len(genes))
    total, square = np.zeros(shape), np.zeros(shape)
    up, down = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    for shift in shifts:
        draws += 1
        # So few rows at a time that they stay in the cache.
        for start in range(0, len(shift), ROWS):
            some = slice(start, start + ROWS)
            each = np.asarray(shift[some], np.float64)
            total[some] += each
            square[some] += each**2
            up[some] += each > 0
            down[some] += each < 0
    mean = total / draws
    if draws == 1:
        sd = probability = np.full_like(mean, np.nan)
    else:
        sd = np.sqrt(np.maximum(square - draws * mean**2, 0) / (draws - 1))
        probability = np.where(mean > 0, up, np.where(mean < 0, down, draws)) / draws
    parts = (mean, sd, probability)
    return Knockouts(silenced, genes, level.mean(0), *(part.astype(np.float32) for part in parts))


def _table(found: Knockouts) -> pd.DataFrame:
    """List the shifts of the first set, the largest first."""
    columns = {name: getattr(found, name)[0] for name in ("shift", "sd", "probability")}
    table = pd.DataFrame({"gene": found.genes, **columns})
    return table.sort_values("shift", key=np.abs, ascending=False, kind="stable", ignore_index=True)


def _network(fitted: Fit | exact.Fit, found: Knockouts) -> Network:
    """Take shifts by one unit for total effects, of which a gene has none on itself."""
    chosen = fitted.regulators
    itself = np.asarray(chosen)[:, None] == np.asarray(fitted.genes)
    weight, sd = (np.where(itself, 0, part[-len(chosen) :]) for part in (found.shift, found.sd))
    agreement = np.where(itself, 1, found.probability[-len(chosen) :])
    return Network(chosen, fitted.genes, weight, sd, agreement, name=fitted.name)


def _levels_and_shifts(
    fitted: Fit, key: Array, given: tuple[Any, ...]
) -> tuple[Float[Array, " held"], Float[Array, "sets genes"]]:
    """Return levels and shifts for one draw of the mechanism."""
    x, bounds, noise, at, sets, rule = given
    drawn = mechanism(fitted, key)
    if x is None:
        z = drawn.location + drawn.scale * noise
        u = propagate(z, drawn.W, drawn.rows, drawn.remainder)
    else:
        u = inferred_states(fitted, x, key)
    expression = partial(decode, fitted)
    before = expression(u)
    if bounds is None:
        bounds = jnp.stack([before.min(0), before.mean(0), before.max(0)])
    levels = _levels(bounds, rule)[at]
    return _shifts(expression, u, before, _responses(fitted, key, at), at, sets, levels)


def _responses(fitted: Fit, key: Array, at: Int[Array, " held"]) -> Float[Array, "held genes"]:
    """Return total effects ``T[i, j] / T[i, i]`` on states, for one draw of the mechanism."""
    drawn = mechanism(fitted, key)
    one_hot = jax.nn.one_hot(at, len(fitted.genes), dtype=drawn.W.dtype)
    response = propagate(one_hot, drawn.W, drawn.rows, drawn.remainder)
    return response / jnp.take_along_axis(response, at[:, None], 1)


def _shifts(
    expression: Callable[[Array], Array],
    u: Float[Array, "cells genes"],
    before: Float[Array, "cells genes"],
    response: Float[Array, "held genes"],
    at: Int[Array, " held"],
    sets: Int[Array, "sets size"],
    levels: Float[Array, " held"],
) -> tuple[Float[Array, " held"], Float[Array, "sets genes"]]:
    states = jnp.linspace(u.min(), u.max(), STATES)
    decoded = expression(states[:, None])[:, 0]
    nearest = lax.map(lambda level: jnp.abs(decoded - level).argmin(), levels)

    def one(own: Array) -> Array:
        step = states[nearest[own]][None] - u[:, at[own]]
        return (expression(u + _moved(response[own], at[own], step)) - before).mean(0)

    return decoded[nearest], lax.map(one, sets)


def _places(fitted: Fit | exact.Fit, names: tuple[str, ...], chosen: tuple[str, ...]) -> np.ndarray:
    if not chosen:
        raise ValueError("Expected at least one gene to silence, found none.")
    unknown = [gene for gene in chosen if gene not in fitted.genes]
    if unknown:
        found = [gene for gene, _ in find_names(names, unknown).values()]
        absent = "; it was not among the data, or had one value in all cells."
        meant = f"; did you mean {', '.join(found[:5])}?" if found else ""
        raise ValueError(
            f"{', '.join(unknown[:5])}: no gene of this fit, which knows {len(names)} genes such "
            f"as {', '.join(names[:3])}{meant or absent}"
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


def _sheet(
    fitted: Fit | exact.Fit, data: Dataset, cells: int, among: Names | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return some cells on the scale of the fit, genes sorted by name, and levels to hold them at.

    Levels are the lowest value of all cells, the mean of those chosen, and the highest of all.
    """
    x = as_fitted(fitted, data).x[:, np.argsort(np.asarray(data.genes))]
    order = np.argsort(np.asarray(data.cells))
    if among is not None:
        inside = np.isin(np.asarray(data.cells)[order], list(among))
        if not inside.any():
            raise ValueError(
                f"among: expected names of cells of {data.name}, such as {data.cells[0]}, found "
                "none of them."
            )
        order = order[inside]
    mean = x[order].mean(0)
    order = order[np.linspace(0, len(order) - 1, min(cells, len(order))).round().astype(int)]
    return x[order], np.stack([x.min(0), mean, x.max(0)])
