import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from infosem_jax.grn.sem import Remainder, absorb, propagate, weight_matrix

GENES, CELLS = 9, 7
KINDS = ["all", "regulators", "regulators+K", "all+K"]


def problem(kind: str, seed: int = 0, dtype=np.float32):
    """Noise, effects, rows and remainder of one kind, with a spectral radius well below one."""
    rng = np.random.default_rng(seed)
    rows = np.arange(GENES) if kind.startswith("all") else np.array([1, 4, 6])
    effect = rng.normal(0, 0.15, (len(rows), GENES)).astype(dtype)
    W = weight_matrix(jnp.asarray(effect), None, jnp.asarray(rows))
    remainder = None
    if kind.endswith("K"):
        source, target = rng.normal(0, 0.2, (2, GENES, 2)).astype(dtype)
        remainder = Remainder(jnp.asarray(source), jnp.asarray(target.T))
    z = jnp.asarray(rng.normal(size=(CELLS, GENES)).astype(dtype))
    return z, W, jnp.asarray(rows), remainder


def dense(W, rows, remainder) -> np.ndarray:
    """Assemble the effects of all genes on all genes."""
    full = np.zeros((GENES, GENES))
    full[np.asarray(rows)] = W
    if remainder is not None:
        full += np.asarray(remainder.source, float) @ np.asarray(remainder.target, float)
    return full


@pytest.mark.parametrize("kind", KINDS)
def test_noise_comes_back_from_the_state(kind):
    z, W, rows, remainder = problem(kind)
    u = propagate(z, W, rows, remainder)
    assert float(jnp.abs(u - z).max()) > 0.1
    np.testing.assert_allclose(absorb(u, W, rows, remainder), z, atol=2e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_propagate_is_the_dense_inverse(kind):
    z, W, rows, remainder = problem(kind)
    inverse = np.linalg.inv(np.eye(GENES) - dense(W, rows, remainder))
    np.testing.assert_allclose(
        propagate(z, W, rows, remainder), np.asarray(z, float) @ inverse, atol=2e-6
    )


@pytest.mark.parametrize("kind", KINDS)
def test_absorb_is_the_dense_product(kind):
    z, W, rows, remainder = problem(kind)
    expected = np.asarray(z, float) @ (np.eye(GENES) - dense(W, rows, remainder))
    np.testing.assert_allclose(absorb(z, W, rows, remainder), expected, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_agree_with_finite_differences(kind):
    with jax.enable_x64(True):
        z, W, rows, remainder = problem(kind, dtype=np.float64)

        @jax.jit
        def forward(z, W, remainder):
            return propagate(z, W, rows, remainder)

        check_grads(forward, (z, W, remainder), order=1, modes=["rev"], atol=1e-6, rtol=1e-6)


def test_no_gene_acts_on_itself():
    rows = jnp.array([1, 4, 6])
    W = weight_matrix(jnp.ones((3, GENES)), None, rows)
    np.testing.assert_array_equal(W[jnp.arange(3), rows], 0)
    assert float(W.sum()) == 3 * (GENES - 1)


def test_gate_multiplies_effects():
    rng = np.random.default_rng(0)
    effect, logit = rng.normal(size=(2, 3, GENES)).astype(np.float32)
    rows = jnp.array([1, 4, 6])
    W = weight_matrix(jnp.asarray(effect), jnp.asarray(logit), rows)
    expected = effect / (1 + np.exp(-logit))
    expected[np.arange(3), rows] = 0
    np.testing.assert_allclose(W, expected, rtol=1e-6)


def test_self_effects_get_no_gradient():
    rows = jnp.array([1, 4, 6])
    gradient = jax.grad(lambda effect: weight_matrix(effect, None, rows).sum())(
        jnp.ones((3, GENES))
    )
    np.testing.assert_array_equal(gradient, rows[:, None] != jnp.arange(GENES))


def test_gene_order_does_not_matter_with_all_rows():
    z, W, rows, _ = problem("all")
    order = np.random.default_rng(1).permutation(GENES)
    permuted = propagate(z[:, order], W[order][:, order], rows)
    np.testing.assert_allclose(permuted, propagate(z, W, rows)[:, order], atol=2e-6)


@pytest.mark.parametrize("kind", ["regulators", "regulators+K"])
def test_gene_and_row_order_do_not_matter_with_some_rows(kind):
    z, W, rows, remainder = problem(kind)
    rng = np.random.default_rng(1)
    order, row_order = rng.permutation(GENES), rng.permutation(len(rows))
    place = jnp.asarray(np.argsort(order))[rows][row_order]
    moved = remainder and Remainder(remainder.source[order], remainder.target[:, order])
    permuted = propagate(z[:, order], W[row_order][:, order], place, moved)
    np.testing.assert_allclose(permuted, propagate(z, W, rows, remainder)[:, order], atol=2e-6)


def test_regulator_rows_are_all_rows_with_zeros():
    z, W, rows, _ = problem("regulators")
    full = jnp.zeros((GENES, GENES)).at[rows].set(W)
    np.testing.assert_allclose(
        propagate(z, W, rows), propagate(z, full, jnp.arange(GENES)), atol=2e-6
    )


def test_propagate_keeps_float32_where_products_default_to_less():
    z, W, rows, remainder = problem("regulators+K")
    with jax.default_matmul_precision("bfloat16"):
        lowered = jax.jit(propagate).lower(z, W, rows, remainder).as_text()
    products = [line for line in lowered.splitlines() if "dot_general" in line]
    assert products
    assert all("HIGHEST" in line for line in products)
