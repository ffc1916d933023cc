"""The model and the guide as plain NumPyro functions, see `infosem_jax.grn.raw`."""

import re
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
import pandas as pd
import pytest
from jax import random
from numpyro import handlers
from numpyro.infer import MCMC, NUTS, Predictive
from numpyro.infer.inspect import get_model_relations
from numpyro.infer.util import log_density
from prior_table import OWN

from infosem_jax import grn
from infosem_jax.data import normalise, simulate

SIZES = simulate.SimulationConfig(genes=12, regulators=4, cells=60)
CONFIG = grn.converged(hidden=8, guide="normal", epochs=4, rate_edges=1e-2, rate_networks=1e-2)
LINEAR = replace(CONFIG, decoder="identity", latent_prior="standard", absorbed="location")
REGRESSION = grn.exact.Config(rows="regulators")
PRIOR = grn.priors.Normal(0.2)


@pytest.fixture(scope="module")
def data():
    return simulate.simulate(SIZES, seed=0).data


@pytest.fixture(scope="module")
def raw(data):
    return grn.raw(data, PRIOR, config=LINEAR)


@pytest.fixture(scope="module")
def params(raw):
    return raw.svi.run(random.key(0), 500, *raw.args, **raw.kwargs, progress_bar=False).params


def test_names_are_carried_with_the_arrays(data, raw):
    order = [data.genes.index(gene) for gene in raw.genes]
    cells = [data.cells.index(cell) for cell in raw.cells]
    z = data.x[np.ix_(cells, order)]
    z = (z - z.mean(0)) / z.std(0)
    np.testing.assert_allclose(raw.args[0], z, atol=1e-4)
    assert set(raw.rows) == set(data.regulators)


def test_prior_predictive_draws_expression(raw):
    drawn = Predictive(raw.model, num_samples=40)(random.key(0))
    assert drawn["x"].shape == (40, *raw.args[0].shape)
    assert Predictive(raw.model, num_samples=1)(random.key(0), cells=3)["x"].shape[1] == 3
    # Effects are drawn from their prior, not from anything that has seen data.
    off = np.arange(len(raw.genes)) != np.array([raw.genes.index(r) for r in raw.rows])[:, None]
    assert abs(np.asarray(drawn["effect"])[:, off].std() - 0.2) < 0.02


def test_posterior_predictive_draws_are_not_the_data(raw, params):
    draw = Predictive(raw.model, guide=raw.guide, params=params, num_samples=3)
    x = np.asarray(raw.args[0])
    first, again, other = (
        np.asarray(draw(key)["x"]) for key in (random.key(1), random.key(1), random.key(2))
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).min(axis=(0, 1)).max() > 0
    correlation = np.corrcoef(first[0].ravel(), x.ravel())[0, 1]
    assert 0.3 < correlation < 0.99
    # With the data, NumPyro observes them, and says so by returning them.
    observed = draw(random.key(1), *raw.args)
    np.testing.assert_allclose(np.asarray(observed["x"]), np.broadcast_to(x, first.shape))


def test_training_by_hand_lowers_the_loss_of_a_fit(data, raw, params):
    """Parameters have the names and the meaning that those of a fit have."""
    fitted = grn.fit(data, PRIOR, config=LINEAR)
    assert {k: v[0].shape for k, v in fitted.params.items()} == {
        k: v.shape for k, v in params.items()
    }
    by_hand, of_fit = (
        float(raw.svi.loss.loss(random.key(5), each, raw.model, raw.guide, *raw.args))
        for each in (params, fitted.raw(data, PRIOR).params)
    )
    assert by_hand < of_fit
    size = raw.args[0].size
    np.testing.assert_allclose(of_fit / size, fitted.losses.train[0, -1], rtol=0.1)


@pytest.mark.slow
def test_a_fit_opens_with_its_parameters(data):
    labels = pd.DataFrame({"source": [data.regulators[0]], "target": [data.genes[-1]]})
    edge = grn.priors.KnownEdges(labels)
    fitted = grn.fit(data, PRIOR, edge, config=replace(CONFIG, guide="point"), seeds=2)
    raw = fitted.raw(data, PRIOR, edge, seed=1)
    draw = Predictive(raw.guide, params=raw.params, num_samples=2)(random.key(0))
    np.testing.assert_allclose(draw["effect"][0], fitted.params["effect_loc"][1])
    replicated = Predictive(raw.model, guide=raw.guide, params=raw.params, num_samples=2)
    assert np.isfinite(replicated(random.key(0))["x"]).all()
    with pytest.raises(ValueError, match="expected the edge prior of the fit, which has one"):
        fitted.raw(data, PRIOR)
    with pytest.raises(ValueError, match=r"one of the sound seeds \(0, 1\), found 2"):
        fitted.raw(data, PRIOR, edge, seed=2)


def test_handlers_see_an_ordinary_model(raw):
    relations = get_model_relations(raw.model, raw.args)
    assert relations["sample_sample"]["x"] == ["effect", "z"]
    assert relations["observed"] == ["x"]
    silenced = handlers.do(raw.model, {"effect": jnp.zeros((len(raw.rows), len(raw.genes)))})
    with handlers.seed(rng_seed=0):
        trace = handlers.trace(silenced).get_trace(cells=500)
    # Without effects, genes vary on their own: noise of each gene and of its measurement.
    np.testing.assert_allclose(trace["x"]["value"].var(), 1 + 0.5, rtol=0.05)


def test_posteriors_are_of_the_cells_of_the_data(raw):
    with pytest.raises(ValueError, match="as many cells as the data have, 60"):
        raw.guide(cells=3)


@pytest.mark.slow
def test_nuts_of_numpyro_agrees_with_guide_nuts():
    sizes = replace(SIZES, genes=5, regulators=3, cells=12, mean_in_degree=1)
    data = simulate.simulate(sizes, seed=1).data
    linear = replace(LINEAR, guide="nuts", nuts_warmup=300, nuts_draws=800, epochs=2)
    ours = grn.fit(data, PRIOR, config=linear).params["draws"]["effect"][0]
    raw = grn.raw(data, PRIOR, config=linear)
    sampler = NUTS(raw.model, max_tree_depth=6)
    chain = MCMC(sampler, num_warmup=300, num_samples=800, progress_bar=False)
    chain.run(random.key(0), *raw.args)
    theirs = np.asarray(chain.get_samples()["effect"])
    off = np.array(raw.genes) != np.array(raw.rows)[:, None]
    spread = theirs.std(0)[off]
    assert np.abs((ours.mean(0) - theirs.mean(0))[off] / spread).max() < 0.3
    np.testing.assert_allclose(ours.std(0)[off], spread, rtol=0.2)


@pytest.fixture(scope="module")
def collapsed(data):
    similar = grn.priors.GeneSimilarity(simulate.simulate(SIZES, seed=0).embedding)
    return similar, grn.raw(data, similar, config=REGRESSION)


def test_the_density_of_the_exact_engine_is_the_evidence(data):
    raw = grn.raw(data, config=REGRESSION)
    fitted = grn.fit(data, config=replace(REGRESSION, r2=0.3))
    density, _ = log_density(raw.model, raw.args, {}, {"r2": jnp.asarray(0.3)})
    assert float(density) == pytest.approx(fitted.log_evidence.sum(), rel=1e-5)


@pytest.mark.slow
def test_effects_and_cells_are_drawn_from_the_exact_posterior(data, collapsed):
    prior, raw = collapsed
    fitted = grn.fit(data, prior, config=REGRESSION)
    params = raw.svi.run(random.key(0), 60, *raw.args, progress_bar=False).params
    assert float(params["r2_auto_loc"]) == pytest.approx(float(fitted.learned["r2"]), abs=0.02)
    draw = Predictive(raw.guide, params=params, num_samples=400)
    effect = np.asarray(draw(random.key(1))["effect"])
    row = [fitted.regulators.index(name) for name in raw.rows]
    gene = [fitted.genes.index(name) for name in raw.genes]
    weight, sd = (part[np.ix_(row, gene)] for part in (fitted.weight, fitted.sd))
    off = sd > 0
    # Means of 400 draws, four standard errors; another r2 by 0.02 moves weights by less.
    assert np.abs((effect.mean(0) - weight)[off] / sd[off]).max() < 4 / 400**0.5 + 0.05
    np.testing.assert_allclose((effect.std(0)[off] / sd[off]).mean(), 1, atol=0.03)

    predictive = Predictive(raw.model, guide=raw.guide, params=params, num_samples=3)
    one, other = (np.asarray(predictive(random.key(i))["x"]) for i in (1, 2))
    cells = [data.cells.index(cell) for cell in raw.cells]
    x = normalise(data).x[np.ix_(cells, gene)]
    assert one.shape == (3, *x.shape) and np.abs(one - other).max() > 0.1
    assert 0.1 < np.corrcoef(one[0].ravel(), x.ravel())[0, 1] < 0.95
    before = Predictive(raw.model, num_samples=3)(random.key(3))
    assert set(before) >= {"r2", "slope", "variance", "effect", "x"}


def test_an_exact_fit_opens_with_its_hyper_parameters(data, collapsed):
    """Effects that the guide draws are those of the fit, whatever the order of the data."""
    prior, _ = collapsed
    fitted = grn.fit(data, prior, config=REGRESSION)
    back = np.arange(len(data.genes))[::-1]
    turned = data._replace(
        x=data.x[:, back],
        observed=data.observed[:, back],
        genes=data.genes[::-1],
        regulators=data.regulators[::-1],
    )
    raw = fitted.raw(turned, prior)
    assert (raw.genes, raw.rows) == (fitted.genes, fitted.rows)
    draw = Predictive(raw.guide, params=raw.params, num_samples=400)(random.key(0))
    np.testing.assert_allclose(draw["r2"], fitted.learned["r2"], rtol=1e-6)
    np.testing.assert_allclose(draw["slope"], fitted.learned["slope"], rtol=1e-6)
    effect, off = np.asarray(draw["effect"]), fitted.sd > 0
    assert np.abs((effect.mean(0) - fitted.weight)[off] / fitted.sd[off]).max() < 4 / 400**0.5
    assert float(np.var(draw["variance"], axis=0).min()) > 0
    with pytest.raises(ValueError, match=r"learned \['r2', 'slope'\], found one .* \['r2'\]"):
        fitted.raw(data)
    with pytest.raises(ValueError, match="expected the 12 genes of the fit"):
        fitted.raw(turned._replace(genes=tuple(f"other {gene}" for gene in turned.genes)), prior)


@pytest.mark.slow
def test_an_exact_fit_opens_with_the_draws_and_parameters_that_it_kept(data):
    sampled = replace(REGRESSION, hyper="nuts", warmup=30, draws=40)
    fitted = grn.fit(data, config=sampled)
    draw = Predictive(fitted.raw(data).guide, params=fitted.raw(data).params, num_samples=20)
    r2 = np.asarray(draw(random.key(0))["r2"])
    assert np.isin(r2, fitted.learned["r2"]).all() and len(np.unique(r2)) > 5
    learned = grn.fit(data, OWN["Flax module"](0, "g"), config=REGRESSION)
    raw = learned.raw(data, OWN["Flax module"](0, "g"))
    assert "effect_prior/of_pair$params" in raw.params
    density, _ = log_density(
        raw.model, raw.args, {}, raw.params | {"r2": raw.params["r2_auto_loc"]}
    )
    assert float(density) == pytest.approx(learned.log_evidence.sum(), rel=1e-5)
    known = grn.fit(data, config=replace(REGRESSION, r2=0.3)).raw(data)
    assert known.params == {}
    assert Predictive(known.guide, num_samples=2)(random.key(0))["effect"].shape == (2, 4, 12)


@pytest.mark.parametrize(
    ("priors", "message"),
    [
        ((dist.Laplace(0.0, 0.1),), "one scale for all pairs.*found a scale mixture"),
        ((grn.priors.GeneScales(),), "one scale for all pairs.*scales that differ"),
        ((None, dist.Normal(0.0, 1.0)), "no edge prior, which has a part in the scores"),
    ],
)
def test_what_is_not_integrated_out_is_refused(data, priors, message):
    with pytest.raises(ValueError, match=message):
        grn.raw(data, *priors, config=REGRESSION)


def test_recipes_of_the_page_are_short():
    page = Path(__file__).parent.parent / "docs/notebooks/numpyro.md"
    imports, *recipes = re.findall(r"```\{code-cell\}.*?\n(.*?)```", page.read_text(), re.DOTALL)
    assert "import numpyro" in imports and len(recipes) > 10
    assert max(len(re.findall(r"^.*\S", recipe, re.MULTILINE)) for recipe in recipes) <= 10


def test_any_optax_transformation_trains(data):
    """At the rates of the settings, an optimiser of optax is that of the same name."""
    joint = replace(LINEAR, rate_networks=1e-2, rate_edges=1e-2)
    named = grn.fit(data, PRIOR, config=replace(joint, optimiser="adam"))
    own = grn.fit(data, PRIOR, config=replace(joint, optimiser=optax.adam(1e-2)))
    np.testing.assert_allclose(own.weight, named.weight, atol=1e-5)
    clipped = optax.chain(optax.clip_by_global_norm(1e-6), optax.sgd(1.0))
    still = grn.fit(data, PRIOR, config=replace(joint, optimiser=clipped))
    assert np.abs(still.weight).max() < 1e-3 < np.abs(own.weight).max()


def test_an_own_optimiser_is_recorded(data, tmp_path):
    own = replace(LINEAR, optimiser=optax.adam(1e-2), epochs=1)
    fitted = grn.fit(data, PRIOR, config=own)
    grn.save(tmp_path / "fit.npz", fitted)
    loaded = grn.load(tmp_path / "fit.npz")
    assert loaded.config == replace(own, optimiser="own", normalisation="zscore")
    jax.tree.map(np.testing.assert_array_equal, loaded.params, fitted.params)
    with pytest.raises(ValueError, match="own is the record of an optimiser"):
        grn.fit(data, PRIOR, config=loaded.config)
