"""Decoders and guides: the linear-Gaussian model in closed form, and low-rank posteriors."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from jax import random
from numpyro import handlers
from scipy import stats

from infosem_jax.data.dataset import Dataset
from infosem_jax.engine.interrupts import Interrupted
from infosem_jax.engine.saver import Saver
from infosem_jax.grn import linear
from infosem_jax.grn.config import Config
from infosem_jax.grn.edge_guides import sample_edges
from infosem_jax.grn.fitting import fit, fit_many
from infosem_jax.grn.model import Batch, Graph, guide, model, sites
from infosem_jax.grn.objective import InfoSEM, blank
from infosem_jax.grn.posterior import draw_weights
from infosem_jax.grn.prepare import Job
from infosem_jax.grn.priors import KnownEdges, Normal
from infosem_jax.grn.priors.binding import GeneContext, bind
from infosem_jax.grn.result import _gated_moments, moments
from infosem_jax.grn.sem import Remainder

LINEAR = Config(
    rows="regulators",
    decoder="identity",
    latent_prior="standard",
    normalisation="none",
    observation_sd=0.6,
    start="zero",
    phase_networks=0,
    phase_edges=0,
    optimiser="adam",
    rate_edges=2e-2,
    rate_priors=2e-2,
    epochs=400,
    batch_size=1000,
)
GENES = tuple("abcdef")


def graph_of(rows, *, edge=None, scale: float = 0.3, genes=GENES) -> Graph:
    names = tuple(genes[i] for i in rows)
    contexts = [GeneContext(genes, names, 5, site) for site in ("effect", "logit")]
    bound = None if edge is None else bind(edge, contexts[1])
    return Graph(bind(Normal(scale), contexts[0]), bound, jnp.asarray(rows))


def labels() -> pd.DataFrame:
    return pd.DataFrame({"source": ["b", "d"], "target": ["a", "f"], "label": [1, 0]})


def normal_law(mean, covariance) -> Any:
    return stats.multivariate_normal(mean, covariance)


def batch_of(x) -> Batch:
    x = jnp.asarray(x, jnp.float32)
    return Batch(x, None, jnp.ones(len(x), bool), float(len(x)))


def expression(x, regulators, name: str = "data") -> Dataset:
    x = np.asarray(x, np.float32)
    cells = tuple(f"cell{i:03d}" for i in range(len(x)))
    return Dataset(x, x != 0, GENES[: x.shape[1]], cells, tuple(regulators), name)


CASES = {"all": (range(6), 0), "regulators": ((1, 3), 0), "regulators+2": ((1, 3), 2)}


def edges_of(kind: str, seed: int = 0):
    """Return effects, rows, a remainder, and A = I - W by hand."""
    rng = np.random.default_rng(seed)
    rows, rank = CASES[kind]
    rows = np.asarray(rows)
    W = 0.4 * rng.normal(size=(len(rows), 6))
    W[np.arange(len(rows)), rows] = 0
    A = np.eye(6)
    A[rows] -= W
    remainder = None
    if rank:
        source, target = rng.normal(size=(6, rank)), rng.normal(size=(rank, 6))
        A -= source @ target / 6
        remainder = Remainder(jnp.asarray(source / 6), jnp.asarray(target))
    return jnp.asarray(W, jnp.float32), jnp.asarray(rows), remainder, A


@pytest.mark.parametrize("kind", CASES)
def test_noise_is_integrated_out_exactly(kind):
    W, rows, remainder, A = edges_of(kind)
    sd, unit = 0.6, np.eye(6)
    inverse = np.linalg.inv(A)
    x = normal_law(np.zeros(6), inverse.T @ inverse + sd**2 * unit)
    cells = x.rvs(9, random_state=1)
    padded = jnp.asarray(np.vstack([cells, np.zeros((3, 6))]), jnp.float32)
    found = linear.structure(W, rows, remainder)
    np.testing.assert_allclose(found, A, atol=1e-6)
    likelihood = linear.log_likelihood(linear.scatter(padded, 9), found, sd)
    assert float(likelihood) == pytest.approx(x.logpdf(cells).sum(), rel=1e-5)
    # z and x are jointly normal: condition z on x by hand.
    gain = inverse @ np.linalg.inv(inverse.T @ inverse + sd**2 * unit)
    posterior: Any = linear.noise_posterior(jnp.asarray(cells, jnp.float32), found, sd)
    np.testing.assert_allclose(posterior.mean, cells @ gain.T, atol=1e-5)
    expected = unit - gain @ inverse.T
    np.testing.assert_allclose(jnp.squeeze(posterior.covariance_matrix), expected, atol=1e-5)


@pytest.mark.parametrize("kind", CASES)
def test_the_guide_of_the_linear_model_leaves_no_gap(kind):
    """Whatever z is drawn, log p(x, z | W) - log q(z | x, W) is log p(x | W)."""
    config = replace(LINEAR, rows=kind, guide="point")
    rows = CASES[kind][0]
    x = 1.5 * np.random.default_rng(0).normal(size=(7, 6))
    batch, graph = batch_of(x), graph_of(rows)
    W, _, _, A = edges_of(kind)
    given = {"effect_loc": W}
    if kind == "regulators+2":
        rng = np.random.default_rng(0)
        rng.normal(size=W.shape)
        given["remainder/source_loc"] = jnp.asarray(rng.normal(size=(6, 2)))
        given["remainder/target_loc"] = jnp.asarray(rng.normal(size=(2, 6)))

    @jax.jit
    def bounds(keys):
        def one(key):
            posterior = handlers.substitute(handlers.seed(guide, key), given)
            drawn = handlers.trace(posterior).get_trace(batch, graph, config=config)
            declared = handlers.replay(handlers.seed(model, key), drawn)
            made = handlers.trace(declared).get_trace(batch, graph, config=config)
            terms = [made[name]["fn"].log_prob(made[name]["value"]).sum() for name in ("z", "x")]
            return sum(terms) - drawn["z"]["fn"].log_prob(drawn["z"]["value"]).sum()

        return jax.vmap(one)(keys)

    inverse = np.linalg.inv(A)
    covariance = inverse.T @ inverse + LINEAR.observation_sd**2 * np.eye(6)
    exact = normal_law(np.zeros(6), covariance).logpdf(x).sum()
    np.testing.assert_allclose(bounds(random.split(random.key(0), 5)), exact, rtol=1e-4)


def test_the_identity_has_no_parameters():
    graph = graph_of((1, 3), edge=KnownEdges(labels()))
    found = sites(batch_of(np.ones((4, 6))), graph, config=LINEAR)
    assert {name for name, site in found.items() if site.kind == "sample"} == {
        "effect",
        "logit",
        "z",
    }
    assert not any(site.kind == "param" for site in found.values())
    network_too = sites(blank(6), graph, config=replace(LINEAR, decoder="network", knots=0))
    assert network_too["decoder$params"].kind == "param"
    learned = sites(blank(6), graph, config=replace(LINEAR, latent_prior="learned"))
    assert learned["latent$params"].kind == "param"


def test_expression_is_the_state_with_the_identity():
    traced = handlers.trace(handlers.seed(model, random.key(0)))
    made = traced.get_trace(batch_of(np.ones((4, 6))), graph_of((1, 3)), config=LINEAR)
    W = np.zeros((6, 6))
    W[[1, 3]] = made["effect"]["value"]
    np.fill_diagonal(W, 0)
    state = np.asarray(made["z"]["value"]) @ np.linalg.inv(np.eye(6) - W)
    np.testing.assert_allclose(made["x"]["fn"].mean, state, atol=1e-5)
    np.testing.assert_allclose(made["x"]["fn"].variance, 0.36, rtol=1e-5)


@pytest.mark.parametrize("latent_prior", ["standard", "learned"])
def test_an_encoder_is_learned_only_where_it_is_needed(latent_prior):
    config = replace(LINEAR, latent_prior=latent_prior, hidden=3, knots=0)
    names = set()

    def start(graph):
        drawn = handlers.trace(handlers.seed(guide, random.key(0)))
        sites = drawn.get_trace(blank(6), graph, config=config)
        names.update(name for name, site in sites.items() if site["type"] == "param")

    jax.eval_shape(start, graph_of((1, 3)))
    encoder = {"encoder$params"} if latent_prior == "learned" else set()
    assert names == {"effect_loc", *encoder}


def low_rank(seed: int = 0):
    """Return parameters of a low-rank guide over effects and logits, [2, 3], rank 2."""
    rng = np.random.default_rng(seed)
    params = {}
    for name in ("effect", "logit"):
        params[f"{name}_loc"] = jnp.asarray(rng.normal(size=(2, 3)), jnp.float32)
        params[f"{name}_log_scale"] = jnp.asarray(rng.normal(-0.5, 0.3, (2, 3)), jnp.float32)
        params[f"{name}_factor"] = jnp.asarray(rng.normal(size=(2, 3, 2)), jnp.float32)
    loc, log_scale, factor = (
        np.concatenate(
            [np.asarray(params[f"{name}_{part}"]).reshape(6, -1) for name in ("effect", "logit")]
        )
        for part in ("loc", "log_scale", "factor")
    )
    factor = np.exp(log_scale) * factor
    return params, loc[:, 0], factor @ factor.T + np.diag(np.exp(2 * log_scale[:, 0]))


def declare_low_rank():
    config, start = replace(LINEAR, guide="lowrank", low_rank=2), lambda key: jnp.zeros((2, 3))
    _, factors = sample_edges("effect", start, 0.1, config)
    sample_edges("logit", start, 1.0, config, factors=factors)


@partial(jax.jit, static_argnames="number")
def draw_low_rank(params, number: int):
    def one(key):
        seeded = handlers.seed(handlers.substitute(declare_low_rank, params), key)
        made = handlers.trace(seeded).get_trace()
        drawn = [made[name] for name in ("effect", "logit")]
        values = jnp.concatenate([site["value"].ravel() for site in drawn])
        return values, sum(site["fn"].log_prob(site["value"]) for site in drawn)

    return jax.vmap(one)(random.split(random.key(1), number))


def test_effects_and_logits_are_jointly_normal():
    params, mean, covariance = low_rank()
    values, log_probs = map(np.asarray, draw_low_rank(params, 20_000))
    joint = normal_law(mean, covariance)
    np.testing.assert_allclose(log_probs[:50], joint.logpdf(values[:50]), rtol=1e-3, atol=1e-3)
    # Standard errors: sqrt(C_ii / n), and at most sqrt(2 C_ii C_jj / n); both taken five times.
    sd = np.sqrt(np.diag(covariance))
    assert (np.abs(values.mean(0) - mean) < 5 * sd / 20_000**0.5).all()
    error = np.abs(np.cov(values.T) - covariance)
    assert (error < 5 * np.outer(sd, sd) * (2 / 20_000) ** 0.5).all()
    assert np.abs(covariance[:6, 6:]).max() > 0.5


@pytest.mark.parametrize(("spread", "correlation"), [(1.3, 0.8), (1.3, 0.0), (0.7, -0.9), (0, 0)])
def test_moments_of_gated_effects(spread, correlation):
    rng = np.random.default_rng(0)
    t, s = rng.normal(size=(2, 400_000))
    effect = 0.4 + 0.5 * (correlation * t + np.sqrt(1 - correlation**2) * s)
    gate = 1 / (1 + np.exp(-(0.3 + spread * t)))
    given = (jnp.float32(v) for v in (0.4, 0.5, 0.3, spread, correlation))
    found = [float(v) for v in _gated_moments(*given)]
    expected = [(effect * gate).mean(), (effect * gate).std(), gate.mean()]
    np.testing.assert_allclose(found, expected, atol=4e-3)


TWIN = replace(LINEAR, guide="lowrank", low_rank=3, epochs=800)


def collinear(cells: int = 60) -> Dataset:
    """Return two regulators that are nearly one, and their target."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=cells)
    a, b = (1.6 * shared + 0.25 * rng.normal(size=cells) for _ in range(2))
    c = 0.4 * a + 0.4 * b + rng.normal(size=cells)
    return expression(np.column_stack([a, b, c]), "ab")


def correlation_of(fitted, effects=((0, 2), (1, 2))) -> float:
    draws = np.asarray(draw_weights(fitted, random.key(0), draws=1000))
    one, other = (draws[:, i, j] for i, j in effects)
    return float(np.corrcoef(one, other)[0, 1])


@pytest.mark.slow
def test_low_rank_finds_the_correlation_that_mean_field_cannot():
    """Data say what the effects of twin regulators add up to, not how they share it."""
    data = collinear()
    fits = {
        name: fit(data, Normal(0.5), config=replace(TWIN, guide=name), seeds=2)
        for name in ("lowrank", "normal")
    }
    found = {name: correlation_of(fitted) for name, fitted in fits.items()}
    # Draws of independent effects: five standard errors.
    assert abs(found["normal"]) < 5 / 1000**0.5
    assert found["lowrank"] < -0.5
    # Mean-field takes the spread along the ridge for that across it.
    assert (fits["lowrank"].sd[:, :, 2] > 1.15 * fits["normal"].sd[:, :, 2]).all()


def test_moments_of_a_low_rank_posterior_are_those_of_its_draws():
    params, _, _ = low_rank()
    values = np.asarray(draw_low_rank(params, 20_000)[0]).reshape(-1, 2, 2, 3)
    effect, gate = values[:, 0], 1 / (1 + np.exp(-values[:, 1]))
    W = effect * gate
    names = pd.DataFrame({"source": ["b"], "target": ["a"], "label": [1]})
    graph = graph_of((1, 2), edge=KnownEdges(names), genes=GENES[:3])
    trained = InfoSEM(replace(LINEAR, guide="lowrank", low_rank=2))
    several = jax.tree.map(lambda leaf: leaf[None], params)
    found = jax.tree.map(lambda leaf: leaf[0], moments(trained, several, graph, np.array([1, 0])))
    away = np.array([[1, 1, 0], [1, 0, 1]], bool)
    draws = W[:, ::-1][:, away]
    # Five standard errors.
    assert (np.abs(draws.mean(0) - found.weight[away]) < 5 * draws.std(0) / 20_000**0.5).all()
    np.testing.assert_allclose(draws.std(0), found.sd[away], rtol=0.05)
    np.testing.assert_allclose(gate.mean(0)[::-1], found.probability, atol=0.02)
    np.testing.assert_allclose((effect > 0).mean(0)[::-1], found.positive, atol=0.02)
    assert (found.weight[~away] == 0).all() and (found.sd[~away] == 0).all()


def alike(one, other) -> bool:
    parts = [(f.weight, f.sd, f.positive, f.losses, f.params) for f in (one, other)]
    return all(
        np.asarray(x).tobytes() == np.asarray(y).tobytes()
        for x, y in zip(*map(jax.tree.leaves, parts), strict=True)
    )


@pytest.mark.slow
def test_low_rank_fits_of_a_grid_are_those_made_alone(tmp_path):
    config = replace(TWIN, epochs=12)
    made = {name: collinear(cells)._replace(name=name) for name, cells in (("a", 55), ("b", 60))}
    grid = dict(fit_many(made, {"": Normal(0.3)}, configs=config, seeds=2))
    alone = fit(made["b"], Normal(0.3), config=config, seeds=2)
    fitted = grid[Job("b", "", "")]
    np.testing.assert_allclose(fitted.weight, alone.weight, rtol=1e-3, atol=1e-5)
    assert np.abs(fitted.weight[0] - fitted.weight[1]).max() > 1e-4
    assert fitted.params["effect_factor"].shape == (2, 2, 3, 3)
    # Stopped after the first chunk, training goes on to the same bits.
    stopped = Saver(tmp_path, {}, stop=lambda: True)
    with pytest.raises(Interrupted):
        fit(made["b"], Normal(0.3), config=config, seeds=2, saver=stopped)
    again = fit(
        made["b"], Normal(0.3), config=config, seeds=2, saver=Saver(tmp_path, {}, resume=True)
    )
    assert alike(again, alone)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("low_rank", 0, "positive"),
        ("nuts_warmup", 0, "positive"),
        ("nuts_draws", -1, "positive"),
        ("nuts_unknowns", 0, "positive"),
    ],
)
def test_bad_settings_are_refused(field, value, message):
    with pytest.raises(ValueError, match=rf"^{field}: expected {message}"):
        Config(**{field: value})
