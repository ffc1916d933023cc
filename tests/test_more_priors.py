"""Priors on shapes, signs, graphs and other networks: closed forms, fits, and a user's own."""

import json
import os
import subprocess
import sys
import tomllib
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest
from jax import random
from numpyro import handlers
from prior_table import EFFECT, GENES, LOGIT, ROWS, context, embedding
from scipy import integrate, stats
from test_priors import make, prior_of, values

from infosem_jax import Config, converged, fit, fit_many
from infosem_jax.data import read_expression, read_network, read_signed_edges
from infosem_jax.data.io import Embedding
from infosem_jax.data.simulate import Simulation, SimulationConfig, simulate
from infosem_jax.grn import priors
from infosem_jax.grn.priors.binding import GeneContext, bind, coverage
from infosem_jax.grn.priors.distributions import Horseshoe, RegularisedHorseshoe
from infosem_jax.grn.priors.registry import REGISTRY, build, load

SIMPLE = {"latent_prior": "standard", "absorbed": "location", "hidden": 8, "knots": 64}
QUICK = converged(epochs=3, batch_size=32, **SIMPLE)
SIZES = SimulationConfig(genes=24, regulators=6, cells=60)


@pytest.fixture(scope="module")
def small() -> Simulation:
    return simulate(SIZES, 0)


def slab_density(b: float, scale: float, slab: float) -> float:
    """Weigh the horseshoe by the slab, and bring it to mass 1 numerically."""

    def mixed(angle, b):
        spread = scale * np.tan(angle)
        left = spread * slab / np.hypot(spread, slab)
        # Given the local scale, the product of the two normals has this mass.
        return 2 / np.pi * left / spread * stats.norm.pdf(b, scale=left)

    def integral(f):
        return integrate.quad(f, 0, np.pi / 2, epsabs=0, epsrel=1e-9, limit=400)[0]

    mass = integral(lambda angle: 2 / np.pi * slab / np.hypot(scale * np.tan(angle), slab))
    return integral(lambda angle: mixed(angle, b)) / mass


@pytest.mark.parametrize("scale", [0.01, 0.0999, 0.1, 0.1001, 1.0])
@pytest.mark.parametrize("b", [1e-3, 0.05, 0.3])
def test_regularised_horseshoe_is_the_scale_mixture(scale, b):
    found = RegularisedHorseshoe(scale, 0.1).log_prob(jnp.array([b, -b]))
    np.testing.assert_allclose(found, np.log(slab_density(b, scale, 0.1)), atol=1e-4)


@pytest.mark.parametrize("scale", [0.05, 0.5, 2.0])
def test_regularised_horseshoe_draws_follow_the_density(scale):
    prior = RegularisedHorseshoe(scale, 0.5)
    draws = np.abs(prior.sample(random.key(0), (20_000,)))
    log_b = np.linspace(np.log(1e-9), np.log(5.0), 20_001)
    density = 2 * np.exp(prior.log_prob(np.exp(log_b)) + log_b)
    cumulative = integrate.cumulative_trapezoid(density, log_b, initial=0)
    assert cumulative[-1] == pytest.approx(1, abs=1e-3)
    assert stats.kstest(np.log(draws), lambda at: np.interp(at, log_b, cumulative)).pvalue > 1e-4


def test_a_wide_slab_leaves_the_horseshoe_alone_and_all_slopes_are_finite():
    b = jnp.array([1e-8, 0.01, 0.5])
    wide = RegularisedHorseshoe(0.01, 1e4).log_prob(b)
    np.testing.assert_allclose(wide, Horseshoe(0.01).log_prob(b), atol=1e-4)
    slope = jax.vmap(jax.grad(RegularisedHorseshoe(0.1, 0.1).log_prob))(jnp.array([0.0, 1e-8, 9.0]))
    assert bool(jnp.isfinite(slope).all())


def test_the_relaxed_gate_is_binary_concrete():
    prior = prior_of(bind(priors.RelaxedGate(0.2, 0.6), context("logit")))
    logit = values()
    gate = dist.RelaxedBernoulli(jnp.float32(0.6), probs=jnp.float32(0.2))
    y = jax.nn.sigmoid(logit)
    expected = (gate.log_prob(y) + jnp.log(y * (1 - y))).sum()
    np.testing.assert_allclose(prior.log_prob(logit), expected, rtol=1e-4)
    draws = prior_of(
        bind(
            priors.RelaxedGate(0.2, 0.1),
            GeneContext(tuple(map(str, range(300))), ("1",), 1, "logit"),
        )
    ).sample(random.key(0), (30,))
    assert float((draws > 0).mean()) == pytest.approx(0.2, abs=0.02)


def test_gene_scales_are_a_hierarchy_with_a_floor():
    bound = bind(priors.GeneScales(0.1, 2.0, 0.5), context())
    a, b = jnp.array([-50.0, 0.0, 1.0]), jnp.linspace(-1, 1, 8)
    sites = handlers.trace(
        handlers.substitute(bound.distribution, {"regulator_size": a, "target_size": b})
    ).get_trace()
    for name, spread in (("regulator_size", 2.0), ("target_size", 0.5)):
        np.testing.assert_allclose(sites[name]["fn"].variance, spread**2, rtol=1e-5)
    with handlers.substitute(data={"regulator_size": a, "target_size": b}):
        prior = bound.distribution()
    expected = 0.05 * (1 + np.exp(np.asarray(a)[:, None] + np.asarray(b)))
    np.testing.assert_allclose(prior.variance**0.5, expected, rtol=1e-5)


def test_signs_move_the_means_of_known_edges_only():
    table = pd.DataFrame(
        {"source": ["g1", "g4", "g6"], "target": ["g0", "g5", "g2"]}
        | {"mode": ["Activator", "repression", "unknown"]}
    )
    prior = priors.SignedEdges(table, strength=0.2, scale=0.1)
    bound = prior_of(bind(prior, context()))
    mean = np.zeros((3, 8))
    mean[0, 0], mean[1, 5] = 0.2, -0.2
    np.testing.assert_allclose(bound.mean, mean, atol=1e-7)
    np.testing.assert_allclose(bound.variance, 0.01, rtol=1e-5)
    report = coverage(prior, context())
    assert (report["known activations"], report["known repressions"]) == (1, 1)
    assert report["regulators with a known sign"] == "2 of 3"
    numbers = priors.SignedEdges(table.drop(columns="mode").assign(sign=[2, -0.5, 0]), 0.2, 0.1)
    np.testing.assert_allclose(prior_of(bind(numbers, context())).mean, mean, atol=1e-7)


def test_another_network_is_the_mean_as_far_as_it_is_trusted():
    table = pd.DataFrame({"source": ["g1", "g4"], "target": ["g0", "g5"], "weight": [3.0, -4.0]})
    bound = bind(priors.OtherNetwork(table, size=0.2, scale=0.1), context())
    with handlers.substitute(data={"trust": 0.5}):
        prior = bound.distribution()
    expected = np.zeros((3, 8))
    expected[0, 0], expected[1, 5] = 0.1 * 3 / 12.5**0.5, -0.1 * 4 / 12.5**0.5
    np.testing.assert_allclose(prior.mean, expected, rtol=1e-5)
    self_pair = pd.concat(
        [table, pd.DataFrame({"source": ["g1"], "target": ["g1"], "weight": [99]})]
    )
    again = bind(priors.OtherNetwork(self_pair, size=0.2, scale=0.1), context())
    with handlers.substitute(data={"trust": 0.5}):
        np.testing.assert_allclose(again.distribution().mean, expected, rtol=1e-5)


def test_a_mixture_pools_by_weight():
    parts = (priors.Normal(0.1), priors.GeneSimilarity(embedding(), slope=0.3, scale=0.2))
    bound = bind(priors.Mixture(parts), context())
    with handlers.substitute(data={"weights": jnp.array([0.25, 0.75])}):
        found = bound.distribution()
    alone = [prior_of(bind(part, context())) for part in parts]
    total = [
        0.25 * alone[0].log_prob(v) + 0.75 * alone[1].log_prob(v) - found.log_prob(v)
        for v in (values(0), values(1))
    ]
    assert float(total[0]) == pytest.approx(float(total[1]), abs=1e-3)
    with handlers.substitute(data={"weights": jnp.array([0.0, 1.0])}):
        np.testing.assert_allclose(bound.distribution().mean, alone[1].mean, atol=1e-6)


def links(names: list[str], seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    pick = rng.integers(len(names), size=(2, 9))
    table = pd.DataFrame({"source": np.take(names, pick[0]), "target": np.take(names, pick[1])})
    return table.assign(weight=rng.random(9) + 0.5)


def precision(table: pd.DataFrame, names: tuple[str, ...], strength: float) -> np.ndarray:
    weight = np.zeros((len(names), len(names)))
    for row in table.itertuples():
        if row.source in names and row.target in names and row.source != row.target:
            i, j = names.index(row.source), names.index(row.target)
            weight[i, j] = weight[j, i] = max(weight[i, j], row.weight)
    weight *= strength / weight.sum(1).mean()
    return np.eye(len(names)) + np.diag(weight.sum(1)) - weight


@pytest.mark.parametrize("over", ["targets", "regulators", "both"])
def test_a_graph_prior_is_the_dense_normal(over):
    table = pd.concat([links(list(GENES)), links(list(ROWS), 1)])
    prior = prior_of(bind(priors.GraphSmooth(table, 0.1, 4.0, over), context()))
    sides = {
        "targets": np.eye(8) if over == "regulators" else precision(table, GENES, 4.0),
        "regulators": np.eye(3) if over == "targets" else precision(table, ROWS, 4.0),
    }
    covariance = 0.01 * np.linalg.inv(np.kron(sides["regulators"], sides["targets"]))
    dense = stats.multivariate_normal(np.zeros(24), covariance)
    for seed in range(2):
        value = 0.1 * values(seed)
        expected = dense.logpdf(np.asarray(value).ravel())
        np.testing.assert_allclose(prior.log_prob(value), expected, rtol=1e-4)
    draws = np.asarray(prior.sample(random.key(0), (4000,))).reshape(-1, 24)
    np.testing.assert_allclose(np.cov(draws.T), covariance, atol=0.12 * covariance.max())
    np.testing.assert_allclose(
        prior.log_prob(jnp.zeros((5, 3, 8))), dense.logpdf(np.zeros(24)), rtol=1e-4
    )


def test_a_graph_prior_needs_no_matrix_of_genes():
    n = 3000
    names = tuple(f"g{i}" for i in range(n))
    table = pd.DataFrame({"source": names, "target": np.roll(names, 1)})
    bound = bind(priors.GraphSmooth(table), GeneContext(names, names[:5], 10))
    assert max(np.size(leaf) for leaf in jax.tree.leaves(bound)) <= 5 * n
    # Of a ring, the determinant is a product over its frequencies.
    expected = np.log1p(1 - np.cos(2 * np.pi * np.arange(n) / n)).sum()
    zero = prior_of(bound).log_prob(jnp.zeros((5, n)))
    constant = 5 * n * (np.log(0.03) + 0.5 * np.log(2 * np.pi))
    np.testing.assert_allclose(zero, 2.5 * expected - constant, rtol=1e-4)


def without_sites(bound):
    """Return the prior with everything that it samples per gene at zero."""

    def zeros(site):
        return jnp.zeros(site["fn"].shape()) if site["type"] == "sample" else None

    with handlers.seed(rng_seed=0), handlers.substitute(substitute_fn=zeros):
        return bound.distribution()


@pytest.mark.parametrize(
    "name",
    # Weights of parts are drawn by place, not by gene: at zero there is no density left.
    [
        name
        for name in (*EFFECT, "covariates of genes", *LOGIT)
        if not name.startswith(("Mixture", "Sum", "Weakened"))
    ],
)
def test_a_relabelled_prior_is_the_prior_with_its_genes_permuted(name):
    at = context("logit" if name in LOGIT else "effect")
    control = priors.Relabelled(make(name), 3)
    new = control.permuted(at)
    row = [ROWS.index(gene) for gene in new.rows]
    gene = [GENES.index(other) for other in new.genes]
    assert sorted(row) == [0, 1, 2]
    assert not any(i == j for i, j in enumerate(gene))
    value = values()
    permuted = jnp.zeros((3, 8)).at[jnp.ix_(jnp.array(row), jnp.array(gene))].set(value)
    mine, other = (without_sites(bind(prior, at)) for prior in (control, make(name)))
    np.testing.assert_allclose(mine.log_prob(value), other.log_prob(permuted), rtol=1e-4)
    observed = [bind(prior, at).observe for prior in (control, make(name))]
    if observed[0] is not None:
        sums = []
        for observe, logit in zip(observed, (value, permuted), strict=True):
            trace = handlers.trace(observe).get_trace(logit)
            sums.append(sum(s["fn"].log_prob(s["value"]).sum() for s in trace.values()))
        np.testing.assert_allclose(*sums, rtol=1e-5)


def test_names_are_permuted_among_those_that_are_named():
    genes = tuple(map(str, range(50)))
    at = GeneContext(genes, genes, 9)
    some = genes[:7]
    new = priors.Relabelled(priors.Normal(), 0, among=some).permuted(at)
    assert set(new.genes[:7]) == set(some)
    assert new == priors.Relabelled(priors.Normal(), 0, among=some[::-1]).permuted(at)
    assert new != priors.Relabelled(priors.Normal(), 1, among=some).permuted(at)


def by_name(context: GeneContext) -> dist.Distribution:
    """Centre on the number in each gene's name."""
    mean = jnp.array([float(gene[1:]) for gene in context.genes])
    return dist.Normal(mean, numpyro.sample("spread", dist.HalfNormal(1.0)) + 1.0)


def test_a_function_of_the_user_is_relabelled_by_name():
    control = priors.Relabelled(by_name, 1)
    expected = [float(gene[1:]) for gene in control.permuted(context()).genes]
    np.testing.assert_array_equal(prior_of(bind(control, context())).mean[0], expected)


def test_scan_gives_strengths_their_names():
    found = priors.scan(priors.Normal(0.1), [0.1, 1, 10])
    assert found == {"0.1": 0.1 * priors.Normal(0.1), "1": 1.0 * priors.Normal(0.1)} | {
        "10": 10.0 * priors.Normal(0.1)
    }
    for wrong in ([], [1, 1.0]):
        with pytest.raises(ValueError, match="weights that differ"):
            priors.scan(priors.Normal(), wrong)


def test_the_best_strength_is_the_one_that_fits_the_effects():
    """For given effects, the density is highest where their variance is the prior's."""
    bound = bind(priors.learned_strength(priors.Normal(0.1)), context())

    def score(strength):
        with handlers.substitute(data={"strength": strength}):
            return bound.distribution().log_prob(0.02 * values() / values().std())

    grid = jnp.geomspace(1, 900, 400)
    best = grid[jax.vmap(score)(grid).argmax()]
    mean_square = (
        float((0.02 * values() / values().std() ** 1) ** 2 @ jnp.ones(8) @ jnp.ones(3)) / 24
    )
    assert float(best) == pytest.approx(0.01 / mean_square, rel=0.03)


@pytest.mark.parametrize(
    ("make", "site", "message"),
    [
        (
            lambda: priors.learned_strength(priors.Horseshoe()),
            "effect",
            "normal and Laplace.*found Horseshoe",
        ),
        (
            lambda: priors.Mixture((priors.Normal(), priors.Laplace())),
            "effect",
            "normal parts, found Laplace",
        ),
        (lambda: priors.Mixture((priors.Normal(),)), "effect", "at least two parts, found 1"),
        (lambda: priors.Mixture((priors.Normal(),) * 2, 0.5), "effect", "at least 1, found 0.5"),
        (lambda: priors.RelaxedGate(), "effect", "use it as the edge prior"),
        (lambda: priors.GeneScales(0.1, 0.0, 0.0), "effect", "use Normal"),
        (lambda: priors.GeneScales(0.1, -1.0), "effect", "at least 0"),
        (
            lambda: priors.SignedEdges(pd.DataFrame({"source": ["g1"], "target": ["g0"]})),
            "effect",
            "column sign",
        ),
        (
            lambda: priors.SignedEdges(
                pd.DataFrame({"source": ["g1"], "target": ["g0"], "mode": ["x"]})
            ),
            "effect",
            "found 'x'",
        ),
        (lambda: priors.SignedEdges(pd.DataFrame()), "logit", "take GraphPrior"),
        (lambda: priors.OtherNetwork(pd.DataFrame()), "logit", "take GraphPrior"),
        (
            lambda: priors.OtherNetwork(pd.DataFrame({"source": ["g1"], "target": ["g0"]})),
            "effect",
            "and weight",
        ),
        (
            lambda: priors.OtherNetwork(
                pd.DataFrame({"source": ["g1"], "target": ["g0"], "weight": [0]})
            ),
            "effect",
            "some of them not 0",
        ),
        (
            lambda: priors.OtherNetwork(links(list(ROWS)), agreeing=0.5),
            "effect",
            "at least 1, found 0.5",
        ),
        (
            lambda: priors.GraphSmooth(links(list(GENES)).assign(weight=np.nan)),
            "effect",
            "finite weights",
        ),
        (lambda: priors.GraphSmooth(links(list(GENES))), "logit", "act alike"),
        (
            lambda: priors.Relabelled(dist.Normal(jnp.zeros((3, 8)), 1.0)),
            "effect",
            r"over \[3, 8\]",
        ),
        (lambda: priors.Relabelled(priors.Normal(), among=("x",)), "effect", "none of the 1"),
    ],
)
def test_what_makes_no_sense_is_refused_when_it_is_bound(make, site, message):
    with pytest.raises(ValueError, match=message):
        bind(make(), context(site))


def test_what_a_graph_smooths_over_is_checked(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match="targets, regulators, both, found 'rows'"):
        bind(priors.GraphSmooth(links(list(GENES)), over="rows"), context())  # pyright: ignore


def test_coverage_of_what_wraps_and_links():
    report = coverage(priors.Relabelled(priors.GraphPrior(links(list(ROWS))), 0), context())
    assert report["pairs in all"] == 24
    report = coverage(priors.GraphSmooth(links(list(ROWS)), over="both"), context())
    assert report["targets with a neighbour"] == "3 of 8"
    assert report["regulators with a neighbour"] == "3 of 3"
    part = priors.GeneSimilarity(embedding())
    assert coverage(priors.Mixture((part, part)), context())["part 1: features"] == 5
    assert coverage(priors.learned_strength(part), context())["features"] == 5


def crowd(sim: Simulation) -> dict[str, dict]:
    """Return all of the priors in as few models as hold them."""
    similar = priors.GeneSimilarity(sim.embedding)
    parts = (similar, priors.Relabelled(similar), priors.GeneEmbedding(sim.embedding))
    everything = (
        priors.Mixture(parts)
        + priors.OtherNetwork(sim.network)
        + priors.GeneScales()
        + priors.SignedEdges(sim.network)
        + priors.learned_strength(similar)
        + priors.Relabelled(partial(by_gene, size=0.3), 1)
    )
    shuffled_labels = priors.Relabelled(priors.KnownEdges(sim.known, observe=True))
    return {
        "sum": {"effect": everything, "edge": priors.RelaxedGate()},
        "graph": {
            "effect": priors.GraphSmooth(sim.network, over="both"),
            "edge": shuffled_labels,
        },
        "horseshoe": {"effect": priors.RegularisedHorseshoe()},
    }


def by_gene(context: GeneContext, size: float = 0.1) -> dist.Distribution:
    """A scale with a posterior, and a centre for each target."""
    spread = numpyro.sample("spread", dist.HalfNormal(size))
    centre = numpyro.param("centre", jnp.zeros(len(context.genes)))
    return dist.Normal(centre, spread + 0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("guide", "name"),
    [("point", "graph"), ("normal", "sum"), ("point", "sum"), ("normal", "horseshoe")],
)
def test_every_prior_is_fitted(small, guide, name):
    config = converged(epochs=2, batch_size=30, guide=guide, **SIMPLE)
    fitted = fit(small.data, **crowd(small)[name], config=config)
    own = np.asarray(fitted.regulators)[:, None] == np.asarray(fitted.genes)
    for found in (fitted.losses.train, fitted.weight, fitted.prior_mean):
        assert np.isfinite(found).all()
    # Each of the pairs has an effect of its own, no gene acts on itself, and what is known a priori
    # of pairs is in the mean: of a horseshoe, nothing.
    assert (fitted.weight[:, ~own] != 0).all() and (fitted.weight[:, own] == 0).all()
    assert len(np.unique(fitted.weight[:, ~own])) > 0.9 * (~own).sum()
    assert (np.ptp(fitted.prior_mean) > 0) == (name == "sum")
    assert (fitted.probability is None) == (name == "horseshoe")
    assert set(fitted.coverage) == ({"effect"} if name == "horseshoe" else {"effect", "edge"})
    if name != "sum":
        return
    # Sums nest to the left, so the first of them has come deepest.
    found = {place.rpartition("/")[2]: v for place, v in priors.learned(fitted.params).items()}
    assert set(found) == {"weights", "trust", "regulator_size", "target_size", "strength"}
    np.testing.assert_allclose(found["weights"].sum(-1), 1, rtol=1e-5)
    assert found["weights"].shape == (1, 3)
    assert 0 < found["trust"][0] < 1
    assert 0.001 < found["strength"][0] < 1000
    assert found["regulator_size"].shape == (1, 6)


def test_a_prior_of_the_user_is_fitted_in_a_grid(small):
    other = small.data._replace(name="other", x=small.data.x[:, ::-1].copy())
    fits = dict(fit_many([small.data, other], {"mine": by_gene}, configs=QUICK))
    assert [job.data for job in fits] == [small.data.name, "other"]
    for fitted in fits.values():
        assert fitted.params["effect_prior/centre"].shape == (1, 24)
        assert "effect_prior/spread_loc" in fitted.params
        assert np.abs(fitted.params["effect_prior/centre"]).max() > 0


LEARN = converged(
    latent_prior="standard", absorbed="location", hidden=16, knots=64, epochs=60, rate_priors=1e-2
)


@pytest.mark.slow
def test_trust_weights_and_scales_are_learned_from_data():
    sizes = SimulationConfig(genes=60, regulators=10, cells=400, out_degree_exponent=1, dropout=0.1)
    trust = {"true": [], "shuffled": []}
    for seed in range(2):
        sim = simulate(sizes, seed)
        network = priors.OtherNetwork(sim.network)
        names, vectors = sim.embedding
        wrong = Embedding(names, vectors[np.random.default_rng(seed).permutation(len(names))])
        similar = [priors.GeneSimilarity(e) for e in (sim.embedding, wrong)]
        asked = {
            "true": network,
            "shuffled": priors.Relabelled(network, seed, among=sim.data.regulators),
            "mixture": priors.Mixture(tuple(similar)),
            "scales": priors.GeneScales(),
        }
        found = {
            job.prior: priors.learned(fitted.params)
            for job, fitted in fit_many([sim.data], asked, configs=LEARN)
        }
        for name, each in trust.items():
            each.append(found[name]["effect_prior/trust"][0])
        right, other = found["mixture"]["effect_prior/weights"][0]
        assert right > other
        degree = sim.network["source"].value_counts()
        degree = [degree.get(gene, 0) for gene in sorted(sim.data.regulators)]
        size = found["scales"]["effect_prior/regulator_size"][0]
        assert stats.spearmanr(degree, size).statistic > 0.3
        # No gene's scale has run away.
        assert np.abs(size).max() < 10
    assert min(trust["true"]) > 0.7
    assert max(trust["shuffled"]) < 0.4


@pytest.mark.slow
def test_short_fits_on_real_data(real_data):
    folder = real_data / "beeline" / "mDC" / "TFs+500"
    data = read_expression(folder / "expression.npz")
    string = read_network(folder / "network_string.csv.gz")
    known = string.assign(weight=np.where(np.arange(len(string)) % 3, 1.0, -1.0))
    sources = tuple(sorted(set(string["source"])))
    data = data._replace(regulators=tuple(g for g in data.genes if g in sources))
    config = Config(epochs=1, rows="regulators", hidden=8, knots=64)
    other = priors.OtherNetwork(known)
    asked = {
        "sum": {
            "effect": other
            + priors.Relabelled(other, among=sources)
            + priors.SignedEdges(known.assign(sign=known["weight"]))
            + priors.GeneScales(),
            "edge": priors.RelaxedGate(),
        },
        "smooth": priors.GraphSmooth(string),
        "horseshoe": priors.RegularisedHorseshoe(),
    }
    fits = dict(fit_many([data], asked, configs=config))
    assert {job.prior for job in fits} == set(asked)
    for fitted in fits.values():
        assert np.isfinite(fitted.losses.train).all()
        assert np.isfinite(fitted.weight).all()


OWN = '''
"""Priors of a user's own."""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist


def shifted(context, size=0.1):
    """Effects around a centre of each target's own.

    With a scale that is learned.
    """
    spread = numpyro.sample("spread", dist.HalfNormal(size))
    centre = numpyro.param("centre", jnp.zeros(len(context.genes)))
    return dist.Normal(centre, spread + 0.01)


def gate(context):
    return dist.Logistic(-2.0, 1.0)


class Halved:
    def __init__(self, scale=1.0):
        self.scale = scale

    def __call__(self, context):
        return dist.Normal(0.0, self.scale / 2)


plain = dist.Laplace(0.0, 0.2)
ready = Halved(3.0)
number = 3
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_priors_of_mine.py").write_text(OWN)
    (tmp_path / "broken_priors_of_mine.py").write_text("import no_such_module_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_prior_of_the_user_is_imported(own):
    for name, settings, scale in (
        ("Halved", {}, 0.5),
        ("Halved", {"scale": 4.0}, 2.0),
        ("ready", {}, 1.5),
        ("gate", {}, np.pi / 3**0.5),
        ("plain", {}, 0.2 * 2**0.5),
    ):
        prior = load(f"own_priors_of_mine:{name}", settings)
        found = prior_of(bind(prior, context("logit")))
        np.testing.assert_allclose(found.variance**0.5, scale, rtol=1e-5)
    assert load("own_priors_of_mine:shifted", {"size": 2}).keywords == {"size": 2}


@pytest.mark.parametrize(
    ("path", "settings", "message"),
    [
        ("no_such_priors:a", {}, "cannot import 'no_such_priors'.*is it in this folder"),
        ("broken_priors_of_mine:a", {}, "no_such_module_at_all"),
        (":a", {}, "cannot import"),
        ("own_priors_of_mine:shiftet", {}, "has no 'shiftet'; did you mean 'shifted'"),
        ("own_priors_of_mine:", {}, "has no ''"),
        ("own_priors_of_mine:number", {}, "found int"),
        ("own_priors_of_mine:number", {"a": 1}, "found an object of int"),
        ("own_priors_of_mine:plain", {"scale": 1}, "takes scale, found an object of Laplace"),
        ("own_priors_of_mine:shifted", {"sizes": 1}, "does not take gene context, sizes"),
        ("own_priors_of_mine:Halved", {"sizes": 1}, "does not take sizes"),
    ],
)
def test_what_is_no_prior_of_the_user_is_explained(own, path, settings, message):
    with pytest.raises(ValueError, match=message):
        load(path, settings)


def test_registered_priors_are_built_from_files(tmp_path, small):
    small.network.to_csv(tmp_path / "network.csv", index=False)
    matrix = small.network.assign(one=1).pivot_table("one", "target", "source", fill_value=0)
    matrix.to_csv(tmp_path / "candidates.tsv", sep="\t")
    np.savez(tmp_path / "a.npz", names=np.array(small.embedding.names), X=small.embedding.vectors)
    files = {
        "signed-edges": "network.csv",
        "other-network": "network.csv",
        "graph-smooth": "candidates.tsv",
        "graph": "candidates.tsv",
    }
    at = GeneContext(tuple(sorted(small.data.genes)), tuple(sorted(small.data.regulators)), 60)
    for name, file in files.items():
        report = coverage(build(name, tmp_path / file, "effect", {"scale": 0.2}), at)
        assert report, name
    listed, laid_out = (
        build("graph", tmp_path / file, "effect", {}) for file in ("network.csv", "candidates.tsv")
    )
    np.testing.assert_array_equal(
        np.asarray(prior_of(bind(laid_out, at)).variance) > 0.03**2 / 2,
        ~np.isnan(priors.pair_matrix(listed.graph, at, None, "graph")),
    )
    assert build("relaxed-gate", None, "logit", {"temperature": 0.3}).temperature == 0.3
    for name in ("regularised-horseshoe", "gene-scales"):
        assert build(name, None, "effect", {"scale": 0.3}).scale == 0.3
    for name in ("mixture", "graph-smooth", "relaxed-gate"):
        with pytest.raises(ValueError, match="has no setting 'nonsense'; choose from "):
            build(
                name,
                None if name == "relaxed-gate" else "x",
                REGISTRY[name].sites[0],
                {"nonsense": 1},
            )


def infosem(folder: Path, *arguments: object):
    command = [sys.executable, "-m", "infosem_jax", "fit", "x.csv", "--out", "out"]
    command += ["--regulators", "tfs.txt", "--config", "quick.toml", "--seeds", "1"]
    command += map(str, arguments)
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, cwd=folder, env=os.environ.copy()
    )


@pytest.mark.slow
def test_the_command_line_fits_a_prior_of_the_user(tmp_path, small):
    (tmp_path / "own_priors_of_mine.py").write_text(OWN)
    data = small.data
    pd.DataFrame(data.x, list(data.cells), list(data.genes)).to_csv(tmp_path / "x.csv")
    (tmp_path / "tfs.txt").write_text("\n".join(data.regulators))
    settings = 'rows = "regulators"\nepochs = 2\nphase_networks = 0\nphase_edges = 0\nhidden = 8\n'
    (tmp_path / "quick.toml").write_text(f"[model]\n{settings}\n[effect]\nsize = 0.3\n")
    mine = "own_priors_of_mine"
    done = infosem(tmp_path, "--effect", f"{mine}:shifted", "--edge", f"{mine}:gate")
    assert done.returncode == 0, done.stderr
    tables = tomllib.loads((tmp_path / "out" / "config.toml").read_text())
    assert tables["effect"] == {"prior": f"{mine}:shifted", "size": 0.3}
    assert tables["edge"] == {"prior": f"{mine}:gate"}
    report = (tmp_path / "out" / "report.html").read_text()
    assert "Effects around a centre of each target" in report
    assert f"{mine}:shifted" in report
    wrong = infosem(tmp_path, "--effect", f"{mine}:shiftet", "--overwrite")
    assert wrong.returncode == 2
    assert "did you mean 'shifted'?" in " ".join(wrong.stderr.split())
    assert "Traceback" not in wrong.stderr


def test_signed_edges_are_read(tmp_path):
    path = tmp_path / "modes.csv"
    path.write_text("TF,Target,mor\na,b,1\na,c,-0.5\nb,c,0\nb,a,1\nb,a,-1\na,a,1\n")
    found = read_signed_edges(path)
    assert json.loads(found.to_json(orient="values")) == [["a", "b", 1], ["a", "c", -1]]
    path.write_text("source\ttarget\tmode\na\tb\tRepressor\n")
    assert read_signed_edges(path)["sign"].tolist() == [-1]
    for text, message in (
        ("source,target\na,b\n", "expected a column sign"),
        ("source,target,sign\na,b,maybe\n", "found 'maybe'"),
        ("source,target,sign\na,b,?\n", "no edge with one known sign"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_signed_edges(path)
