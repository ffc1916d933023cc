"""What labels teach, to whom it carries over, and what must not reach it."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest
from jax import random
from jax.flatten_util import ravel_pytree
from numpyro import handlers
from scipy.optimize import minimize
from scipy.stats import norm, spearmanr
from sklearn.metrics import roc_auc_score

from infosem_jax.data import simulate as simulation
from infosem_jax.data import write_embedding
from infosem_jax.data.dataset import dataset
from infosem_jax.data.io import Embedding, embedding
from infosem_jax.grn.baselines import one_hot
from infosem_jax.grn.baselines.problem import Problem
from infosem_jax.grn.config import Config
from infosem_jax.grn.fitting import fit
from infosem_jax.grn.priors import LearnedEdges, Normal, shuffled
from infosem_jax.grn.priors.binding import BoundPrior, GeneContext, bind, coverage
from infosem_jax.grn.priors.registry import build

GENES = tuple(f"g{i}" for i in range(8))
ROWS = ("g1", "g4", "g6")
CONTEXT = GeneContext(GENES, ROWS, 40, "logit")
NETWORKS = [f"{role}_{part}" for role in ("regulator", "target") for part in ("weight", "role")]


def labels() -> pd.DataFrame:
    """Return ten labelled pairs of two of the three regulators, none of a gene with itself."""
    rng = np.random.default_rng(0)
    others = [i for i in range(16) if i not in (1, 12)]
    row, gene = np.unravel_index(rng.choice(others, 10, replace=False), (2, 8))
    present = np.arange(10) % 3 == 0
    return pd.DataFrame(
        {"source": np.take(ROWS, row), "target": np.take(GENES, gene), "label": present.astype(int)}
    )


def vectors() -> Embedding:
    """Return vectors of all genes but g4 and g7, in another order."""
    names = ("g6", "g5", "g0", "g3", "g1", "g2")
    return embedding(names, 3 + np.random.default_rng(1).normal(size=(6, 5)))


def feature(seed: int) -> pd.DataFrame:
    values = np.random.default_rng(seed).gamma(2.0, size=(3, 8))
    return pd.DataFrame(values, index=ROWS, columns=GENES)


FULL = LearnedEdges(
    labels(), vectors(), {"b": feature(3), "a": feature(2)}, rank=2, hidden=3, roles=2
)


@jax.jit
def densities(sites, bound: BoundPrior) -> dict:
    """Score what a prior samples, and the labels that it observes."""
    with handlers.trace() as trace, handlers.substitute(data=sites), handlers.seed(rng_seed=0):
        bound.distribution()
    return {name: jnp.sum(site["fn"].log_prob(site["value"])) for name, site in trace.items()}


def density(sites, bound: BoundPrior):
    return sum(densities(sites, bound).values())


slope = jax.jit(jax.value_and_grad(density))


@jax.jit
def prior_at(sites, bound: BoundPrior) -> dist.Distribution:
    with handlers.substitute(data=sites), handlers.seed(rng_seed=0):
        return bound.distribution()


def trace_of(bound: BoundPrior) -> dict:
    with handlers.seed(rng_seed=1):
        return handlers.trace(bound.distribution).get_trace()


def shapes(bound: BoundPrior) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all that a prior samples or observes, without computing them."""
    sites = jax.eval_shape(lambda: {n: site["value"] for n, site in trace_of(bound).items()})
    return {name: value.shape for name, value in sites.items()}


def start(bound: BoundPrior) -> dict:
    """Draw small values of all that a prior samples."""
    rng = np.random.default_rng(0)
    return {
        name: jnp.asarray(0.3 * rng.normal(size=shape), jnp.float32)
        for name, shape in shapes(bound).items()
        if name != "known_edges"
    }


def learn(prior: LearnedEdges, context: GeneContext) -> np.ndarray:
    """Return m at the most probable values of the sites given labels."""
    bound = bind(prior, context)
    flat, unravel = ravel_pytree(start(bound))

    def loss(theta):
        value, gradient = slope(unravel(jnp.asarray(theta, jnp.float32)), bound)
        return -float(value), -np.asarray(ravel_pytree(gradient)[0], float)

    best = minimize(loss, flat, jac=True, method="L-BFGS-B", options={"maxiter": 100}).x
    return np.asarray(prior_at(unravel(jnp.asarray(best, jnp.float32)), bound).mean)


def test_mean_is_the_formula():
    bound = bind(FULL, CONTEXT)
    s = {name: np.asarray(value, float) for name, value in start(bound).items()}
    known = [name in vectors().names for name in GENES]
    at = [vectors().names.index(name) for name in np.array(GENES)[known]]
    h = np.zeros((8, 5))
    h[known] = vectors().vectors[at] - vectors().vectors.mean(0)
    h /= np.sqrt((h[known] ** 2).mean())
    rows = [GENES.index(row) for row in ROWS]
    expected = np.full((3, 8), float(s["intercept"]))
    for i in range(3):
        by_regulator = np.tanh(h[rows[i]] @ s["regulator_weight"]) @ s["regulator_role"]
        for j in range(8):
            by_target = np.tanh(h[j] @ s["target_weight"]) @ s["target_role"]
            expected[i, j] += s["regulator"][i] + s["target"][j]
            expected[i, j] += s["regulator_factor"][i] @ s["target_factor"][j]
            expected[i, j] += by_regulator[0] + by_target[0] + by_regulator[1:] @ by_target[1:]
    # Features come in the order of their names; a gene's pair with itself counts as average.
    for weight, table in zip(s["pair_weight"], (feature(2), feature(3)), strict=True):
        values = table.to_numpy().copy()
        values[range(3), rows] = np.nan
        scaled = (values - np.nanmean(values)) / np.nanstd(values)
        expected += weight * np.nan_to_num(scaled)
    prior = prior_at(start(bound), bound)
    np.testing.assert_allclose(prior.mean, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(prior.variance, 0.25, rtol=1e-6)


def test_labels_are_bernoulli_draws_and_sites_normal():
    bound = bind(FULL, CONTEXT)
    sites = start(bound)
    found = densities(sites, bound)
    mean = np.asarray(prior_at(sites, bound).mean, float)
    expected = 0.0
    for row in labels().itertuples():
        m = mean[ROWS.index(row.source), GENES.index(row.target)]
        expected -= np.log1p(np.exp(-m if row.label else m))
    np.testing.assert_allclose(found.pop("known_edges"), expected, rtol=1e-5)
    share = labels()["label"].mean()
    scales = dict.fromkeys(NETWORKS[::2], 0.05) | dict.fromkeys(NETWORKS[1::2], 0.3)
    scales |= {"regulator": 1.0, "target": 1.0, "pair_weight": 0.3, "intercept": 1.0}
    scales |= {"regulator_factor": 0.5, "target_factor": 0.5}
    assert set(found) == set(scales)
    for name, scale in scales.items():
        centre = np.log(share / (1 - share)) if name == "intercept" else 0.0
        expected = norm(centre, scale).logpdf(sites[name]).sum()
        np.testing.assert_allclose(found[name], expected, rtol=1e-4)


def test_what_is_left_out_is_no_site():
    bare = {"intercept", "regulator", "target", "known_edges"}
    plain = LearnedEdges(labels(), rank=0)
    assert set(shapes(bind(plain, CONTEXT))) == bare
    assert set(shapes(bind(replace(plain, rank=1), CONTEXT))) - bare == {
        "regulator_factor",
        "target_factor",
    }
    assert set(shapes(bind(replace(plain, embedding=vectors()), CONTEXT))) - bare == {*NETWORKS}
    without_roles = bind(replace(FULL, roles=0), CONTEXT)
    assert shapes(without_roles)["target_role"] == (3, 1)
    assert np.isfinite(prior_at(start(without_roles), without_roles).mean).all()


def test_only_labelled_pairs_count():
    everything = pd.DataFrame(
        [(row, gene) for row in ROWS for gene in GENES], columns=["source", "target"]
    )
    held = everything.merge(labels(), how="left")
    assert held["label"].isna().sum() == 14
    moved = held.sample(frac=1, random_state=0)
    flipped = held.assign(label=held["label"].where(held.index != held["label"].idxmax(), 0))
    base, with_nan, changed = (
        bind(replace(FULL, table=table), CONTEXT) for table in (labels(), moved, flipped)
    )
    sites = start(base)
    assert density(sites, base) == density(sites, with_nan)
    assert density(sites, base) != density(sites, changed)


def test_without_a_column_of_labels_all_other_pairs_are_absent():
    present = labels().query("label == 1").drop(columns="label")
    bound = bind(LearnedEdges(present), CONTEXT)
    everywhere = pd.DataFrame(
        [(row, gene) for row in ROWS for gene in GENES if row != gene], columns=["source", "target"]
    )
    told = everywhere.merge(present.assign(label=1), how="left").fillna({"label": 0})
    sites = start(bound)
    assert density(sites, bound) == density(sites, bind(LearnedEdges(told), CONTEXT))
    report = coverage(LearnedEdges(present), CONTEXT)
    assert report["pairs labelled present"] == len(present)
    # A gene's pair with itself is no candidate.
    assert report["pairs labelled absent"] == 24 - 3 - len(present)


def test_pairs_that_a_table_lacks_are_average():
    table = feature(2)
    table.loc["g4", "g0"] = np.nan
    part = table.drop(columns="g2").drop(index="g6").assign(other=9.0)
    bound = bind(LearnedEdges(labels(), pairs={"part": part}, rank=0), CONTEXT)
    sites = {name: jnp.zeros_like(value) for name, value in start(bound).items()}
    mean = np.asarray(prior_at(sites | {"pair_weight": jnp.ones(1)}, bound).mean)
    missing = np.zeros((3, 8), bool)
    missing[2] = missing[:, 2] = missing[1, 0] = missing[0, 1] = missing[1, 4] = True
    assert (mean[missing] == 0).all()
    assert (mean[~missing] != 0).all()
    np.testing.assert_allclose(mean[~missing].mean(), 0, atol=1e-6)
    np.testing.assert_allclose(mean[~missing].std(), 1, rtol=1e-5)


def test_a_feature_that_does_not_vary_says_nothing():
    flat = feature(2) * 0 + 4.0
    bound = bind(LearnedEdges(labels(), pairs={"flat": flat}, rank=0), CONTEXT)
    sites = start(bound)
    other = sites | {"pair_weight": jnp.ones(1)}
    np.testing.assert_array_equal(prior_at(sites, bound).mean, prior_at(other, bound).mean)


@pytest.mark.parametrize("feedback", [False, True])
def test_expression_moves_the_mean_only_with_feedback(feedback):
    bound = bind(replace(FULL, feedback=feedback), CONTEXT)
    sites = start(bound)
    logit = random.normal(random.key(0), (3, 8))

    @jax.jit
    @jax.grad
    def of_logit_term(sites):
        return prior_at(sites, bound).log_prob(logit)

    moved = {name: bool((value != 0).any()) for name, value in of_logit_term(sites).items()}
    assert set(moved.values()) == {feedback}
    # Labels teach the same sites either way.
    gradient = slope(sites, bound)[1]
    assert all(bool((gradient[name] != 0).any()) for name in moved)


def crossed(seed: int = 0) -> tuple[np.ndarray, Embedding, GeneContext]:
    """Draw edges that join genes of the same group, and vectors that tell the group."""
    rng = np.random.default_rng(seed)
    genes = tuple(f"g{i:02d}" for i in range(40))
    group = np.arange(40) % 2
    truth = rng.uniform(size=(24, 40)) < np.where(group[:24, None] == group, 0.8, 0.1)
    noisy = np.eye(2)[group] @ rng.normal(size=(2, 4)) + 0.3 * rng.normal(size=(40, 4))
    return truth, embedding(genes, noisy), GeneContext(genes, genes[:24], 40, "logit")


def table_of(truth: np.ndarray, which: np.ndarray, context: GeneContext) -> pd.DataFrame:
    row, gene = np.nonzero(which)
    source, target = np.take(context.rows, row), np.take(context.genes, gene)
    return pd.DataFrame({"source": source, "target": target, "label": truth[row, gene].astype(int)})


def test_the_table_of_genes_is_logistic_regression():
    rng = np.random.default_rng(0)
    _, _, context = crossed()
    bias = rng.normal(size=(24, 1)) + rng.normal(size=40) - 0.5
    truth = rng.uniform(size=(24, 40)) < 1 / (1 + np.exp(-bias))
    train = (rng.uniform(size=truth.shape) < 0.7) & ~np.eye(24, 40, dtype=bool)
    mean = learn(LearnedEdges(table_of(truth, train, context), rank=0), context)
    given = np.where(train, truth.astype(float), np.nan)
    data = dataset(rng.gamma(2.0, size=(10, 40)), context.genes)
    problem = Problem(data, context.rows, context.genes, given, np.full_like(given, np.nan))
    # The ridge of strength 1 is the prior of scale 1; the prior of the intercept is all else.
    (expected,) = one_hot.solve([problem])
    assert spearmanr(mean.ravel(), expected.ravel()).statistic > 0.999
    np.testing.assert_allclose(mean, expected, atol=0.15)
    assert spearmanr(mean.ravel(), bias.ravel()).statistic > 0.8


def test_an_informative_embedding_carries_over_to_unseen_regulators():
    truth, informative, context = crossed()
    train = np.zeros(truth.shape, bool)
    train[:12] = True
    prior = LearnedEdges(
        table_of(truth, train, context), informative, hidden=8, weight_scale=0.5, role_scale=1.0
    )

    def unseen(prior: LearnedEdges) -> float:
        return float(roc_auc_score(truth[12:].ravel(), learn(prior, context)[12:].ravel()))

    assert unseen(prior) > 0.75
    assert np.mean([unseen(shuffled(prior, seed)) for seed in range(3)]) < 0.6


TINY = Config(
    rows="regulators",
    hidden=4,
    knots=0,
    epochs=60,
    batch_size=10,
    start="zero",
    phase_networks=0,
    phase_edges=0,
    optimiser="adam",
    rate_networks=1e-2,
    rate_edges=5e-2,
    rate_priors=5e-2,
)
SETTINGS = simulation.SimulationConfig(
    genes=10, regulators=4, cells=30, mean_in_degree=1.5, known_fraction=0.9
)


@cache
def simulated():
    return simulation.simulate(SETTINGS, seed=0)


def gates(data, prior: LearnedEdges) -> pd.DataFrame:
    fitted = fit(data, Normal(0.1), prior, config=TINY)
    assert fitted.probability is not None
    return pd.DataFrame(fitted.probability[0], fitted.regulators, fitted.genes)


@pytest.mark.slow
def test_a_fit_learns_labels_whatever_the_order_of_genes():
    made = simulated()
    data = made.data
    assert made.known["label"].nunique() == 2
    prior = LearnedEdges(made.known, made.embedding, rank=0, hidden=3)
    found = gates(data, prior)
    by_label = {
        label: np.mean([found.at[row.source, row.target] for row in part.itertuples()])
        for label, part in made.known.groupby("label")
    }
    assert by_label[1] > by_label[0] + 0.1
    order = np.random.default_rng(0).permutation(10)
    moved = dataset(
        data.x[:, order],
        np.take(data.genes, order).tolist(),
        data.regulators,
        cells=data.cells,
        name="data",
    )
    names, values = made.embedding
    turned = Embedding(names[::-1], np.ascontiguousarray(values[::-1]))
    again = gates(moved, replace(prior, table=made.known[::-1], embedding=turned))
    assert list(again.columns) != list(found.columns)
    again = again.loc[found.index, found.columns]
    np.testing.assert_allclose(again, found, atol=1e-5)


REFUSED = {
    "effects": ({}, "effect", "use it as the edge prior"),
    "one class": (
        {"table": labels().assign(label=1)},
        "logit",
        "labels 1 and 0, found 10 present and 0 absent",
    ),
    "no edge": (
        {"table": labels().assign(label=0)},
        "logit",
        "labels 1 and 0, found 0 present and 10 absent",
    ),
    "no label": (
        {"table": labels().assign(label=np.nan)},
        "logit",
        "labels 1 and 0, found 0 present and 0 absent",
    ),
    "other labels": ({"table": labels().assign(label=2)}, "logit", "labels 1 and 0, found 2"),
    "strangers": (
        {"table": labels().assign(source="A")},
        "logit",
        "none of the 10 pairs .A -> .*g0, g1, g2",
    ),
    "strange pairs": (
        {"pairs": {"cor": feature(2).rename(index=str.upper)}},
        "logit",
        "cor: none of the 24 pairs",
    ),
    "strange vectors": (
        {"embedding": embedding(("A", "B"), np.eye(2))},
        "logit",
        "covers none of the 8 genes",
    ),
    "rank": ({"rank": -1}, "logit", "rank of at least 0, found -1"),
    "roles": ({"roles": -1}, "logit", "roles of at least 0, found -1"),
    "hidden": ({"hidden": 0}, "logit", "hidden of at least 1, found 0"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_bad_input_is_refused(case):
    changes, site, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        bind(replace(FULL, **changes), replace(CONTEXT, site=site))


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_features_must_be_finite(value):
    table = feature(2)
    table.loc["g1", "g0"] = value
    with pytest.raises(ValueError, match=r"cor: expected finite .*found -?inf for g1 -> g0"):
        bind(LearnedEdges(labels(), pairs={"cor": table}), CONTEXT)


def test_coverage_tells_labels_and_vectors():
    report = coverage(FULL, CONTEXT)
    assert report["pairs labelled present"] == 4
    assert report["pairs labelled absent"] == 6
    assert report["pairs in all"] == 24
    assert report["regulators with a label"] == "2 of 3"
    assert report["genes with an embedding"] == "6 of 8"
    assert report["regulators with an embedding"] == "2 of 3"
    assert report["features"] == 5
    assert "features" not in coverage(LearnedEdges(labels()), CONTEXT)


def test_it_has_a_name_on_the_command_line(tmp_path):
    labels().to_csv(tmp_path / "known.csv", index=False)
    built = build("learned-edges", tmp_path / "known.csv", "logit", {"rank": 2, "scale": 0.3})
    assert isinstance(built, LearnedEdges)
    assert built == LearnedEdges(labels(), rank=2, scale=0.3)
    assert coverage(built, CONTEXT) == coverage(LearnedEdges(labels()), CONTEXT)
    with pytest.raises(ValueError, match="no prior of the effect"):
        build("learned-edges", tmp_path / "known.csv", "effect", {})
    with pytest.raises(ValueError, match=r"no setting 'ranks'.*'rank'"):
        build("learned-edges", tmp_path / "known.csv", "logit", {"ranks": 2})
    write_embedding(tmp_path / "vectors.npz", vectors())
    similarity = build("gene-similarity", tmp_path / "vectors.npz", "effect", {"slope": 0.1})
    assert similarity.slope == 0.1  # pyright: ignore
