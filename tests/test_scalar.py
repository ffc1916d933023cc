import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random
from jax.test_util import check_grads

from infosem_jax.grn.scalar import GRID, ScalarNetwork, evaluate
from infosem_jax.grn.scalar import tabulate as tabulate_eagerly

tabulate = jax.jit(tabulate_eagerly, static_argnums=0, static_argnames=("knots", "grid"))


def network(outputs: int, *, offset: bool = True, hidden: int = 128, seed: int = 0):
    module = ScalarNetwork(hidden, outputs, offset=offset)
    return module, jax.jit(module.init)(random.key(seed), jnp.zeros(1))


def normal(shape, seed: int = 1, scale: float = 2.0):
    return scale * random.normal(random.key(seed), shape)


@pytest.mark.parametrize("outputs", [1, 2])
def test_table_equals_the_network_inside_the_grid(outputs):
    module, params = network(outputs)
    x = jnp.clip(normal((64, 200)), *GRID)
    direct, table = [
        jax.jit(lambda x, k=k: evaluate(lambda s: module.apply(params, s), x, k))(x)
        for k in (0, 256)
    ]
    assert direct.shape == table.shape == (outputs, 64, 200)
    np.testing.assert_allclose(table, direct, atol=1e-5)


def test_more_knots_are_closer():
    f = lambda s: jnp.sin(3 * s)[None]
    x = jnp.linspace(*GRID, 1001)
    errors = [float(jnp.abs(tabulate(f, x, knots=k)[0] - jnp.sin(3 * x)).max()) for k in (33, 65)]
    assert errors[1] < errors[0] / 8


def test_table_is_exact_for_cubics():
    f = lambda s: jnp.stack([s**3 - 2 * s, 0.5 * s**2])
    x = jnp.linspace(-2, 2, 101)
    out = tabulate(f, x, knots=3, grid=(-2.0, 2.0))
    np.testing.assert_allclose(out, jax.vmap(f, out_axes=1)(x), atol=1e-5)


def test_parameter_gradients_agree_with_the_network():
    module, params = network(2)
    x, target = normal((64, 200)), normal((2, 64, 200), seed=2)

    def loss(params, knots):
        return ((evaluate(lambda s: module.apply(params, s), x, knots) - target) ** 2).sum()

    gradient = jax.jit(jax.grad(loss), static_argnums=1)
    table, direct = gradient(params, 256), gradient(params, 0)
    for a, b in zip(jax.tree.leaves(table), jax.tree.leaves(direct), strict=True):
        assert float(jnp.linalg.norm(a - b)) < 1e-3 * float(jnp.linalg.norm(b))


def test_input_gradients_agree_with_the_network():
    module, params = network(1)
    x = jnp.clip(normal((64, 200)), *GRID)
    apply = lambda s: module.apply(params, s)
    slope = [jax.jit(jax.grad(lambda x, k=k: evaluate(apply, x, k).sum()))(x) for k in (256, 0)]
    np.testing.assert_allclose(*slope, atol=1e-3 * float(jnp.abs(slope[1]).max()))


def test_gradients_agree_with_finite_differences_of_the_table():
    with jax.enable_x64(True):
        x = jnp.array([-13.2, -3.3, 0.7, 5.1, 14.9])
        scaled = lambda a: lambda s: jnp.stack([jnp.tanh(a * s), a * s])
        f = jax.jit(lambda a, x: tabulate(scaled(a), x, knots=16))
        check_grads(f, (jnp.float64(0.4), x), order=1, modes=["rev"], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("end", [0, 1])
def test_beyond_the_grid_is_a_continuous_straight_line(end):
    f = lambda s: jnp.stack([jnp.tanh(0.1 * s), 0.02 * s**2])
    edge, away = GRID[end], (-1) ** (1 - end)
    x = edge + away * jnp.array([-1e-4, 0.0, 1e-4, 1.0, 2.0, 50.0])
    out = tabulate(f, x, knots=64)
    slope = jax.jvp(f, (jnp.float32(edge),), (jnp.float32(away),))[1]
    np.testing.assert_allclose(out[:, 0], out[:, 1], atol=1e-4)
    np.testing.assert_allclose(out[:, 2], out[:, 1], atol=1e-4)
    np.testing.assert_allclose(out[:, 1], f(jnp.float32(edge)), atol=1e-5)
    steps = jnp.array([1.0, 2.0, 50.0])
    np.testing.assert_allclose(out[:, 3:] - out[:, 1:2], slope[:, None] * steps, rtol=1e-4)


def test_values_at_the_knots_are_exact():
    f = lambda s: jnp.sin(s)[None]
    knots = jnp.linspace(*GRID, 9)
    np.testing.assert_allclose(tabulate(f, knots, knots=9)[0], jnp.sin(knots), atol=2e-6)


def test_vmap_over_networks_equals_a_loop():
    module = ScalarNetwork(16, 2)
    keys = random.split(random.key(0), 3)
    stacked = jax.jit(jax.vmap(lambda key: module.init(key, jnp.zeros(1))))(keys)
    x = normal((3, 5, 4))
    run = jax.jit(lambda params, x: evaluate(lambda s: module.apply(params, s), x, 64))
    loop = [run(jax.tree.map(lambda a, i=i: a[i], stacked), x[i]) for i in range(3)]
    np.testing.assert_allclose(jax.jit(jax.vmap(run))(stacked, x), np.stack(loop), atol=1e-6)


def test_gradient_under_vmap_equals_a_loop():
    x = normal((3, 20))
    scales = jnp.array([0.1, 0.3, 0.5])
    loss = lambda a, x: (tabulate(lambda s: jnp.tanh(a * s)[None], x, knots=32) ** 2).sum()
    one = jax.jit(jax.grad(loss))
    loop = [one(a, xi) for a, xi in zip(scales, x, strict=True)]
    np.testing.assert_allclose(jax.jit(jax.vmap(one))(scales, x), np.stack(loop), rtol=1e-5)


def test_without_offset_the_network_starts_odd():
    x = jnp.linspace(-3, 3, 7)[:, None]
    for offset, odd in ((False, True), (True, False)):
        module, params = network(2, offset=offset)
        out = module.apply(params, x)
        assert bool(jnp.allclose(out, -out[::-1], atol=1e-6)) is odd
