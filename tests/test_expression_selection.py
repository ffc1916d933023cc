"""Orders of inputs: greedy against refits, the lasso against its optimality, budgets, refusals."""

import time

import numpy as np
import pytest

from infosem_jax.expression.profiles import make_profiles
from infosem_jax.expression.selection import (
    expected_accuracy,
    greedy_order,
    lasso_order,
    linear_order,
    restrict,
    select,
)
from infosem_jax.expression.splits import random_split
from infosem_jax.expression.task import make_task


def task(samples=60, inputs=15, targets=40, seed=0, factors=4, noise=0.5):
    """Return a task in which each gene is a mixture of a few factors."""
    rng = np.random.default_rng(seed)
    genes = inputs + targets
    x = 8 + rng.normal(size=(samples, factors)) @ rng.normal(size=(factors, genes))
    x += noise * rng.normal(size=x.shape) * rng.uniform(0.2, 2, genes)
    data = make_profiles(x, [f"G{i}" for i in range(genes)])
    return make_task(data, data.genes[:inputs], random_split(samples), targets="rest").task


def residual(t, chosen):
    """Fit by least squares, anew."""
    x = t.x_train[:, chosen].astype(float)
    y = t.y_train.astype(float)
    x, y = x - x.mean(0), y - y.mean(0)
    return ((y - x @ np.linalg.lstsq(x, y, rcond=None)[0]) ** 2).sum()


@pytest.mark.parametrize("targets", [5, 200])
def test_linear_order_equals_refits(targets):
    t = task(targets=targets)
    chosen = []
    for _ in range(15):
        left = [i for i in range(15) if i not in chosen]
        chosen.append(min(left, key=lambda i: residual(t, [*chosen, i])))
    assert linear_order(t, 15, 0).tolist() == chosen


def test_greedy_passes_over_what_is_explained(caplog):
    t = task(noise=0.1)
    x = t.x_train.copy()
    x[:, 3], x[:, 4] = x[:, 0], 0.0
    order = greedy_order(t._replace(x_train=x), 15, 0).tolist()
    assert sorted(order) == list(range(15)) and 4 in order[13:]
    assert {order[13], order[14]} & {0, 3}
    assert "tell 13 inputs apart" in caplog.text
    few = task(samples=14, inputs=30)
    assert sorted(greedy_order(few, 30, 0)) == list(range(30))


def test_greedy_beats_chance():
    gains = []
    for seed in range(5):
        t = task(samples=150, inputs=40, targets=100, factors=6, noise=1.0, seed=seed)
        own, other = (
            select(t, 6, how, seed, sizes=[6]).accuracy[0] for how in ("greedy", "random")
        )
        gains.append(own - other)
    assert min(gains) > 0


def test_lasso_enters_the_strongest_first():
    t = task()
    order = lasso_order(t, 15, 0)
    assert sorted(order) == list(range(15))
    x = t.x_train.astype(float)
    x = (x - x.mean(0)) / x.std(0)
    y = t.y_train - t.y_train.mean(0)
    # Nothing enters until the strength falls to its inner product, which is one step of the path.
    size = np.linalg.norm(x.T @ y, axis=1)
    assert size[order[0]] > size.max() * 10**-0.05


def test_lasso_finds_the_inputs_that_matter():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 30))
    y = x[:, [4, 11, 23]] @ rng.normal(size=(3, 50)) + 0.3 * rng.normal(size=(120, 50))
    data = make_profiles(np.concatenate([x, y], 1), [f"G{i}" for i in range(80)])
    t = make_task(data, data.genes[:30], random_split(120), targets="rest").task
    for order in (lasso_order(t, 3, 0), greedy_order(t, 3, 0)):
        assert sorted(order) == [4, 11, 23]


@pytest.mark.parametrize("how", ["random", "first", "lasso", "linear", "greedy"])
def test_selections(how):
    t = task()
    found = select(t, 10, how, seed=1)
    assert len(set(found.genes)) == 10 and set(found.genes) <= set(t.inputs)
    assert found.sizes[0] == 1 and found.sizes[-1] == 10
    assert found.accuracy.shape == found.sizes.shape and (found.accuracy <= 1).all()
    again = select(t, 10, how, seed=1)
    assert again.genes == found.genes
    np.testing.assert_array_equal(again.accuracy, found.accuracy)
    if how in ("lasso", "linear", "greedy"):
        # Nothing of validation and test decides the order.
        blind = t._replace(
            x_valid=t.x_valid * 0 + 1, y_valid=t.y_valid[::-1] ** 2, x_test=t.x_test * 0
        )
        assert select(blind, 10, how).genes == found.genes
    assert select(t, 4, how, seed=1).genes == found.genes[:4]


def test_orders_of_others_can_be_tried():
    t = task()
    last = lambda task, n, seed: np.arange(len(task.inputs))[::-1][:n]
    found = select(t, 3, "last", selectors={"last": last}, sizes=[3])
    assert found.genes == ("G14", "G13", "G12")
    np.testing.assert_array_equal(found.accuracy, expected_accuracy(t, np.array([14, 13, 12]), [3]))


def test_tasks_are_restricted_to_what_is_measured():
    t = task()
    part = restrict(t, ["G7", "G2"])
    np.testing.assert_array_equal(part.x_test, t.x_test[:, [7, 2]])
    np.testing.assert_array_equal(part.at_input, t.at_input[[7, 2]])
    assert part.inputs == ("G7", "G2") and part.targets == t.targets
    with pytest.raises(ValueError, match="found 1 others: Q"):
        restrict(t, ["G1", "Q"])
    with pytest.raises(ValueError, match="at least one gene"):
        restrict(t, [])


def test_what_cannot_be_selected_is_refused():
    t = task()
    for arguments, message in (
        ({"n": 0}, "from 1 to 15 genes, found 0"),
        ({"n": 16}, "found 16"),
        ({"n": 3, "how": "best"}, "random, first, lasso, linear, greedy, found 'best'"),
        ({"n": 3, "sizes": [4]}, r"sizes from 1 to 3, found \[4\]"),
        ({"n": 3, "sizes": []}, "sizes from 1 to 3"),
    ):
        with pytest.raises(ValueError, match=message):
            select(t, **arguments)


@pytest.mark.slow
def test_greedy_is_fast():
    t = task(samples=400, inputs=1000, targets=11000, factors=20)
    began = time.process_time()
    assert len(set(greedy_order(t, 100, 0).tolist())) == 100
    assert time.process_time() - began < 20
