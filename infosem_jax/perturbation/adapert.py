"""AdaPert: networks fitted to tasks together, and predictions of one."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int
from scipy import sparse

from infosem_jax._settings import Method
from infosem_jax.engine.early_stopping import train
from infosem_jax.engine.saver import Saver
from infosem_jax.engine.types import Losses, Progress
from infosem_jax.perturbation.baselines import single_sums
from infosem_jax.perturbation.config import ADAPERT, AdaPertConfig
from infosem_jax.perturbation.data import Responses, stack_rows, take
from infosem_jax.perturbation.gene_effects import Variances, estimate_variances, predict_effects
from infosem_jax.perturbation.joining import HeldOut, Shares, choose_shares
from infosem_jax.perturbation.knowledge import Knowledge, reach
from infosem_jax.perturbation.mixing import USUAL, choose_weights, mix, seen_in
from infosem_jax.perturbation.neighbour_response import neighbour_outputs
from infosem_jax.perturbation.network import Network, NodeInputs, Output, PerturbationInputs
from infosem_jax.perturbation.objective import LEAST_LOG_SD, Objective
from infosem_jax.perturbation.prepare import (
    ControlEncoding,
    coexpressed_genes,
    control_encoding,
    fit_data,
    mean_outputs,
    neighbour_weights,
    perturbation_inputs,
    response_scale,
    similar_genes,
    training_data,
)
from infosem_jax.perturbation.task import Asked, Prediction, Task, were_perturbed
from infosem_jax.perturbation.units import check_control_units

# Epochs between two evaluations on held-out perturbations.
CHECK_EVERY = 2
# Perturbations that are predicted at once, so that what is computed on the way stays small.
AT_ONCE = 256
QUICK = {
    "features": 8, "layers": 1, "latent": 4, "hidden": 16, "epochs": 6, "most": 32, "members": 1,
    "rate": 5e-3,
}  # fmt: skip


class FittedNetwork(NamedTuple):
    """A fitted network.

    Attributes
    ----------
    config
        Settings.
    train
        Responses that it learned from.
    knowledge
        Graphs and texts.
    nodes
        Graph, texts and responding genes as arrays.
    encoding
        How controls are encoded.
    gene_similarity
        Genes that are counted with each gene, see `prepare.similar_genes`.
    scale
        What changes are divided by.
    params
        Parameters, with a leading axis of members.
    rows
        Training rows of each member, [members, rows].
    calibration
        Factor on deviations that makes them right in held-out perturbations.
    losses
        Of each member and epoch; those of held-out rows NaN where they were not evaluated.
    shares
        How its outputs are joined with what is known without it.
    variances
        Of the effects of perturbed genes, of values; else None.
    """

    config: AdaPertConfig
    train: Responses
    knowledge: Knowledge
    nodes: NodeInputs
    encoding: ControlEncoding
    gene_similarity: sparse.csr_array | None
    scale: float
    params: Any
    rows: Int[np.ndarray, "members rows"]
    calibration: float
    losses: Losses
    shares: Shares
    variances: Variances | None


def fit_networks(
    tasks: Sequence[Task],
    config: AdaPertConfig = ADAPERT,
    *,
    seed: int = 0,
    on_chunk: Callable[[Progress], None] | None = None,
    saver: Saver | None = None,
    number: int = 0,
) -> list[FittedNetwork]:
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
    saver, number
        Saves training under this number, and goes on from what was saved.

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
    encoding = control_encoding(rows)
    shared = training_data(rows, knowledge, encoding, config)
    each = [
        fit_data(rows, at[rows_train], at[valid], response_scale(task.train), config)
        for i, (task, at) in enumerate(zip(tasks, index, strict=True))
        for rows_train, valid in _parts(task, config, (seed, i))
    ]
    fits = jax.tree.map(lambda *leaves: np.stack(leaves), *each)
    objective = Objective(_compiled(config), len(genes), not rows.continuous)
    stops = fits.valid.shape[1] > 0
    trained = train(
        objective,
        fits,
        shared,
        replace(shared, held_out=True) if stops else None,
        rate=config.rate,
        batch_size=config.batch_size,
        epochs=config.epochs,
        check_every=CHECK_EVERY,
        patience=config.patience,
        seed=seed,
        from_start=True,  # the base may be all there is to learn
        on_chunk=on_chunk,
        saver=saver,
        number=number,
    )
    of_genes = rows.continuous and config.base == "neighbours"
    fitted = []
    for i, task in enumerate(tasks):
        at = np.arange(i * config.members, (i + 1) * config.members)
        at = at[trained.converged[at]]
        if not at.size:
            raise FloatingPointError(
                "Every member of a network diverged; lower the learning rate (rate)."
            )
        place = {int(row): k for k, row in enumerate(index[i])}
        network = FittedNetwork(
            config=config,
            train=task.train,
            knowledge=knowledge,
            nodes=shared.nodes,
            encoding=encoding,
            gene_similarity=similar_genes(knowledge, rows, config),
            scale=response_scale(task.train),
            params=jax.tree.map(lambda leaf, at=at: leaf[at], trained.params),
            rows=np.array([[place[int(row)] for row in fits.train[j]] for j in at]),
            calibration=1.0,
            losses=Losses(*(part[at] for part in trained.losses)),
            shares=usual_shares(config, rows.continuous, len(genes)),
            variances=estimate_variances(task.train) if of_genes else None,
        )
        fitted.append(_tune(network))
    return fitted


def predict_network(network: FittedNetwork, asked: Asked) -> Prediction:
    """Predict responses to perturbations.

    Of values, the mean over members, and a deviation that joins that of each with how far they
    differ. Of signs, probabilities from the mean log-odds.

    Raises
    ------
    ValueError
        If controls are not as in training, or in other units.
    """
    _check_control(network, asked)
    # Perturbations for early stopping are neighbours as well.
    bases = _bases(network, np.arange(len(network.train.perturbed)), asked)
    outputs = np.stack([_outputs(network, i, asked) for i in range(len(network.rows))], axis=1)
    total = network.shares.join(bases, outputs)
    edges, text = reach(network.knowledge, asked.perturbed)
    informed = text & network.config.text
    if network.config.context != "none":
        informed = informed | edges
    if network.variances is not None:
        informed = informed | were_perturbed(network.train, asked.perturbed)
    if not network.train.continuous:
        de, up = (1 / (1 + np.exp(-x)) for x in total)
        sd = (de * (2 * up - 1)).std(0)
        de, up = (1 / (1 + np.exp(-x.mean(0))) for x in total)
        change, de, up, sd = (x.astype(np.float32) for x in (de * (2 * up - 1), de, up, sd))
        return Prediction(change, de, up, sd, informed)
    mean, log_sd = total
    change = (mean.mean(0) * network.scale).astype(np.float32)
    variance = mean.var(0)
    if network.config.likelihood:
        variance = variance + np.exp(2 * np.maximum(log_sd, LEAST_LOG_SD)).mean(0)
    sd = (network.calibration * network.scale * np.sqrt(variance)).astype(np.float32)
    return Prediction(change, np.abs(change), change, sd, informed)


def predict_tasks(
    tasks: Sequence[Task], seed: int, config: AdaPertConfig = ADAPERT
) -> list[Prediction]:
    """Fit the network to tasks, and predict the test perturbations of each.

    Parameters
    ----------
    tasks
        Tasks that share their knowledge; those of one size are fitted together.
    seed
        Seeds the random numbers.
    config
        Settings.
    """
    sizes = [len(task.train.perturbed) for task in tasks]
    found: dict[int, Prediction] = {}
    for size in sorted(set(sizes)):
        at = [i for i, n in enumerate(sizes) if n == size]
        networks = fit_networks([tasks[i] for i in at], config, seed=seed)
        for i, network in zip(at, networks, strict=True):
            found[i] = predict_network(network, tasks[i])
    return [found[i] for i in range(len(tasks))]


def usual_shares(config: AdaPertConfig, continuous: bool, genes: int) -> Shares:
    """Return the shares where held-out perturbations do not tell otherwise.

    Parameters
    ----------
    config
        Settings; on top of the mean response the network counts in full.
    continuous
        Whether there are values; of these the network counts nothing, and its deviations in full.
    genes
        How many genes respond.
    """
    every = np.ones((2, genes), np.float32)
    own, plain = np.full((2, 1), config.added, np.float32), np.float32(config.plain)
    if config.base == "mean":
        own, plain = np.ones((2, 1), np.float32), np.float32(0)
    elif continuous:
        own, plain = np.array([[0], [1]], np.float32), np.float32(0)
    return Shares(own * every, plain * every, USUAL.astype(np.float32))


def apply_member(network: FittedNetwork, member: int, perturbations: PerturbationInputs) -> Output:
    """Return the output of one member, its selection of nodes included; in pieces, to be small.

    Parameters
    ----------
    network
        The network.
    member
        Which of its members.
    perturbations
        Perturbations as arrays.
    """
    params = jax.tree.map(lambda leaf: leaf[member], network.params)
    learned = take(network.train, network.rows[member])
    nodes = network.nodes._replace(coexpressed=coexpressed_genes(learned, network.config))
    config, genes = _compiled(network.config), len(network.train.genes)
    parts = [
        _apply(
            config, genes, params, nodes,
            jax.tree.map(lambda leaf, i=i: leaf[i : i + AT_ONCE], perturbations),
        )
        for i in range(0, len(perturbations.node), AT_ONCE)
    ]  # fmt: skip
    # Outputs have perturbations in their second axis, all else in the first.
    response = jnp.concatenate([part.response for part in parts], axis=1)
    others = jax.tree.map(
        lambda *leaves: jnp.concatenate(leaves), *[(part.aligned, part.selection) for part in parts]
    )
    return Output(response, *others)


def _variant(about: str, **changes: Any) -> Method:
    return Method(predict_tasks, about, replace(ADAPERT, **changes), QUICK)


METHODS: dict[str, Method] = {
    "adapert": _variant("The network with all nodes within 2 hops as context."),
    "adapert_adaptive": _variant(
        "The same with a context chosen for each perturbation, as published.", context="adaptive"
    ),
    "adapert_no_graph": _variant("The same with texts alone.", context="none"),
    "adapert_full": _variant("The same with all nodes as context.", context="full"),
    "adapert_hops1": _variant("The same with all neighbours as context.", hops=1),
    "txpert_untuned": _variant(
        "TxPert's type: the perturbed gene's node after messages over the whole graph, added to "
        "the control; no selector, no text.",
        context="node", combine="add", text=False, tied=False, base="mean", change_align=0.0,
        change_non=0.0,
    ),
    "gears_untuned": _variant(
        "GEARS's type: one layer over the graph for perturbations, genes averaged with those of "
        "correlated responses, weights per gene, and its loss.",
        context="node", layers=1, text=False, tied=False, base="mean", decoder="genewise",
        focus=4.0, direction=0.1, change_align=0.0, change_non=0.0, likelihood=False, features=32,
    ),
}  # fmt: skip


def _parts(
    task: Task, config: AdaPertConfig, seed: tuple[int, int]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Divide training perturbations for each member: to learn from, and for early stopping."""
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


def _compiled(config: AdaPertConfig) -> AdaPertConfig:
    """Keep the settings that a program depends on, so that fits that differ in others share it."""
    others = ("top", "most", "rate", "batch_size", "epochs", "held_out", "patience")
    return replace(config, **{name: getattr(ADAPERT, name) for name in (*others, "members")})


def _bases(network: FittedNetwork, rows: Int[np.ndarray, " rows"], asked: Asked) -> np.ndarray:
    """Return what the network's outputs are added to, from some training rows, [2, 2, n, genes].

    Neighbours' responses with similar genes counted, and gene by gene; of values both are the same,
    these joined with effects of genes and the sum of single responses.
    """
    used = take(network.train, rows)
    mean = mean_outputs(used, network.scale)
    if network.config.base == "mean":
        return np.stack([np.repeat(mean, len(asked.perturbed), axis=1)] * 2)
    weight = neighbour_weights(network.knowledge, asked, network.train, network.config)
    given = weight, network.train, rows, mean, network.scale
    counted = neighbour_outputs(*given, network.gene_similarity)
    if network.variances is None:
        return np.stack([counted, neighbour_outputs(*given, None)])
    effects = predict_effects(used, asked.perturbed, asked.line, network.variances) / network.scale
    seen = seen_in(used)
    kinds = np.array([*map(seen.kind, asked.perturbed, asked.line)], int)
    sums = single_sums(used, asked.perturbed, asked.line)
    added = np.where(np.isfinite(sums), sums / network.scale, mean[0, 0])
    change = mix(network.shares.parts, kinds, mean[0, 0], (effects, counted[0], added))
    return np.stack([np.stack([change, counted[1]])] * 2)


def _outputs(network: FittedNetwork, member: int, asked: Asked) -> np.ndarray:
    """Return both outputs of one member, beyond the mean response, [2, n, genes]."""
    given = perturbation_inputs(network.knowledge, asked, network.encoding, network.config)
    return np.asarray(apply_member(network, member, given).response)


def _tune(network: FittedNetwork) -> FittedNetwork:
    """Choose shares, and the factor on deviations, in rows that members did not learn from."""
    known, config = network.train, network.config
    if network.variances is not None:
        weight = neighbour_weights(network.knowledge, known, known, config)
        parts = choose_weights(known, weight, network.variances)
        network = network._replace(shares=network.shares._replace(parts=parts))
    shares = network.shares
    held = []
    for member, rows in enumerate(network.rows):
        out = take(known, np.setdiff1d(np.arange(len(known.perturbed)), rows))
        if out.perturbed:
            held.append(HeldOut(out, _bases(network, rows, out), _outputs(network, member, out)))
    if config.base == "neighbours" and held:
        shares = choose_shares(held, shares, known, network.scale)
    network = network._replace(shares=shares)
    if not held or not known.continuous or not config.likelihood:
        return network
    ratios = []
    for out, bases, outputs in held:
        mean, log_sd = shares.join(bases, outputs)
        variance = np.exp(2 * np.maximum(log_sd, LEAST_LOG_SD))
        ratios.append(np.square(out.delta / network.scale - mean).mean() / variance.mean())
    return network._replace(calibration=float(np.sqrt(np.mean(ratios))))


def _check_control(network: FittedNetwork, asked: Asked) -> None:
    control, n = asked.control, len(asked.perturbed)
    if (control is None) == network.train.continuous:
        wanted = "control means" if network.train.continuous else "no controls, only cell lines"
        raise ValueError(f"Expected {wanted}, as in training.")
    if control is not None and control.shape != (n, len(network.train.genes)):
        raise ValueError(
            f"Expected controls [{n}, {len(network.train.genes)}], found {control.shape}."
        )
    if control is not None and network.train.control is not None:
        check_control_units(control, asked.line, network.train.control, network.train.line)


@partial(jax.jit, static_argnums=(0, 1))
def _apply(
    config: AdaPertConfig,
    genes: int,
    params: Any,
    nodes: NodeInputs,
    perturbations: PerturbationInputs,
) -> Output:
    network = Network(config, genes)
    return cast(Output, network.apply({"params": params}, nodes, perturbations))
