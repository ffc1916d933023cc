"""Probabilities of edges: the share they start from, their mean, and that they come true."""

from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

from infosem_jax.calibration.recalibrate import Fitted, true_edges
from infosem_jax.calibration.reliability import reliability_scores
from infosem_jax.data.simulate import SimulationConfig, simulate
from infosem_jax.grn import exact, priors
from infosem_jax.grn.exact.deviations import SHIFT
from infosem_jax.grn.exact.priors import prior_odds
from infosem_jax.grn.exact.probability import offset, share_of_edges, share_of_wide
from infosem_jax.grn.exact.worth import worth_by_labels
from infosem_jax.grn.networks import candidate_pairs

SIZES = (
    SimulationConfig(genes=100, regulators=20, cells=500, dropout=0.1),
    SimulationConfig(),
    SimulationConfig(cells=100),
)


def test_the_share_of_the_wider_of_two_groups_is_found():
    rng = np.random.default_rng(0)
    wide = rng.random((50, 400)) < 0.2
    x = rng.normal(size=wide.shape) * np.where(wide, 2.4, 0.7)
    weight = np.ones(x.shape)

    def found(genes=slice(None)):
        return float(share_of_wide(jnp.asarray(x[:, genes]), jnp.asarray(weight[:, genes])))

    assert found() == pytest.approx(0.2, abs=0.02)
    x[:, 300:] *= 10
    weight[:, 300:] = 0
    assert found() == pytest.approx(0.2, abs=0.02)
    assert found(rng.permutation(400)) == pytest.approx(found(), rel=1e-4)


@pytest.mark.parametrize("size", [0.0, 1e-4, 1.0, 40.0])
def test_probabilities_have_the_share_as_their_mean(size):
    rng = np.random.default_rng(1)
    odds = jnp.asarray(2 * size * rng.normal(size=(20, 100)))
    weight = jnp.asarray(rng.random(odds.shape))
    # What a prior is sure of is no reason to know less of the rest.
    odds = odds.at[0, 0].set(jnp.inf).at[0, 1].set(-jnp.inf)
    p = 1 / (1 + np.exp(-np.asarray(odds + offset(odds, weight, 0.08), float)))
    assert p[0, 0] == 1 and p[0, 1] == 0
    assert (weight * p).sum() / weight.sum() == pytest.approx(0.08, rel=0.02)


def test_the_share_goes_down_as_candidates_become_more():
    rng = np.random.default_rng(2)
    deviation = rng.normal(size=4000) * np.where(rng.random(4000) < 0.1, 2.4, 0.7)

    def share(regulators):
        z = jnp.asarray(deviation.reshape(regulators, -1))
        return float(share_of_edges(z, jnp.ones(z.shape)))

    assert share(20) / share(200) == pytest.approx(np.sqrt(10), rel=1e-4)
    assert share(1) == pytest.approx(share(2), rel=1e-4) and 0 < share(1) < 0.5


def edges_of(known):
    return known.loc[known["label"] == 1, ["source", "target"]]


@pytest.mark.parametrize(
    "kind", ["none", "known", "edges", pytest.param("embedding", marks=pytest.mark.slow)]
)
def test_probabilities_come_true(kind):
    errors, skills = [], []
    for seed, size in enumerate(SIZES):
        made = simulate(size, seed=seed)
        given = {
            "none": {},
            "known": {"edge": priors.KnownEdges(made.known)},
            "edges": {"edge": priors.KnownEdges(edges_of(made.known))},
            "embedding": {"effect": priors.GeneEmbedding(made.embedding)},
        }[kind]
        fitted = exact.fit(made.data, **given)
        net = exact.network(fitted)
        pairs = candidate_pairs(net)
        found = reliability_scores(net.probability[pairs], true_edges(Fitted(made, net)))
        errors.append(found["ece"])
        skills.append(found["brier_skill"])
    assert max(errors) < 0.07 and np.mean(errors) < 0.05
    assert min(skills) > 0.03


def test_how_many_edges_there_are_follows_from_the_prior_and_from_the_expression():
    made = simulate(SIZES[1], seed=0)

    def fit(edge=None, edges=None):
        fitted = exact.fit(made.data, edge=edge, config=exact.Config(edges=edges))
        pairs = candidate_pairs(exact.network(fitted))
        return fitted.probability[pairs].mean(), fitted.learned["share"], pairs

    mean, share, pairs = fit(priors.KnownEdges(made.known, unknown=0.02))
    stated = np.full(pairs.shape, 0.02)
    at = {gene: i for i, gene in enumerate(made.data.genes)}
    rows = {gene: i for i, gene in enumerate(made.data.regulators)}
    for source, target, label in made.known[["source", "target", "label"]].itertuples(index=False):
        stated[rows[source], at[target]] = 0.95 if label else 0.05
    # The log-odds of the mean of a logit with standard deviation 1.
    odds = np.log(stated / (1 - stated)) / np.sqrt(1 + np.pi / 8)
    told = (1 / (1 + np.exp(-odds)))[pairs].mean()
    assert mean == pytest.approx(np.cbrt(share**2 * told), rel=0.02)
    assert abs(np.log(share / told)) > 0.3
    # A share that is stated for all pairs holds.
    assert fit(edges=0.02)[0] == pytest.approx(0.02, rel=0.02)


@pytest.mark.parametrize(
    "prior",
    [
        priors.KnownEdges,
        partial(priors.KnownEdges, observe=True),
        lambda table: 0.5 * priors.KnownEdges(table.assign(label=1)),
        lambda table: priors.KnownEdges(table) + priors.GraphPrior(table),
        priors.GraphPrior,
    ],
)
def test_edges_that_are_named_do_not_make_others_fewer(prior):
    made = simulate(SIZES[1], seed=0)
    few, all_of_them = edges_of(made.known), made.network[["source", "target"]]

    def fit(table):
        fitted = exact.fit(made.data, edge=prior(table))
        pairs = candidate_pairs(exact.network(fitted))
        return fitted.probability[pairs].mean(), fitted.learned["share"]

    mean, share = fit(few)
    assert mean == pytest.approx(share, rel=0.02)
    mean, share = fit(all_of_them)
    assert mean > 1.05 * share


@pytest.mark.parametrize("absences", [False, True])
@pytest.mark.parametrize("slope", [1.0, 2.0, 4.0])
def test_labelled_pairs_show_how_fast_odds_rise(slope, absences):
    rng = np.random.default_rng(3)
    factor = np.maximum(rng.normal(-0.5, 0.5, (50, 400)), rng.normal(-0.5, 1.0, (50, 400)))
    odds = slope * factor
    odds += float(offset(jnp.asarray(odds), jnp.ones(odds.shape), 0.1))
    edge = rng.random(odds.shape) < 1 / (1 + np.exp(-odds))
    labelled = rng.random(odds.shape) < 0.2

    def found(present, absent):
        labels = (jnp.asarray(part, float) for part in (present, absent))
        given = jnp.asarray(factor), jnp.ones(odds.shape), jnp.asarray(0.1)
        return float(worth_by_labels(*given, *labels))

    none = np.zeros(odds.shape)
    assert found(edge & labelled, ~edge & labelled if absences else none) == pytest.approx(
        slope, rel=0.15
    )
    assert found(none, none) == pytest.approx(SHIFT, rel=1e-3)
    # Labels of other pairs show that the expression says nothing of them.
    assert found(rng.permutation(edge & labelled), ~edge & labelled) < 0.7 * slope


def test_labels_are_found_within_other_priors():
    made = simulate(SIZES[1], seed=0)
    context = priors.GeneContext(made.data.genes, made.data.regulators, 10, "logit")
    known = priors.KnownEdges(made.known)

    def labels(prior):
        return prior_odds(prior, context, random.key(0)).labels

    one = labels(known)
    assert one.sum(axis=(1, 2)).tolist() == [(made.known["label"] == k).sum() for k in (1, 0)]
    np.testing.assert_array_equal(labels(known + known), one)
    np.testing.assert_array_equal(labels(known + priors.GraphPrior(made.network)), one)
    np.testing.assert_array_equal(labels(0.5 * known), 0.5 * one)
    np.testing.assert_array_equal(labels(2.0 * known), one)
    other = labels(priors.Relabelled(known, among=made.data.regulators))
    assert other.sum() == one.sum() and (other != one).any()
    assert labels(priors.GraphPrior(made.network)) is None


@pytest.mark.parametrize("absences", [False, True])
def test_labels_make_probabilities_truer_and_leave_the_ranking(monkeypatch, absences):
    made = simulate(SIZES[0], seed=1)
    edge = priors.KnownEdges(made.known if absences else edges_of(made.known))

    def fit():
        net = exact.network(exact.fit(made.data, edge=edge))
        pairs = candidate_pairs(net)
        judged = reliability_scores(net.probability[pairs], true_edges(Fitted(made, net)))
        return judged["ece"], judged["brier_skill"], net.score

    error, skill, score = fit()
    monkeypatch.setattr("infosem_jax.grn.exact.score.worth_by_labels", lambda *_: SHIFT)
    plain_error, plain_skill, plain_score = fit()
    assert error < plain_error and skill > plain_skill
    np.testing.assert_array_equal(score, plain_score)


def test_what_labels_taught_is_stated_as_it_is():
    made = simulate(SIZES[1], seed=0)
    fitted = exact.fit(made.data, edge=priors.LabelledEdges(made.known))
    net = exact.network(fitted)
    pairs = candidate_pairs(net)
    np.testing.assert_allclose(
        net.probability[pairs], 1 / (1 + np.exp(-net.score[pairs])), atol=1e-5
    )
