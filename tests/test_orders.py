"""Total effects of exact fits: over all orders of regulators, and how often intervals hold."""

from itertools import permutations

import numpy as np
import pytest
from handmade import dataset_of

from infosem_jax import grn
from infosem_jax.grn import exact
from infosem_jax.grn.orders import responses

R2 = 0.4


def expression(seed=0, *, cells=200, regulators=4, targets=6, feedback=False):
    """Linear cells whose regulators act on each other and on targets, and the total effects."""
    rng = np.random.default_rng(seed)
    genes = regulators + targets
    W = np.zeros((genes, genes))
    W[:regulators, regulators:] = rng.normal(0, 0.5, (regulators, targets))
    order = rng.permutation(regulators)
    inside = np.triu(rng.normal(0, 0.5, (regulators, regulators)), 1)
    W[np.ix_(order, order)] = np.where(rng.random(inside.shape) < 0.5, inside, 0.0)
    T = np.linalg.inv(np.eye(genes) - W)
    x = rng.normal(size=(cells, genes)) @ T
    total = T[:regulators] * x.std(0)[:regulators, None] / x.std(0)
    names = [f"g{i}" for i in range(genes)]
    scaled = (x - x.mean(0)) / x.std(0)
    return dataset_of(scaled, names, names[:regulators]), total


def over_orders(x, regulators, mean):
    """Posterior mean of total effects: regressions on the regulators before, for every order."""
    precision = regulators * (1 - R2) / R2
    genes = x.shape[1]
    each = []
    for order in permutations(range(regulators)):
        W = np.zeros((genes, genes))
        for j in range(genes):
            before = list(order[: order.index(j)] if j < regulators else order)
            z = x[:, before]
            A = z.T @ z + precision * np.eye(len(before))
            W[before, j] = np.linalg.solve(A, z.T @ x[:, j] + precision * mean[before, j])
        each.append(np.linalg.inv(np.eye(genes) - W)[:regulators])
    return np.mean(each, 0)


@pytest.mark.parametrize("informed", [False, True])
def test_total_effects_are_the_mean_over_all_orders(informed):
    data, _ = expression(cells=60)
    config = exact.Config(rows="regulators", r2=R2)
    fitted = grn.fit(data, config=config)
    if informed:
        rng = np.random.default_rng(1)
        mean = rng.normal(size=fitted.prior_mean.shape)
        fitted = fitted._replace(prior_mean=np.where(np.eye(4, 10), 0, mean))
    found = grn.total_effects(fitted, data, draws=4000)
    expected = over_orders(data.x.astype(float), 4, fitted.prior_mean)
    expected[:, :4][np.eye(4, dtype=bool)] = 0
    error = np.abs(found.weight - expected)
    assert (error <= 5 * found.sd / np.sqrt(4000) + 1e-4).all()
    # Prior means of this size would move the effects by far more than that.
    assert informed == (np.abs(fitted.prior_mean).max() > 0)
    step = data.x[:, 2].min() - data.x[:, 2].mean()
    table = grn.knockout(fitted, "g2", data, draws=4000).set_index("gene")
    response = np.where(np.arange(10) == 2, 1.0, found.weight[2])
    np.testing.assert_allclose(table.loc[list(data.genes), "shift"], step * response, rtol=1e-4)
    np.testing.assert_allclose(table.loc["g5", "sd"], np.abs(step) * found.sd[2, 5], rtol=1e-4)


def one_at_a_time(x, regulators, mean, draws, key):
    """The draws of `responses`: regressions of one gene each, and the inverse of I - W."""
    cells, genes = x.shape
    rng = np.random.default_rng(key)
    precision, order = regulators * (1 - R2) / R2, np.arange(regulators)
    for draw in range(draws):
        order = order[::-1] if draw % 2 else rng.permutation(regulators)
        gamma = rng.gamma((1 + cells) / 2, size=genes)
        noise = rng.normal(size=(regulators, genes))
        W = np.zeros((genes, genes))
        for j in range(genes):
            before = order[: list(order).index(j)] if j < regulators else order
            z, m = x[:, before], mean[before, j]
            A = z.T @ z + precision * np.eye(len(before))
            h = z.T @ x[:, j] + precision * m
            w = np.linalg.solve(A, h)
            left = x[:, j] @ x[:, j] + precision * m @ m - h @ w
            sd = np.sqrt((1 + left) / 2 / gamma[j])
            # A factor of a part is the part of the factor.
            half = np.linalg.cholesky(A)
            W[before, j] = w + sd * np.linalg.solve(half.T, noise[: len(before), j])
        T = np.linalg.inv(np.eye(genes) - W)[:regulators]
        yield T / np.diagonal(T)[:, None]


@pytest.mark.parametrize("held", [[1], [3, 0, 2, 1]])
def test_draws_are_those_of_regressions_one_at_a_time(held):
    data, _ = expression(cells=60)
    x = data.x - data.x.mean(0)
    mean = np.random.default_rng(1).normal(size=(4, 10)) * ~np.eye(4, 10, dtype=bool)
    config = exact.Config(rows="regulators", r2=R2)
    found = responses(x, np.arange(4), np.array(held), mean, config, cells=60.0, draws=6, key=3)
    expected = list(one_at_a_time(x.astype(float), 4, mean, 6, 3))
    np.testing.assert_allclose(list(found), np.array(expected)[:, held], rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("genes", [["g2"], ["g2", "g0"]])
def test_one_pass_finds_what_two_do(genes):
    data, _ = expression()
    fitted = grn.fit(data, config=exact.Config(rows="regulators"))
    settings = {"draws": 10, "key": 5}
    held = {"to": "halved", "among": data.cells[:50]}
    both = grn.intervention(fitted, genes, data, **held, **settings)
    shifts = grn.knockout(fitted, genes, data, **held, **settings)
    total = grn.total_effects(fitted, data, **settings)
    for name, own in total._asdict().items():
        assert own is None or np.array_equal(own, getattr(both.total, name))
    assert list(both.shifts) == list(shifts)
    merged = both.shifts.merge(shifts, on="gene", suffixes=("", "_alone"))
    assert len(merged) == len(data.genes)
    for name in ("shift", "sd", "probability"):
        alone = merged[f"{name}_alone"]
        np.testing.assert_allclose(merged[name], alone, rtol=1e-5, atol=1e-6)


def test_intervals_hold_where_expression_is_linear_and_direct_effects_do_not():
    inside, direct, nearer = [], [], []
    for seed in range(4):
        data, truth = expression(seed, regulators=8, targets=30)
        fitted = grn.fit(data, config=exact.Config(rows="regulators"))
        found = grn.total_effects(fitted, data, key=seed)
        other = ~np.eye(8, 38, dtype=bool)
        error, of_direct = (np.abs(w - truth)[other] for w in (found.weight, fitted.weight))
        inside.append((error <= 1.96 * found.sd[other]).mean())
        direct.append((of_direct <= 1.96 * fitted.sd[other]).mean())
        nearer.append((error**2).mean() < (of_direct**2).mean())
    assert 0.9 <= np.mean(inside) <= 0.99
    assert np.mean(direct) < 0.85 and all(nearer)


def test_which_of_two_regulators_acts_is_left_open():
    rng = np.random.default_rng(0)
    a = rng.normal(size=2000)
    b = 0.6 * a + 0.8 * rng.normal(size=2000)
    data = dataset_of(np.stack([a, b, b + rng.normal(size=2000)], 1), "abc", "ab")
    fitted = grn.fit(data, config=exact.Config(rows="regulators"))
    found = grn.total_effects(fitted, data)
    assert found.sign_agreement[0, 1] == found.sign_agreement[1, 0] == 0.5
    np.testing.assert_allclose(found.weight[[0, 1], [1, 0]], 0.3, atol=0.05)
    assert found.sign_agreement[1, 2] == 1


def test_genes_held_together_block_the_paths_between_them():
    rng = np.random.default_rng(0)
    a = rng.normal(size=4000)
    b = 0.6 * a + 0.8 * rng.normal(size=4000)
    x = np.stack([a, b, 0.5 * b + rng.normal(size=4000)], 1)
    data = dataset_of((x - x.mean(0)) / x.std(0), "abc", "ab")
    fitted = grn.fit(data, config=exact.Config(rows="regulators"))
    both = grn.knockouts(fitted, ["a", "b"], data, to=1.0, together=True)
    # Held at 1 together, c moves by the effect of b alone.
    slope = 0.5 / x[:, 2].std()
    assert both.shift[0, 2] == pytest.approx(slope, abs=4 * float(both.sd[0, 2]))
    np.testing.assert_allclose(both.shift[0, :2], 1.0, atol=1e-3)
    assert both.sd[0, 2] < 0.05


def test_an_exact_fit_needs_its_cells():
    data, _ = expression(cells=30)
    fitted = grn.fit(data, config=exact.Config(rows="regulators", steps=2))
    for predict in (grn.total_effects, lambda fit: grn.knockout(fit, "g0"),
                    lambda fit: grn.intervention(fit, "g0")):  # fmt: skip
        with pytest.raises(ValueError, match="expected the data that were fitted"):
            predict(fitted)
    with pytest.raises(ValueError, match="acts on no gene"):
        grn.knockout(fitted, "g6", data)
    taken = data._replace(covariates=("batch (2 levels)",), lost=1)
    with pytest.raises(ValueError, match=r"covariates of the fit taken out .*none.*, found batch"):
        grn.knockout(fitted, "g0", taken)
