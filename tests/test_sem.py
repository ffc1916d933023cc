from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.stats import spearmanr

from infosem_jax.data.simulate import SimulationConfig, simulate
from infosem_jax.grn.config import converged
from infosem_jax.grn.fitting import fit
from infosem_jax.grn.metrics import evaluate
from infosem_jax.grn.networks import edges
from infosem_jax.grn.priors import Normal
from infosem_jax.grn.result import network
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


def both_ways(W, z, rows, remainder, precision: str):
    """Return both directions for given effects and noise."""
    options = {"precision": precision}
    return propagate(z, W, rows, remainder, **options), absorb(z, W, rows, remainder, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_is_near_full_precision(kind):
    z, W, rows, remainder = problem(kind)
    # Each direction has weights of its own, so that their gradients do not cancel.
    sides = np.random.default_rng(2).normal(size=(2, *z.shape)).astype(np.float32)

    def cost(W, z, remainder, precision):
        outs = both_ways(W, z, rows, remainder, precision)
        return sum((a * b).sum() for a, b in zip(sides, outs, strict=True)), outs

    full, half = (
        jax.value_and_grad(cost, argnums=(0, 1, 2), has_aux=True)(W, z, remainder, precision)
        for precision in ("float32", "bfloat16")
    )
    for a, b in zip(*map(jax.tree.leaves, (full, half)), strict=True):
        assert b.dtype == jnp.float32
        # bfloat16 has 8 bits: each factor is off by 2^-9 at most.
        assert np.abs(a - b).max() <= 0.01 * np.abs(a).max()
    # It is used: the results are not those of float32. A full W is propagated by a solve alone.
    (_, (state, noise)), _ = full
    (_, (other_state, other_noise)), _ = half
    assert not np.array_equal(noise, other_noise)
    assert np.array_equal(state, other_state) == (kind == "all")


def test_half_precision_rounds_factors_and_sums_in_full():
    z, W, rows, _ = problem("regulators")
    rounded = [np.asarray(a.astype(jnp.bfloat16), np.float64) for a in (z[:, rows], W)]
    expected = np.asarray(z, float) - rounded[0] @ rounded[1]
    found = absorb(z, W, rows, precision="bfloat16")
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(absorb(z, W, rows) - expected).max() > 1e-4


@pytest.mark.parametrize("size", [(1, 5, 20), (50, 5, 20), (64, 40, 90), (100, 90, 90)])
def test_half_precision_runs_at_every_size(size):
    """Backends choose their kernels by size, and not all of them know bfloat16."""
    n_cells, n_rows, n_genes = size
    rng = np.random.default_rng(0)
    u = jnp.asarray(rng.normal(size=(n_cells, n_genes)), jnp.float32)
    W = jnp.asarray(rng.normal(0, 0.1, (n_rows, n_genes)), jnp.float32)
    rows = jnp.arange(n_rows)
    half, full = (
        jax.jit(partial(absorb, precision=precision))(u, W, rows)
        for precision in ("bfloat16", "float32")
    )
    np.testing.assert_allclose(half, full, atol=0.02 * float(jnp.abs(full).max()))
    assert not np.array_equal(half, full)


def equations(jaxpr):
    """Yield the operations of a program, those of its inner programs included."""
    for eqn in jaxpr.eqns:
        yield eqn
        for part in jax.tree.leaves(list(eqn.params.values()), is_leaf=_is_program):
            if _is_program(part):
                yield from equations(getattr(part, "jaxpr", part))


def _is_program(value) -> bool:
    return hasattr(value, "eqns") or hasattr(value, "jaxpr")


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_is_kept_out_of_solves_and_sums(kind):
    z, W, rows, remainder = problem(kind)

    def cost(W, z, remainder):
        return sum(out.sum() for out in both_ways(W, z, rows, remainder, precision="bfloat16"))

    program = jax.make_jaxpr(jax.value_and_grad(cost, argnums=(0, 1, 2)))(W, z, remainder)
    halves, solves = [], 0
    for eqn in equations(program.jaxpr):
        types = {str(v.aval.dtype) for v in (*eqn.invars, *eqn.outvars) if hasattr(v, "aval")}
        name = eqn.primitive.name
        solves += name in ("lu", "triangular_solve")
        if "bfloat16" in types:
            halves.append(name)
            if name == "dot_general":
                assert {str(v.aval.dtype) for v in eqn.invars} == {"bfloat16"}
                assert str(eqn.outvars[0].aval.dtype) == "float32"
    assert solves >= 2
    # Values are rounded, multiplied, and nothing else: three products where W is multiplied by.
    assert set(halves) <= {"convert_element_type", "dot_general", "pjit", "jit", "transpose"} | {
        "custom_vjp_call",
        "custom_vjp_call_jaxpr",
    }
    assert halves.count("dot_general") == (3 if kind == "all" else 6)


@pytest.mark.slow
def test_half_precision_finds_the_same_network():
    settings = SimulationConfig(
        genes=20, regulators=5, cells=200, mean_in_degree=2, link="linear", dropout=0.0, shared=0.0
    )
    easy = simulate(settings, seed=0)
    weights, scores = [], []
    for precision in ("float32", "bfloat16"):
        config = converged(hidden=8, knots=0, epochs=100, batch_size=50, precision=precision)
        fitted = fit(easy.data, Normal(0.1), config=config)
        weights.append(fitted.weight[0].ravel())
        scores.append(evaluate(edges(network(fitted)), easy.network)["auprc"])
    assert not np.array_equal(*weights)
    assert spearmanr(*np.abs(weights)).statistic > 0.95
    assert scores[0] > 0.5
    assert abs(scores[0] - scores[1]) < 0.02
