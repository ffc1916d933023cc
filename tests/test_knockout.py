"""Knock-outs in silico: closed forms, the model under `do`, recovery, and what is refused."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from handmade import dataset_of, linear_fit, random_effects
from jax import random
from numpyro import handlers

import infosem_jax
from infosem_jax.data import dataset
from infosem_jax.data.simulate import SimulationConfig, simulate
from infosem_jax.grn import (
    Config,
    activity,
    converged,
    edges,
    exact,
    fit,
    intervention,
    knockout,
    knockouts,
    total_effects,
)
from infosem_jax.grn.model import Batch, model
from infosem_jax.grn.posterior import decode, flat_graph, parameters
from infosem_jax.grn.priors import KnownEdges, Normal
from infosem_jax.grn.states import as_fitted, inferred_states

# Not in the order of their names.
GENES = ("c", "a", "e", "b", "d", "f")
SORTED = tuple(sorted(GENES))


def problem(kind: str, **settings):
    """A linear fit, cells, and the matrix T = (I - W)^-1 by name."""
    rng = np.random.default_rng(0)
    rows = SORTED if kind == "all" else ("b", "d")
    W = random_effects(rows, SORTED, rng)
    full = np.zeros((6, 6))
    full[[SORTED.index(row) for row in rows]] = W
    data = dataset_of(rng.uniform(-2, 2, (40, 6)), GENES, rows)
    return linear_fit(W, GENES, rows, **settings), data, np.linalg.inv(np.eye(6) - full)


@pytest.mark.parametrize("kind", ["all", "regulators"])
@pytest.mark.parametrize("to", ["silenced", 1.5])
@pytest.mark.parametrize("slope", [1.0, -0.5])
def test_shifts_of_a_linear_model_are_those_of_the_closed_form(kind, to, slope):
    fitted, data, T = problem(kind, slope=slope)
    to = to if to == "silenced" else abs(slope) * to
    found = knockouts(fitted, ["d", "b"], data, to=to)
    x = data.x.astype(float)
    for place, gene in enumerate(("d", "b")):
        i = SORTED.index(gene)
        u = x[:, GENES.index(gene)] / slope
        level = x[:, GENES.index(gene)].min() if to == "silenced" else to
        expected = {name: T[i, j] / T[i, i] for j, name in enumerate(SORTED)}
        shift = slope * (level / slope - u.mean()) * np.array([expected[name] for name in GENES])
        np.testing.assert_allclose(found.shift[place], shift, atol=4e-3)
        assert found.level[place] == pytest.approx(level, abs=2e-3)
    assert found.genes == GENES and found.silenced == ("d", "b")


@pytest.mark.parametrize("kind", ["all", "regulators"])
def test_genes_held_together_move_others_as_in_the_closed_form(kind):
    fitted, data, T = problem(kind)
    for to, level in (("silenced", data.x.min(0)), ("halved", (data.x.min(0) + data.x.mean(0)) / 2),
                      ("overexpressed", data.x.max(0))):  # fmt: skip
        found = knockouts(fitted, ["d", "b"], data, to=to, together=True)
        held = [SORTED.index(gene) for gene in ("d", "b")]
        columns = [GENES.index(gene) for gene in ("d", "b")]
        step = (level - data.x.mean(0))[columns]
        shift = step @ np.linalg.solve(T[np.ix_(held, held)], T[held])
        expected = shift[[SORTED.index(gene) for gene in GENES]]
        np.testing.assert_allclose(found.shift[0], expected, atol=8e-3)
        np.testing.assert_allclose(found.shift[0][columns], step, atol=4e-3)
        assert found.silenced == ("d+b",)
    table = knockout(fitted, ["d", "b"], data).set_index("gene")["shift"]
    both = knockouts(fitted, ["d", "b"], data, together=True)
    np.testing.assert_allclose(table[list(GENES)], both.shift[0], atol=1e-6)


def test_cells_of_a_cluster_move_by_their_own_distance():
    fitted, data, T = problem("regulators")
    few = np.argsort(data.x[:, GENES.index("b")])[-10:]
    names = [data.cells[i] for i in few]
    found = knockouts(fitted, ["b"], data, among=names).shift[0]
    column, i = data.x[:, GENES.index("b")], SORTED.index("b")
    step = column.min() - column[few].mean()
    expected = step * T[i] / T[i, i]
    np.testing.assert_allclose(found, expected[[SORTED.index(g) for g in GENES]], atol=4e-3)


@pytest.mark.parametrize("kind", ["all", "regulators"])
def test_total_effects_sum_over_all_paths(kind):
    fitted, _, T = problem(kind, seeds=2)
    found = total_effects(fitted)
    rows = [SORTED.index(gene) for gene in found.regulators]
    expected = T[rows] / np.diag(T)[rows][:, None]
    expected[np.arange(len(rows)), rows] = 0
    place = [SORTED.index(gene) for gene in found.genes]
    np.testing.assert_allclose(found.weight, expected[:, place], atol=1e-5)
    assert set(edges(found).columns) >= {"source", "target", "weight", "sd"}
    with pytest.raises(ValueError, match="at least 2"):
        total_effects(fitted, draws=1)


def test_shifts_and_total_effects_come_together():
    fitted, data, _ = problem("all", seeds=2)
    both = intervention(fitted, ["d", "b"], data, to="halved", draws=3, key=1)
    shifts = knockout(fitted, ["d", "b"], data, to="halved", draws=3, key=1)
    assert both.shifts.equals(shifts)
    np.testing.assert_array_equal(
        both.total.weight, total_effects(fitted, data, draws=3, key=1).weight
    )
    with pytest.raises(ValueError, match="at least 2"):
        intervention(fitted, "d", data, draws=1)


def test_a_level_out_of_reach_is_held_at_the_nearest():
    fitted, data, _ = problem("all")
    found = knockouts(fitted, ["a"], data, to=50.0)
    assert found.level[0] == pytest.approx(data.x.max(), abs=2e-3)


def test_the_order_of_genes_and_cells_does_not_matter():
    fitted, data, _ = problem("all")
    order = np.random.default_rng(1).permutation(6)
    other = data._replace(
        x=data.x[::-1][:, order],
        observed=data.observed[::-1][:, order],
        genes=tuple(GENES[i] for i in order),
        cells=data.cells[::-1],
    )
    a, b = (knockout(fitted, "d", d).set_index("gene")["shift"] for d in (data, other))
    np.testing.assert_allclose(b[a.index], a, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("gated", [False, True])
def test_it_is_the_model_under_do(gated):
    simulation = simulate(SimulationConfig(genes=12, regulators=4, cells=30, mean_in_degree=2), 1)
    edge = KnownEdges(simulation.known) if gated else None
    config = Config(rows="regulators", hidden=4, epochs=4, batch_size=10, start_noise=0.5)
    fitted = fit(simulation.data, Normal(0.5), edge, config=config)
    genes = tuple(sorted(fitted.genes))
    x = as_fitted(fitted, simulation.data)
    x = jnp.asarray(x.x[:, np.argsort(np.asarray(simulation.data.genes))])
    gene = fitted.rows[1]
    found = knockout(fitted, gene, simulation.data).set_index("gene")["shift"]
    at, key = genes.index(gene), random.key(3)
    u = inferred_states(fitted, x, key)
    level = float(knockouts(fitted, [gene], simulation.data).level[0])
    before = run_model(fitted, x, {}, u)
    states = np.linspace(u.min(), u.max(), 4096)
    decoded = np.asarray(decode(fitted, jnp.asarray(states)[:, None])[:, 0])
    silent = run_model(fitted, x, {at: states[np.abs(decoded - level).argmin()]}, u)
    expected = np.asarray((silent - before).mean(0))
    assert np.abs(expected).max() > 1e-2
    np.testing.assert_allclose(found[list(genes)], expected, atol=2e-4)


def run_model(fitted, x, held, u):
    """Mean expression under `do` on the sites effect and z: genes by place held at states."""
    params, graph = parameters(fitted, 0), flat_graph(fitted)
    effect = params["effect_loc"]
    gate = jax.nn.sigmoid(params["logit_loc"]) if "logit_loc" in params else 1.0
    rows = np.asarray(graph.rows)
    W = jnp.where(rows[:, None] == np.arange(x.shape[1]), 0, effect * gate)
    z = u - u[:, rows] @ W
    for at, state in held.items():
        effect, z = effect.at[:, at].set(0.0), z.at[:, at].set(state)
    sites = {"effect": effect, "z": z}
    if "logit_loc" in params:
        sites["logit"] = params["logit_loc"]
    changed = handlers.substitute(handlers.do(model, sites), params)
    batch = Batch(x, None, jnp.ones(len(x), bool), float(len(x)))
    traced = handlers.trace(handlers.seed(changed, random.key(0)))
    return traced.get_trace(batch, graph, config=fitted.config)["x"]["fn"].mean


def test_spread_over_draws_follows_the_posterior():
    # Where only b acts, the response of gene j is W[b, j], whose posterior is known.
    rows, sd = ("b", "d"), 0.05
    W = np.zeros((2, 6))
    W[0, 4:] = [0.3, 0.0]
    fitted = linear_fit(W, GENES, rows, log_scale=np.log(sd))
    fitted.params["effect_log_scale"][:, 1] = -20.0
    _, data, _ = problem("regulators")
    found = knockouts(fitted, ["b"], data, draws=400)
    x = data.x[:, GENES.index("b")]
    step = float(x.mean() - x.min())
    e, f = GENES.index("e"), GENES.index("f")
    np.testing.assert_allclose(found.sd[0, [e, f]], sd * step, rtol=0.15)
    assert found.shift[0, e] == pytest.approx(-0.3 * step, abs=4 * sd * step / 20)
    assert found.probability[0, e] == 1
    assert 0.4 < found.probability[0, f] < 0.65
    again = knockouts(fitted, ["b"], data, draws=400)
    np.testing.assert_array_equal(found.shift, again.shift)


def test_seeds_count_as_draws_and_one_point_has_no_spread():
    fitted, data, _ = problem("all", seeds=3)
    assert not np.isnan(knockouts(fitted, ["a"], data).sd).any()
    fitted.params["effect_loc"][1] *= -1
    spread = knockouts(fitted, ["a"], data)
    only = fitted._replace(diverged=np.array([-1, 4, 7]))
    alone = knockouts(only, ["a"], data)
    assert spread.sd.max() > 0.01
    assert np.isnan(alone.sd).all() and np.isnan(alone.probability).all()
    first, _, _ = problem("all")
    np.testing.assert_allclose(alone.shift, knockouts(first, ["a"], data).shift, atol=1e-6)


def test_without_data_cells_are_drawn_from_the_model():
    fitted, _, T = problem("all")
    found = knockouts(fitted, ["d"], to=0.0, cells=1000)
    i = SORTED.index("d")
    # States have mean zero there, so that holding one at zero moves none.
    assert np.abs(found.shift).max() < 0.2
    low = knockouts(fitted, ["d"], to=-2.0, cells=1000).shift - found.shift
    expected = -2 * T[i] / T[i, i]
    np.testing.assert_allclose(low[0], expected[[SORTED.index(g) for g in GENES]], atol=1e-2)
    assert knockouts(fitted, ["d"], cells=1000).level[0] < -2


def test_the_table_is_sorted_and_public():
    fitted, data, _ = problem("all")
    table = infosem_jax.knockout(fitted, "a", data)
    assert list(table) == ["gene", "shift", "sd", "probability"]
    assert sorted(table["gene"]) == list(SORTED)
    assert (table["shift"].abs().diff().dropna() <= 0).all()
    assert table["gene"][0] == "a"


@pytest.mark.parametrize(
    ("genes", "settings", "message"),
    [
        (["B"], {}, r"B: no gene of this fit.*; did you mean b\?"),
        (["x"], {}, "x: no gene of this fit, which knows 6 genes such as a, b, c"),
        (["a", "b"], {}, "a: acts on no gene in this model, which has rows for 2 of its 6"),
        ([], {}, "at least one gene to silence"),
        (["b"], {"draws": 0}, "at least 1 draw"),
        (["b"], {"cells": 0}, "1 to 1000 cells"),
        (["b"], {"to": np.nan}, "to: expected a finite level or one of silenced.* found nan"),
        (["b"], {"to": "gone"}, "overexpressed, found gone"),
        (["b"], {"among": ["nobody"]}, "among: expected names of cells"),
    ],
)
def test_what_cannot_be_silenced_is_refused(genes, settings, message):
    fitted, data, _ = problem("regulators")
    with pytest.raises(ValueError, match=message):
        knockouts(fitted, genes, data, **settings)


def test_other_data_and_diverged_fits_are_refused():
    fitted, data, _ = problem("regulators")
    with pytest.raises(ValueError, match="expected the 6 genes of the fit"):
        knockout(fitted, "b", data._replace(genes=("a", "b", "c", "d", "e", "x")))
    with pytest.raises(ValueError, match="normalised by zscore, as in the fit; found log1p_cpm"):
        knockout(fitted, "b", data._replace(normalisation="log1p_cpm"))
    with pytest.raises(ValueError, match="every seed diverged"):
        knockout(fitted._replace(diverged=np.array([3])), "b", data)


@pytest.mark.slow
def test_simulated_knock_outs_are_recovered():
    simulation = simulate(
        SimulationConfig(genes=40, regulators=6, cells=400, link="linear", dropout=0.0, shared=0.1),
        2,
    )
    data = simulation.data
    fitted = fit(data, Normal(0.2), config=converged(epochs=80, hidden=16))
    found = knockouts(fitted, data.regulators, data)
    T = np.linalg.inv(np.eye(40) - simulation.effect)
    rows = [data.genes.index(gene) for gene in data.regulators]
    others = np.asarray(data.regulators)[:, None] != np.asarray(data.genes)
    score = partial(np.corrcoef, (-T[rows])[others])
    assert score(found.shift[others])[0, 1] > 0.5


def test_cells_that_were_not_fitted_are_told(caplog):
    """What they would do was a mixture of both, without a word."""
    rng = np.random.default_rng(0)
    first, second = (
        rng.gamma(2.0, 0.2, (200, 8)) @ (np.eye(8) + rng.random((8, 8))) for _ in range(2)
    )
    genes = [f"G{i}" for i in range(8)]
    data, other = (dataset(x, genes, genes[:3], name=n) for x, n in ((first, "a"), (second, "b")))
    fitted = exact.fit(data, config=exact.Config(rows="regulators"))
    order, back = rng.permutation(200), rng.permutation(8)
    turned = dataset(first[order][:, back], [genes[i] for i in back], name="turned",
                     cells=[f"cell{i}" for i in order])  # fmt: skip
    for same in (data, turned):
        knockouts(fitted, ["G0"], same, draws=2)
    assert "not the cells that were fitted" not in caplog.text
    knockouts(fitted, ["G0"], other, draws=2)
    activity(fitted, other)
    assert caplog.text.count("b: these are not the cells that were fitted") == 2
