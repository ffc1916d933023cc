from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from compilations import compilations
from jax import random
from scipy.stats import spearmanr

from infosem_jax.expression import graph_model, network
from infosem_jax.expression.gate import learned_order
from infosem_jax.expression.graph import gene_graph
from infosem_jax.expression.graph_model import fit_graph, predict_graph
from infosem_jax.expression.network import GraphConfig
from infosem_jax.expression.task import Task

SMALL = GraphConfig(
    layers=2,
    channels=4,
    neighbours=2,
    residual=False,
    start_size=1.0,
    dropout=0.1,
    rate=1e-2,
    batch_size=32,
    epochs=30,
    check_every=5,
    stop_after=99,
    members=1,
)
# Depth is of no matter to how networks are trained, and costs compilation.
FLAT = replace(SMALL, layers=1, members=2)


def simulate(samples=100, inputs=6, targets=12, organs=0, seed=0, active=None):
    """Make genes that follow three hidden factors, and shift with the organ."""
    numbers = np.random.default_rng(seed)
    factor, organ = numbers.normal(size=(samples, 3)), np.eye(max(organs, 1))
    of = organ[numbers.integers(0, max(organs, 1), samples)][:, :organs]
    weight = numbers.normal(size=(3, inputs + targets))
    if active is not None:
        weight[:, :inputs] *= np.isin(np.arange(inputs), active)
    x = factor @ weight + 0.1 * numbers.normal(size=(samples, inputs + targets))
    x[:, inputs:] += 2 * of @ numbers.normal(size=(organs, targets))
    x = ((x - x.mean(0)) / x.std(0)).astype(np.float32)
    cuts, parts = (6 * samples // 10, 8 * samples // 10), []
    for own, covariate in zip(
        np.split(x, cuts), np.split(of.astype(np.float32), cuts), strict=True
    ):
        parts.append((own[:, :inputs], own[:, inputs:], covariate))
    (x_train, y_train, c_train), (x_valid, y_valid, c_valid), (x_test, y_test, c_test) = parts
    names = [tuple(f"{kind}{i}" for i in range(n)) for kind, n in (("i", inputs), ("t", targets))]
    at_input = np.full(inputs, -1)
    task = Task(
        *names, x_train, y_train, x_valid, y_valid, x_test, at_input, c_train, c_valid, c_test
    )
    return task, y_test


TASK, TRUTH = simulate()


def network_of(config, task=TASK, seed=0, dense=None):
    graph = gene_graph(task, config.neighbours)
    params = network.init(random.key(seed), config, network.shape_of(graph))
    # Biases of zero would hide where they are added.
    params = jax.tree.map(lambda leaf: leaf + 0.05 * (leaf == 0), params)
    return params, network.wire(graph, task.y_train.std(0), config, dense=dense), graph


def forward(params, config, wiring, x=TASK.x_test):
    return network.forward(params, config, wiring, jnp.asarray(x), jnp.zeros((len(x), 0)))


def by_hand(params, config, graph, x):
    """Compute means sample by sample with one matrix of all genes per layer."""
    n, n_inputs, n_sparse = graph.n_nodes, graph.n_inputs, int(graph.sparse.n_edge[0])
    ends = graph.sparse.receivers[:n_sparse], graph.sparse.senders[:n_sparse]
    outputs = []
    for sample in x:
        h = params["embedding"] + params["bias"]
        h = h + jnp.append(sample, jnp.zeros(n - n_inputs))[:, None] * params["value"]
        for layer in params["layers"]:
            if config.messages == "edge":
                matrix = jnp.zeros((n, n)).at[ends].set(layer["edge"])
                received = matrix.at[:, :n_inputs].set(layer["block"]) @ h
                received = received @ layer["mixing"] if config.mixing else received
            else:
                mixed, (a, b) = h @ layer["mixing"], layer["attend"]
                linked = jnp.zeros((n, n)).at[ends].set(1.0).at[:, :n_inputs].set(1.0)
                logit = (mixed @ a)[:, None] + mixed @ b
                weight = linked * jnp.exp(jnp.where(logit > 0, logit, 0.2 * logit))
                received = weight / weight.sum(1, keepdims=True) @ mixed
            new = jnp.maximum(received + layer["offset"], 0)
            h = h + new if config.residual else new
        outputs.append(h[graph.targets] @ params["head"][:, 0] + params["head_bias"][:, 0])
    return jnp.stack(outputs)


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize(
    "changes",
    [{}, {"mixing": True, "residual": True}, {"messages": "attention"}],
    ids=["plain", "mixed", "attention"],
)
def test_network_equals_masked_matrices_in_values_and_gradients(changes, dense):
    config = replace(SMALL, **changes)
    if config.messages == "attention" and not dense:
        with pytest.raises(ValueError, match="at most 2,048 genes beside the inputs"):
            forward(
                *network_of(config, dense=False)[:1], config, network_of(config, dense=False)[1]
            )
        return
    params, wiring, graph = network_of(config, dense=dense)
    x = jnp.asarray(TASK.x_test[:3])

    def cost(params, run):
        return jnp.square(run(params)).mean()

    runs = (lambda p: forward(p, config, wiring, x)[0], lambda p: by_hand(p, config, graph, x))
    np.testing.assert_allclose(*(run(params) for run in runs), rtol=1e-4, atol=1e-5)
    ours, expected = (jax.jit(jax.grad(cost), static_argnums=1)(params, run) for run in runs)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-6), ours, expected)


def test_the_order_of_genes_does_not_matter():
    order = np.random.default_rng(1).permutation(len(TASK.targets))
    turned = TASK._replace(
        targets=tuple(TASK.targets[i] for i in order),
        y_train=TASK.y_train[:, order],
        y_valid=TASK.y_valid[:, order],
    )
    params, wiring, graph = network_of(SMALL)
    _, other_wiring, other = network_of(SMALL, turned)
    node = np.append(np.arange(graph.n_inputs), graph.targets[order])

    def edges(g):
        n = int(g.sparse.n_edge[0])
        return list(
            zip(g.sparse.receivers[:n].tolist(), g.sparse.senders[:n].tolist(), strict=True)
        )

    place = {ends: i for i, ends in enumerate(edges(graph))}
    at = [place[node[receiver], node[sender]] for receiver, sender in edges(other)]
    layers = tuple(
        {"offset": own["offset"][node], "block": own["block"][node],
         "edge": own["edge"][np.array(at)]}
        for own in params["layers"]
    )  # fmt: skip
    moved = dict(
        params,
        embedding=params["embedding"][node],
        layers=layers,
        head_bias=params["head_bias"][order],
    )
    expected, found = forward(params, SMALL, wiring), forward(moved, SMALL, other_wiring)
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(np.asarray(a)[:, order], b, rtol=1e-4, atol=1e-5)


def test_start_values_keep_their_size_through_layers_except_those_of_the_paper():
    sizes = {}
    for start in ("fan_in", "paper"):
        config = replace(SMALL, layers=4, channels=16, start=start)
        task, _ = simulate(inputs=30, targets=90)
        params, wiring, _ = network_of(config, task)
        sizes[start] = float(np.std(forward(params, config, wiring, task.x_test)[0]))
    assert 0.02 < sizes["fan_in"] < 10 < 100 < sizes["paper"]


def test_members_equal_networks_fitted_alone_and_seeds_repeat():
    told = []
    both = fit_graph(TASK, FLAT, seed=3, on_chunk=told.append)
    again = fit_graph(TASK, FLAT, seed=3)
    jax.tree.map(np.testing.assert_array_equal, both.params, again.params)
    assert [(each.done, each.total, each.unit) for each in told] == [
        (done, 30, "epochs") for done in range(5, 35, 5)
    ]
    jax.tree.map(np.testing.assert_array_equal, told[-1].losses, both.losses)
    evaluated = np.flatnonzero(np.isfinite(both.losses.held_out).all(0))
    np.testing.assert_array_equal(evaluated + 1, range(5, 35, 5))
    other = fit_graph(TASK, replace(FLAT, epochs=5), seed=4)
    assert not np.allclose(both.params["head"], other.params["head"])
    singles = [jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], both.params) for i in range(2)]
    pieces = [predict_graph(both._replace(params=params), TASK.x_test) for params in singles]
    joint = predict_graph(both, TASK.x_test)
    np.testing.assert_allclose(joint.mean, np.mean([p.mean for p in pieces], 0), atol=1e-5)
    means, sds = (np.stack([part[i] for part in pieces]) for i in range(2))
    expected = np.square(sds).mean(0) + both.calibration**2 * means.var(0)
    np.testing.assert_allclose(np.square(joint.sd), expected, rtol=1e-3)


def test_held_out_samples_are_judged_by_what_was_asked_for():
    alone = replace(FLAT, epochs=5, members=1)
    fitted = fit_graph(TASK, alone)
    error = np.abs(predict_graph(fitted, TASK.x_valid).mean - TASK.y_valid).mean()
    assert fitted.losses.held_out[0, -1] == pytest.approx(error, rel=1e-4)
    fitted = fit_graph(TASK, replace(alone, judge="spearman"))
    found = predict_graph(fitted, TASK.x_valid).mean
    ranks = [spearmanr(a, b).statistic for a, b in zip(found, TASK.y_valid, strict=True)]
    assert fitted.losses.held_out[0, -1] == pytest.approx(1 - np.mean(ranks), abs=1e-4)


def test_fits_that_differ_in_rates_stopping_and_samples_share_a_program():
    fit_graph(TASK, FLAT)
    with compilations() as compiled:
        fit_graph(simulate(seed=1)[0], replace(FLAT, rate=1e-3, halve_after=1), seed=2)
    assert not {"init", "run_chunk", "score", "_predict_members"} & set(compiled)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"members": 3}, {"messages": "attention"}])
def test_hidden_factors_are_recovered_with_deviations_that_fit(changes):
    task, truth = simulate(samples=250)
    fitted = fit_graph(task, replace(SMALL, channels=8, epochs=80, dropout=0.0, **changes))
    found = predict_graph(fitted, task.x_test)
    of_mean = np.square(truth).mean()
    assert np.square(found.mean - truth).mean() < 0.35 * of_mean
    assert found.sd is not None
    assert 0.6 < np.square((found.mean - truth) / found.sd).mean() < 1.6


def test_the_residual_of_ridge_is_that_of_unseen_samples():
    x = np.concatenate([TASK.x_train, TASK.x_valid])
    y = np.concatenate([TASK.y_train, TASK.y_valid])
    line, left = graph_model._left_over(x, y, 0)
    seen = y - x @ line.slope - line.offset
    assert np.square(left).mean() > np.square(seen).mean()
    untouched = fit_graph(TASK, replace(FLAT, skip="ridge", epochs=5))
    params = jax.tree.map(jnp.zeros_like, untouched.params)
    with pytest.raises(ValueError, match="the 6 inputs of the fit, found 5"):
        predict_graph(untouched, TASK.x_test[:, 1:])
    found = predict_graph(untouched._replace(params=params), TASK.x_test)
    np.testing.assert_allclose(found.mean, TASK.x_test @ line.slope + line.offset, atol=1e-5)


@pytest.mark.slow
def test_organs_help_where_they_shift_expression():
    task, truth = simulate(samples=250, organs=3)
    config = replace(SMALL, layers=1, channels=8, epochs=60, dropout=0.0)
    errors = {}
    for covariate in ("nodes", "feature", "none"):
        fitted = fit_graph(task, replace(config, covariate=covariate))
        found = predict_graph(fitted, task.x_test, task.covariate_test)
        errors[covariate] = np.square(found.mean - truth).mean()
        if covariate != "none":
            with pytest.raises(ValueError, match="the 3 covariates of the fit, found 0"):
                predict_graph(fitted, task.x_test)
    assert max(errors["nodes"], errors["feature"]) < 0.7 * errors["none"]


def test_networks_that_diverge_are_no_result():
    with pytest.raises(FloatingPointError, match="Every member of the graph network diverged"):
        fit_graph(TASK, replace(FLAT, rate=1e30, epochs=5))


def test_more_members_than_samples_are_refused():
    with pytest.raises(ValueError, match="at most one member per sample, 80, found 81"):
        fit_graph(TASK, replace(SMALL, members=81))


@pytest.mark.slow
def test_gates_choose_the_inputs_that_tell_something():
    active = (2, 5, 14)  # as many as there are hidden factors
    task, _ = simulate(samples=200, inputs=20, targets=30, active=active)
    chosen = learned_order(task, 3, epochs=100)
    assert sorted(chosen) == list(active)


def test_gates_are_for_a_number_in_range():
    with pytest.raises(ValueError, match="from 1 to 6 genes, found 7"):
        learned_order(TASK, 7)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"judge": "pearson"}, "judge: expected one of loss, spearman, found 'pearson'"),
        ({"members": 0}, "members: expected at least 1, found 0"),
        ({"dropout": 1.0}, "dropout: expected a number below 1, found 1.0"),
        ({"rate": float("nan")}, "rate: expected at least 0, found nan"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message, monkeypatch):
    # Leave the types of settings to their own messages, as users see them.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)
