"""Fit the network to tasks, and predict with it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from jaxtyping import Float32, Int
from scipy import sparse

from infosem_jax.engine.early_stopping import Trained, train
from infosem_jax.engine.types import Fits, Losses, Progress, Rate, Schedule
from infosem_jax.perturbation.config import DEFAULT, Config
from infosem_jax.perturbation.data import Responses, stack_rows, take
from infosem_jax.perturbation.knowledge import Knowledge, reach
from infosem_jax.perturbation.network import Network, Output, Query, World
from infosem_jax.perturbation.objective import LEAST_LOG_SD, Objective, Own, Pool, ordered
from infosem_jax.perturbation.prepare import (
    Inputs,
    alike_of,
    base_of,
    inputs_of,
    near_of,
    own_of,
    pool_of,
    query_of,
    scale_of,
    weight_of,
)
from infosem_jax.perturbation.recall import recalled
from infosem_jax.perturbation.task import Method, Prediction, Task
from infosem_jax.perturbation.units import check_same_units

# Epochs between two evaluations on held-out perturbations.
CHECK_EVERY = 2
# Perturbations that are asked at once, so that what is computed on the way stays small.
AT_ONCE = 256
# Shares of what the network says that are tried on top of what is recalled.
ADDED = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)


class Fitted(NamedTuple):
    """A fitted network.

    Attributes
    ----------
    config
        Settings.
    train
        Responses that it learned from.
    knowledge
        Graphs and texts.
    world
        Graph, texts and responding genes, as the network takes them.
    inputs, scale
        How controls are given, and what values are divided by.
    near
        Genes that are counted with each gene, see `prepare.near_of`.
    params
        Parameters, with a leading axis of members.
    rows
        Training rows of each member, [members, rows].
    calibration
        Factor on deviations that makes them right in held-out perturbations.
    losses
        Of each member and epoch; those of held-out rows NaN where they were not evaluated.
    added
        Shares of the network's two outputs that are added to what is recalled.
    """

    config: Config
    train: Responses
    knowledge: Knowledge
    world: World
    inputs: Inputs
    near: sparse.csr_array | None
    scale: float
    params: Any
    rows: Int[np.ndarray, "members rows"]
    calibration: float
    losses: Losses
    added: Float32[np.ndarray, " 2"]


def fit(
    tasks: Sequence[Task],
    config: Config = DEFAULT,
    *,
    seed: int = 0,
    on_chunk: Callable[[Progress], None] | None = None,
) -> list[Fitted]:
    """Fit networks to tasks that share their knowledge, all in one program.

    Parameters
    ----------
    tasks
        Tasks with as many training perturbations each, such as the folds of a split.
    config
        Settings.
    seed
        Seeds the random numbers.
    on_chunk
        Told of progress after each evaluation.

    Raises
    ------
    ValueError
        If tasks differ in size or knowledge, or there are too few perturbations to learn from.
    FloatingPointError
        If every member of a fit diverged.
    """
    knowledge, genes = tasks[0].knowledge, tasks[0].genes
    if any(t.knowledge is not knowledge or t.genes != genes for t in tasks):
        raise ValueError("Expected tasks that share knowledge and genes; fit others apart.")
    if len({len(t.train.perturbed) for t in tasks}) > 1:
        raise ValueError("Expected tasks with as many training perturbations each.")
    rows, index = stack_rows([task.train for task in tasks])
    inputs = inputs_of(rows)
    pool = pool_of(rows, knowledge, inputs, config)
    near = near_of(knowledge, rows, config)
    owns = [
        own_of(rows, at[train], at[valid], scale_of(task.train), config)
        for i, (task, at) in enumerate(zip(tasks, index, strict=True))
        for train, valid in _parts(task, config, (seed, i))
    ]
    own = jax.tree.map(lambda *leaves: np.stack(leaves), *owns)
    objective = Objective(_compiled(config), len(genes), not rows.continuous)
    trained = _train(config, objective, pool, own, seed, on_chunk)
    fitted = []
    for i, task in enumerate(tasks):
        at = np.arange(i * config.members, (i + 1) * config.members)
        at = at[trained.converged[at]]
        if not at.size:
            raise FloatingPointError(
                "Every member of a network diverged; lower the learning rate (rate)."
            )
        params = jax.tree.map(lambda leaf, at=at: leaf[at], trained.params)
        place_of = {int(row): k for k, row in enumerate(index[i])}
        mine = np.array([[place_of[int(r)] for r in own.train[j]] for j in at])
        found = Fitted(
            config=config,
            train=task.train,
            knowledge=knowledge,
            world=pool.world,
            inputs=inputs,
            near=near,
            scale=scale_of(task.train),
            params=params,
            rows=mine,
            calibration=1.0,
            losses=Losses(*(part[at] for part in trained.losses)),
            added=added_of(config, rows.continuous),
        )
        fitted.append(_tune(found))
    return fitted


def predict(
    fitted: Fitted,
    perturbed: Sequence[tuple[str, ...]],
    line: Sequence[str],
    control: Float32[np.ndarray, "n genes"] | None = None,
) -> Prediction:
    """Predict responses to perturbations.

    Of values, the mean over members, and a deviation that joins what each says with how far they
    differ. Of signs, probabilities from the mean log-odds.

    Parameters
    ----------
    fitted
        The network.
    perturbed, line
        Genes and cell line of each perturbation.
    control
        Matched control means; None of networks of signs.

    Raises
    ------
    ValueError
        If controls are not as in training, or in other units.
    """
    _check_control(fitted, perturbed, control)
    # Perturbations that told a member when to stop are recalled as well.
    base = _base(fitted, np.arange(len(fitted.train.perturbed)), perturbed, line)
    members = range(len(fitted.rows))
    net = np.stack([_net(fitted, i, perturbed, line, control) for i in members], axis=1)
    first, second = base[:, None] + fitted.added[:, None, None, None] * net
    edges, text = reach(fitted.knowledge, perturbed)
    informed = (edges if fitted.config.context != "none" else False) | (text & fitted.config.text)
    if not fitted.train.continuous:
        de, up = (1 / (1 + np.exp(-x)) for x in (first, second))
        sd = (de * (2 * up - 1)).std(0)
        de, up = (1 / (1 + np.exp(-x.mean(0))) for x in (first, second))
        change, de, up, sd = (x.astype(np.float32) for x in (de * (2 * up - 1), de, up, sd))
        return Prediction(change, de, up, sd, np.asarray(informed))
    change = (first.mean(0) * fitted.scale).astype(np.float32)
    variance = first.var(0)
    if fitted.config.likelihood:
        variance = variance + np.exp(2 * np.maximum(second, LEAST_LOG_SD)).mean(0)
    sd = (fitted.calibration * fitted.scale * np.sqrt(variance)).astype(np.float32)
    return Prediction(change, np.abs(change), change, sd, np.asarray(informed))


def infer(tasks: Sequence[Task], seed: int, config: Config = DEFAULT) -> list[Prediction]:
    """Fit the network to tasks, and predict the test perturbations of each."""
    sizes = [len(task.train.perturbed) for task in tasks]
    found: dict[int, Prediction] = {}
    for size in sorted(set(sizes)):
        own = [i for i, n in enumerate(sizes) if n == size]
        for i, fitted in zip(own, fit([tasks[i] for i in own], config, seed=seed), strict=True):
            found[i] = predict(fitted, tasks[i].perturbed, tasks[i].line, tasks[i].control)
    return [found[i] for i in range(len(tasks))]


def added_of(config: Config, continuous: bool) -> Float32[np.ndarray, " 2"]:
    """Return the shares that are added where none is chosen; deviations are added in full."""
    if config.base == "mean":
        return np.ones(2, np.float32)
    return np.array([config.added, 1.0 if continuous else config.added], np.float32)


def outputs(fitted: Fitted, member: int, query: Query) -> Output:
    """Return what one member says of perturbations, its selection of nodes included."""
    params = jax.tree.map(lambda leaf: leaf[member], fitted.params)
    seen = take(fitted.train, fitted.rows[member])
    world = fitted.world._replace(alike=alike_of(seen, fitted.config))
    return _apply(_compiled(fitted.config), len(fitted.train.genes), params, world, query)


def part_of(query: Query, start: int) -> Query:
    """Return a few of the perturbations of a query, to be asked at once."""
    return jax.tree.map(lambda leaf: leaf[start : start + AT_ONCE], query)


def _variant(about: str, config: Config = DEFAULT, **changes: Any) -> Method:
    return Method(partial(infer, config=replace(config, **changes)), about, random=True)


METHODS: dict[str, Method] = {
    "adapert": _variant("The network with a context chosen for each perturbation."),
    "adapert_no_graph": _variant("The same with texts alone.", context="none"),
    "adapert_full": _variant("The same with all nodes as context.", context="full"),
    "adapert_hops1": _variant("The same with all neighbours as context.", context="hops", hops=1),
    "adapert_hops2": _variant("The same with all nodes within 2 hops.", context="hops", hops=2),
    "txpert": _variant(
        "TxPert's type: the perturbed gene's node after messages over the whole graph, added to "
        "the control; no selector, no text.",
        context="node", combine="add", text=False, tied=False, base="mean", change_align=0.0,
        change_non=0.0,
    ),
    "gears": _variant(
        "GEARS's type: one layer over the graph for perturbations, genes averaged with those that "
        "respond alike, weights per gene, and its loss.",
        context="node", layers=1, text=False, tied=False, base="mean", decoder="genewise",
        focus=4.0, direction=0.1, change_align=0.0, change_non=0.0, likelihood=False, features=32,
    ),
}  # fmt: skip


def _parts(
    task: Task, config: Config, seed: tuple[int, int]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Share training perturbations out to members, to learn from and to stop by."""
    n = len(task.train.perturbed)
    size = int(config.held_out * n) if config.patience else 0
    if n - size < 2:
        raise ValueError(f"Expected at least 2 perturbations to learn from, found {n - size}.")
    if config.members == 1 and size and len(task.valid):
        return [(np.setdiff1d(np.arange(n), task.valid), np.sort(task.valid))]
    order = np.random.default_rng(seed).permutation(n)
    parts = []
    for i in range(config.members):
        valid = np.sort(np.roll(order, -i * size)[:size])
        parts.append((np.setdiff1d(np.arange(n), valid), valid))
    return parts


def _compiled(config: Config) -> Config:
    """Keep the settings that a program depends on, so that fits that differ in others share it."""
    others = ("top", "most", "rate", "batch_size", "epochs", "held_out", "patience")
    return replace(config, **{name: getattr(DEFAULT, name) for name in (*others, "members")})


def _train(
    config: Config,
    objective: Objective,
    pool: Pool,
    own: Own,
    seed: int,
    on_chunk: Callable[[Progress], None] | None,
) -> Trained:
    """Train all fits; what training starts from is also a candidate."""
    n, size = own.train.shape
    batch = min(config.batch_size, size)
    stops = own.valid.shape[1] > 0
    schedule = Schedule(
        optimisers=(("network", "adam"),),
        phases=((("network",), 1),),
        batch_size=batch,
        steps=-(-size // batch),
        patience=config.patience if stops else 0,
        chunk=CHECK_EVERY,
    )
    keys = jax.vmap(random.fold_in, (None, 0))(random.key(seed), np.arange(n))
    rate = np.full(n, config.rate, np.float32)
    return train(
        objective,
        schedule,
        Fits(keys, {"network": Rate(rate, np.ones_like(rate))}, own),
        pool,
        replace(pool, held_out=True) if stops else None,
        epochs=config.epochs,
        from_start=True,
        on_chunk=on_chunk,
    )


def _base(
    fitted: Fitted,
    rows: Int[np.ndarray, " rows"],
    perturbed: Sequence[tuple[str, ...]],
    line: Sequence[str],
) -> np.ndarray:
    """Return what the network adds to, by some training rows, [2, n, genes]."""
    base = base_of(take(fitted.train, rows), fitted.scale)
    if fitted.config.base == "mean":
        return np.repeat(base, len(perturbed), axis=1)
    weight = weight_of(fitted.knowledge, perturbed, line, fitted.train, fitted.config)
    return recalled(weight, fitted.train, rows, base, fitted.scale, fitted.near)


def _net(
    fitted: Fitted,
    member: int,
    perturbed: Sequence[tuple[str, ...]],
    line: Sequence[str],
    control: np.ndarray | None,
) -> np.ndarray:
    """Return both outputs of one member, beyond the mean response, [2, n, genes]."""
    query = query_of(fitted.knowledge, perturbed, line, control, fitted.inputs, fitted.config)
    parts = [
        np.stack(outputs(fitted, member, part_of(query, i))[:2])
        for i in range(0, len(perturbed), AT_ONCE)
    ]
    return np.concatenate(parts, axis=1)


def _tune(fitted: Fitted) -> Fitted:
    """Choose what is added, and the factor on deviations, in rows that members did not learn from.

    Among `ADDED`, the share with the best order of perturbations per gene, for each of the two
    questions of tables of signs; of values, the share with the least squared error.
    """
    train, config = fitted.train, fitted.config
    held = []
    for member, rows in enumerate(fitted.rows):
        own = take(train, np.setdiff1d(np.arange(len(train.perturbed)), rows))
        if own.perturbed:
            base = _base(fitted, rows, own.perturbed, own.line)
            held.append((own, base, _net(fitted, member, own.perturbed, own.line, own.control)))
    if not held:
        return fitted
    added = fitted.added.copy()
    if config.base == "recalled" and train.continuous:
        errors = [sum(float(np.square(own.delta / fitted.scale - base[0] - share * net[0]).sum())
                      for own, base, net in held) for share in ADDED]  # fmt: skip
        added[0] = ADDED[int(np.argmin(errors))]
    elif config.base == "recalled":
        for k in (0, 1):
            added[k] = ADDED[int(np.argmax([_order(held, k, share) for share in ADDED]))]
    fitted = fitted._replace(added=added)
    if not train.continuous or not config.likelihood:
        return fitted
    ratios = []
    for own, base, net in held:
        mean, log_sd = base + added[:, None, None] * net
        variance = np.exp(2 * np.maximum(log_sd, LEAST_LOG_SD))
        ratios.append(np.square(own.delta / fitted.scale - mean).mean() / variance.mean())
    return fitted._replace(calibration=float(np.sqrt(np.mean(ratios))))


def _order(held: list[tuple[Responses, np.ndarray, np.ndarray]], k: int, share: float) -> float:
    """Return the mean AUROC of a gene; perturbations are compared within a member only."""
    right, pairs = 0.0, 0.0
    for own, base, net in held:
        de = own.sign != 0
        yes, known = (own.sign > 0, de) if k else (de, own.known)
        found = ordered(*map(jnp.asarray, (base[k] + share * net[k], yes, known)))
        right, pairs = right + np.asarray(found[0]), pairs + np.asarray(found[1])
    return float((right / np.maximum(pairs, 1))[pairs > 0].mean()) if np.any(pairs > 0) else 0.0


def _check_control(
    fitted: Fitted, perturbed: Sequence[tuple[str, ...]], control: np.ndarray | None
) -> None:
    if (control is None) == fitted.train.continuous:
        wanted = "control means" if fitted.train.continuous else "no controls, only cell lines"
        raise ValueError(f"Expected {wanted}, as in training.")
    if control is not None and control.shape != (len(perturbed), len(fitted.train.genes)):
        raise ValueError(
            f"Expected controls [{len(perturbed)}, {len(fitted.train.genes)}], found "
            f"{control.shape}."
        )
    if control is not None and fitted.train.control is not None:
        check_same_units(control, fitted.train.control, "control means")


@partial(jax.jit, static_argnums=(0, 1))
def _apply(config: Config, genes: int, params: Any, world: World, query: Query) -> Output:
    return cast(Output, Network(config, genes).apply({"params": params}, world, query))
