from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
import pandas as pd
import pytest
from jax import random
from numpyro import handlers
from numpyro.infer import MCMC, NUTS, SVI, Predictive, Trace_ELBO, TraceMeanField_ELBO
from scipy import stats

from infosem_jax.data.io import Embedding
from infosem_jax.grn.config import Config
from infosem_jax.grn.model import Batch, Graph, Weights, guide, model
from infosem_jax.grn.priors import GeneEmbedding, KnownEdges, Normal
from infosem_jax.grn.priors.binding import GeneContext, bind
from infosem_jax.grn.sem import propagate, weight_matrix

GENES = tuple("abcdef")
TINY = Config(hidden=4, knots=0, latent_prior="standard")


def batch_of(cells: int = 5, genes: int = 6, seed: int = 0, total: float | None = None) -> Batch:
    rng = np.random.default_rng(seed)
    x = jnp.asarray(rng.normal(size=(cells, genes)), jnp.float32)
    observed = jnp.asarray(rng.random((cells, genes)) < 0.7)
    return Batch(x, observed, jnp.ones(cells, bool), float(total or cells))


def graph_of(rows=(1, 3), *, effect=None, edge=None, genes=GENES) -> Graph:
    names = tuple(genes[i] for i in rows)
    contexts = [GeneContext(genes, names, 5, site) for site in ("effect", "logit")]
    return Graph(
        bind(effect or Normal(0.2), contexts[0]),
        None if edge is None else bind(edge, contexts[1]),
        jnp.array(rows),
    )


def labels() -> pd.DataFrame:
    return pd.DataFrame({"source": ["b", "d"], "target": ["a", "f"], "label": [1, 0]})


def sites_of(function, *args, data=None, config: Config) -> dict:
    """Run a model or guide with some sites and parameters given, and return what its sites hold."""
    kinds = {}

    @jax.jit
    def run(args, data):
        given = handlers.substitute(partial(function, config=config), data)
        trace = handlers.trace(handlers.seed(given, random.key(0))).get_trace(*args)
        sites = {k: v for k, v in trace.items() if v["type"] in ("sample", "param")}
        for name, site in sites.items():
            kinds[name] = {k: site.get(k) for k in ("type", "is_observed")}
        return {
            name: {"value": v["value"], "scale": v["scale"], "mean": mean_of(v.get("fn"))}
            for name, v in sites.items()
        }

    return {name: {**kinds[name], **held} for name, held in run(args, data or {}).items()}


def mean_of(distribution):
    """Return the location of what is normal under masks and event dimensions, else None."""
    while hasattr(distribution, "base_dist"):
        distribution = distribution.base_dist
    return distribution.loc if isinstance(distribution, dist.Normal) else None


def latent(sites: dict) -> set[str]:
    return {k for k, v in sites.items() if v["type"] == "sample" and not v["is_observed"]}


def observed(sites: dict) -> set[str]:
    return {k for k, v in sites.items() if v["type"] == "sample" and v["is_observed"]}


@pytest.mark.parametrize(
    ("edge", "rows", "expected", "data"),
    [
        (None, "regulators", {"effect", "z"}, {"x"}),
        (KnownEdges(labels()), "regulators", {"effect", "logit", "z"}, {"x"}),
        (
            KnownEdges(labels(), observe=True),
            "regulators+2",
            {"effect", "logit", "z", "remainder/source", "remainder/target"},
            {"x", "logit_prior/known_edges"},
        ),
    ],
)
@pytest.mark.parametrize("kind", ["point", "normal"])
def test_sites_of_model_and_guide(edge, rows, expected, data, kind):
    config = Config(rows=rows, hidden=4, knots=8, guide=kind)
    sites = sites_of(model, batch_of(), graph_of(edge=edge), config=config)
    assert latent(sites) == expected
    assert observed(sites) == data
    posterior = sites_of(guide, batch_of(), graph_of(edge=edge), config=config)
    assert latent(posterior) == expected
    shapes = {name: sites[name]["value"].shape for name in expected}
    assert shapes == {name: posterior[name]["value"].shape for name in expected}
    assert shapes["effect"] == (2, 6)
    assert shapes["z"] == (5, 6)
    for leaf in jax.tree.leaves(
        [[site["value"] for site in s.values()] for s in (sites, posterior)]
    ):
        assert np.isfinite(leaf).all()


def test_what_a_prior_declares_is_under_its_name():
    names = GENES[:5]
    vectors = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    graph = graph_of(effect=GeneEmbedding(Embedding(names, vectors), hidden=3, rank=2))
    sites = sites_of(model, batch_of(), graph, config=TINY)
    params = {name for name, site in sites.items() if site["type"] == "param"}
    assert params == {
        "decoder$params",
        "effect_prior/regulator_role$params",
        "effect_prior/target_role$params",
    }


def test_batch_stands_for_all_cells():
    graph = graph_of()
    batch = batch_of(total=40.0)._replace(real=jnp.array([True, True, True, True, False]))
    weights = Weights(z=0.5, effect=0.25)
    sites = sites_of(model, batch, graph, weights, config=TINY)
    assert float(sites["z"]["scale"]) == pytest.approx(40 / 4 * 0.5)
    assert float(sites["effect"]["scale"]) == pytest.approx(0.25)
    share = float(batch.observed[:4].mean())
    assert float(sites["x"]["scale"]) == pytest.approx(40 / 4 / share, rel=1e-5)
    guided = sites_of(guide, batch, graph, weights, config=TINY)
    for name in ("z", "effect"):
        assert float(guided[name]["scale"]) == pytest.approx(float(sites[name]["scale"]))


def unknown_scale(context: GeneContext) -> dist.Distribution:
    return dist.Normal(0.0, numpyro.sample("scale", dist.HalfNormal(1.0)))


@pytest.mark.parametrize("rows", ["regulators", "regulators+2"])
@pytest.mark.parametrize("edge", [None, KnownEdges(labels()), unknown_scale])
@pytest.mark.parametrize("effect", [Normal(0.2), unknown_scale])
def test_guide_follows_the_model_for_the_mean_field_bound(rows, edge, effect):
    """NumPyro warns, which is an error here, where sites come in another order."""
    config = Config(rows=rows, hidden=4, knots=0, guide="point")
    svi = SVI(model, guide, optax.identity(), TraceMeanField_ELBO())

    def loss(batch, graph):
        state = svi.init(random.key(0), batch, graph, config=config)
        return svi.evaluate(state, batch, graph, config=config)

    assert jax.eval_shape(loss, batch_of(), graph_of(effect=effect, edge=edge)).shape == ()


@pytest.mark.parametrize("rows", ["regulators", "regulators+2"])
def test_padding_costs_nothing(rows):
    config = Config(rows=rows, hidden=4, knots=8)
    batch, graph = batch_of(5, total=20.0), graph_of(edge=KnownEdges(labels(), observe=True))
    z = 0.5 * random.normal(random.key(1), (8, 6))
    params = params_of(batch, graph, config)

    @jax.jit
    def loss(batch, z):
        fixed = partial(handlers.substitute, data={"z": z})
        elbo = Trace_ELBO()
        key = random.key(0)
        return elbo.loss(key, params, fixed(model), fixed(guide), batch, graph, config=config)

    padded = Batch(
        x=jnp.concatenate([batch.x, jnp.full((3, 6), 9.0)]),
        observed=jnp.concatenate([batch.observed, jnp.ones((3, 6), bool)]),
        real=jnp.arange(8) < 5,
        total=batch.total,
    )
    np.testing.assert_allclose(loss(padded, z), loss(batch, z[:5]), rtol=1e-5)
    unpadded = padded._replace(real=jnp.ones(8, bool))
    assert float(loss(unpadded, z)) != pytest.approx(float(loss(batch, z[:5])), rel=1e-3)


def params_of(batch: Batch, graph: Graph, config: Config, seed: int = 0) -> dict:
    """Start the parameters of model and guide."""
    svi = SVI(model, guide, optax.identity(), TraceMeanField_ELBO())

    @jax.jit
    def start(batch, graph):
        return svi.get_params(svi.init(random.key(seed), batch, graph, config=config))

    return start(batch, graph)


def test_table_and_direct_networks_give_one_bound():
    batch, graph = batch_of(), graph_of()
    losses = []
    for knots in (0, 256):
        config = Config(rows="regulators", hidden=8, knots=knots)
        params = params_of(batch, graph, config)
        elbo = TraceMeanField_ELBO()
        loss = jax.jit(partial(elbo.loss, random.key(0), params, model, guide, config=config))
        losses.append(float(loss(batch, graph)))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def linear_params(config: Config, slope, log_variance, effect) -> dict:
    """Make decoder and encoder straight lines: tanh(a x) / a = x + O(a^2)."""
    a = 1e-3

    def straight(out, bias):
        dense = lambda kernel, bias: {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}
        zero = jnp.zeros(1)
        return {
            "Dense_0": dense([[a]], zero),
            "Dense_1": dense([[1.0]], zero),
            "Dense_2": dense([out], jnp.asarray(bias)),
        }

    return {
        "decoder$params": straight([1 / a], [0.0]),
        "encoder$params": straight([slope / a, 0.0], [0.0, log_variance]),
        "effect_loc": effect,
    }


LINEAR = Config(hidden=1, knots=0, latent_prior="standard", absorbed="location", observation_sd=0.6)
SKEW = 0.7


def linear_case(cells: int = 12):
    """Return cells of four genes in two skew pairs, and the exact log evidence per cell.

    With W = [[0, w], [-w, 0]] on each pair, (I - W)^T (I - W) = (1 + w^2) I, so the posterior of z
    given x has independent entries and is one of the guide's.
    """
    pair = np.array([[0, SKEW], [-SKEW, 0]])
    W = np.kron(np.eye(2), pair)
    inverse = np.linalg.inv(np.eye(4) - W)
    covariance = inverse.T @ inverse + LINEAR.observation_sd**2 * np.eye(4)
    evidence = stats.multivariate_normal(np.zeros(4), covariance)
    x = evidence.rvs(cells, random_state=0)
    batch = Batch(
        jnp.asarray(x, jnp.float32), jnp.ones(x.shape, bool), jnp.ones(cells, bool), float(cells)
    )
    graph = graph_of(range(4), genes=GENES[:4])
    prior = stats.norm(0, 0.2).logpdf(W).sum()
    return batch, graph, jnp.asarray(W, jnp.float32), evidence.logpdf(x).sum() + prior


@partial(jax.jit, static_argnames="particles")
def linear_bounds(params, batch, graph, particles: int):
    """Draw the evidence bound many times."""
    one = lambda key: -Trace_ELBO().loss(key, params, model, guide, batch, graph, config=LINEAR)
    return jax.lax.map(one, random.split(random.key(0), particles), batch_size=100)


def test_best_guide_reaches_the_exact_evidence():
    batch, graph, W, evidence = linear_case()
    noise = LINEAR.observation_sd**2
    spread = 1 + SKEW**2
    slope, variance = 1 / (1 + noise * spread), noise * spread / (1 + noise * spread)
    params = linear_params(LINEAR, slope, np.log(variance), W)
    bounds = np.asarray(linear_bounds(params, batch, graph, 200))
    # At the posterior every draw of the bound is the evidence.
    assert bounds.std() < 0.02
    assert bounds.mean() == pytest.approx(evidence, abs=1e-2)
    worse = linear_params(LINEAR, 0.8 * slope, np.log(variance), W)
    assert np.asarray(linear_bounds(worse, batch, graph, 200)).mean() < evidence - 0.1


@pytest.mark.parametrize("seed", range(5))
def test_no_guide_beats_the_exact_evidence(seed):
    batch, graph, W, evidence = linear_case()
    slope, log_variance = np.random.default_rng(seed).normal([0.5, -1.0], [0.3, 0.7])
    bounds = np.asarray(
        linear_bounds(linear_params(LINEAR, slope, log_variance, W), batch, graph, 1000)
    )
    # Of the sound models, one in 30,000 would be beyond four standard errors.
    assert bounds.mean() < evidence + 4 * bounds.std() / len(bounds) ** 0.5


def test_condition_fixes_the_effects():
    graph, W = graph_of(), 0.1 * jnp.ones((2, 6))
    sites = sites_of(handlers.condition(model, {"effect": W}), batch_of(), graph, config=TINY)
    np.testing.assert_array_equal(sites["effect"]["value"], W)
    assert sites["effect"]["is_observed"]
    assert latent(sites) == {"z"}


def test_x_is_decoded_from_the_propagated_noise():
    graph, batch = graph_of(edge=KnownEdges(labels())), batch_of()
    sites = sites_of(model, batch, graph, config=TINY)
    W = weight_matrix(sites["effect"]["value"], sites["logit"]["value"], graph.rows)
    u = propagate(sites["z"]["value"], W, graph.rows)
    weights = sites["decoder$params"]["value"]
    h = u[..., None]
    for layer in ("Dense_0", "Dense_1"):
        h = jnp.tanh(h @ weights[layer]["kernel"] + weights[layer]["bias"])
    expected = h @ weights["Dense_2"]["kernel"] + weights["Dense_2"]["bias"]
    np.testing.assert_allclose(np.asarray(sites["x"]["mean"]), expected[..., 0], atol=1e-5)


def test_do_cuts_a_gene_off():
    """Without incoming effects a gene is its own noise, whatever the other genes do."""
    graph, batch, gene = graph_of(), batch_of(), 4
    first = sites_of(model, batch, graph, config=TINY)
    z, effect = first["z"]["value"], first["effect"]["value"]
    given = {"z": z, "decoder$params": first["decoder$params"]["value"]}
    cut = {"effect": effect.at[:, gene].set(0.0)}
    done = sites_of(handlers.do(model, cut), batch, graph, config=TINY, data=given)
    before, after = np.asarray(first["x"]["mean"]), np.asarray(done["x"]["mean"])
    assert (before[:, gene] != after[:, gene]).all()
    # The gene has no row of its own, so nothing downstream of it changes.
    others = [g for g in range(6) if g != gene]
    np.testing.assert_allclose(before[:, others], after[:, others], atol=1e-6)
    shaken = {**given, "z": z.at[:, others].add(1.0)}
    moved = sites_of(handlers.do(model, cut), batch, graph, config=TINY, data=shaken)
    np.testing.assert_allclose(np.asarray(moved["x"]["mean"])[:, gene], after[:, gene], atol=1e-6)
    assert (np.asarray(moved["x"]["mean"])[:, others] != after[:, others]).any()


def test_predictive_draws_expression():
    graph, batch = graph_of(), batch_of(5)
    sites = sites_of(model, batch, graph, config=TINY)
    given = {"decoder$params": sites["decoder$params"]["value"]}
    free = handlers.uncondition(partial(model, config=TINY))
    draws = jax.jit(Predictive(free, params=given, num_samples=400))(random.key(0), batch, graph)
    assert draws["x"].shape == (400, 5, 6)
    assert draws["effect"].shape == (400, 2, 6)
    residual = np.asarray(draws["x"]).std()
    assert residual > TINY.observation_sd
    given |= {name: sites[name]["value"] for name in ("effect", "z")}
    fixed = jax.jit(Predictive(free, params=given, num_samples=400))
    x = np.asarray(fixed(random.key(0), batch, graph)["x"])
    error = TINY.observation_sd / 400**0.5
    np.testing.assert_allclose(x.mean(0), np.asarray(sites["x"]["mean"]), atol=5 * error)


@pytest.mark.slow
def test_nuts_runs_on_a_small_problem():
    graph, batch = graph_of((0, 2), genes=GENES[:4]), batch_of(6, 4)
    config = Config(rows="regulators", hidden=2, knots=0, latent_prior="standard")
    params = sites_of(model, batch, graph, config=config)["decoder$params"]["value"]
    fixed = handlers.substitute(partial(model, config=config), {"decoder$params": params})
    sampler = MCMC(NUTS(fixed, max_tree_depth=3), num_warmup=10, num_samples=10, progress_bar=False)
    sampler.run(random.key(0), batch, graph)
    draws = sampler.get_samples()
    assert draws["effect"].shape == (10, 2, 4)
    assert draws["z"].shape == (10, 6, 4)
    assert all(bool(jnp.isfinite(draw).all()) for draw in draws.values())
    assert float(draws["effect"].std(0).min()) > 0
