"""The network: selection by masks, fits together, learning, and models that come back."""

from dataclasses import asdict, replace

import jax
import jax.numpy as jnp
import numpy as np
import perturbed as made
import pytest
from jax import random

from infosem_jax import graphs, perturbation
from infosem_jax.nn import GATv2
from infosem_jax.perturbation import AdaPertConfig, Config, Screen, Split, make_problem
from infosem_jax.perturbation.adapert import (
    QUICK,
    fit_networks,
    predict_network,
    predict_tasks,
    usual_shares,
)
from infosem_jax.perturbation.baselines import METHODS as BASELINES
from infosem_jax.perturbation.baselines import mean_response, single_sums
from infosem_jax.perturbation.counting import gene_similarity
from infosem_jax.perturbation.data import Responses, stack, take
from infosem_jax.perturbation.explanation import agreement, contexts
from infosem_jax.perturbation.gene_effects import (
    Variances,
    estimate_variances,
    leave_out_effects,
    predict_effects,
)
from infosem_jax.perturbation.joining import (
    ADDED,
    HeldOut,
    choose_shares,
)
from infosem_jax.perturbation.knowledge import make_knowledge
from infosem_jax.perturbation.methods import METHODS, configured, shuffled_graph
from infosem_jax.perturbation.mixing import (
    ALONE,
    AS_IF,
    ELSEWHERE,
    NONE,
    SOME,
    TOGETHER,
    USUAL,
    choose_weights,
    least_squares,
    left_out_parts,
    seen_in,
)
from infosem_jax.perturbation.neighbour_response import neighbour_outputs
from infosem_jax.perturbation.objective import ordered_pairs
from infosem_jax.perturbation.prepare import mean_outputs
from infosem_jax.perturbation.selector import pool, select
from infosem_jax.perturbation.similarity import (
    graph_similarity,
    perturbation_similarity,
    text_similarity,
)
from infosem_jax.perturbation.task import flags
from infosem_jax.scores import auroc

SMALL = AdaPertConfig(
    context="adaptive", features=8, heads=2, layers=1, latent=4, hidden=16, epochs=30, members=1,
    rate=1e-2, held_out=0.2, patience=30, dropout=0.0, components=3,
)  # fmt: skip
SETTINGS = asdict(SMALL)


def problem(kind="values", split=None):
    return problem_of(getattr(made, kind)(), split)


def problem_of(responses, split=None):
    return make_problem(responses, split or made.split(), made.knowledge())


def screen(kind="values"):
    """The same, held out by the screen's own parts."""
    responses = getattr(made, kind)()
    test = set(made.split().test.tolist())
    parts = tuple("test" if i in test else "train" for i in range(len(responses.perturbed)))
    return Screen(responses, {}, parts)


def test_attention_of_the_second_kind_by_hand():
    rng = np.random.default_rng(0)
    senders, receivers = np.array([0, 1, 2, 0, 3, 0]), np.array([1, 2, 1, 2, 3, 0])
    graph = graphs.from_pairs(4, senders, receivers)
    x = jnp.asarray(rng.normal(size=(5, 3)), jnp.float32)
    layer = GATv2(2, 2)
    params = layer.init(random.key(0), graph, x)["params"]
    found = np.asarray(layer.apply({"params": params}, graph, x))
    to = x @ params["to"]["kernel"] + params["to"]["bias"]
    of = x @ params["of"]["kernel"] + params["of"]["bias"]
    to, of = (np.asarray(h).reshape(5, 2, 2) for h in (to, of))
    attend = np.asarray(params["attend"])[:, :, 0]
    for i in range(4):
        own = senders[receivers == i]
        for head in range(2):
            hidden = to[i, head] + of[own, head]
            logit = np.where(hidden > 0, hidden, 0.2 * hidden) @ attend[:, head]
            weight = np.exp(logit) / np.exp(logit).sum()
            right = weight @ of[own, head]
            np.testing.assert_allclose(found[i, 2 * head : 2 * head + 2], right, atol=1e-5)


def test_selection_by_masks_is_the_loop_over_perturbations():
    rng = np.random.default_rng(0)
    h = jnp.asarray(rng.normal(size=(9, 4)), jnp.float32)
    node = jnp.asarray(rng.integers(0, 9, (5, 6)))
    hop = jnp.asarray(rng.choice([0, 1, 2, 127], (5, 6)))
    logit = jnp.asarray(rng.normal(size=(5, 6)), jnp.float32)
    for pooling in ("attention", "sum"):
        config = replace(SMALL, pooling=pooling, cut=0.5)
        chosen = select(logit, hop, jnp.float32(0.5), config, None)
        found = pool(h, node, chosen.weight, config)
        for i in range(5):
            score = jax.nn.sigmoid(logit[i])
            score = jnp.where(hop[i] == 0, 1.0, score)
            kept = np.flatnonzero((hop[i] <= 2) & ((score > 0.5) | (hop[i] == 0)))
            own = h[node[i, kept]]
            if pooling == "sum":
                right = own.sum(0)
            elif len(kept):
                right = (score[kept] @ own) / score[kept].sum()
            else:
                right = jnp.zeros(4)
            np.testing.assert_allclose(found[i], right, rtol=1e-4, atol=1e-5)


def test_gumbel_scores_are_bernoulli_at_low_temperature_and_noise_comes_from_the_key():
    config = replace(SMALL, temperature=1e-3)
    logit, hop = jnp.full((200, 50), 1.0), jnp.ones((200, 50), int)
    a = select(logit, hop, jnp.float32(0.1), config, random.key(0)).score
    assert float(a.mean()) == pytest.approx(float(jax.nn.sigmoid(1.0)), abs=0.02)
    assert float(((a < 1e-3) | (a > 1 - 1e-3)).mean()) > 0.99
    b = select(logit, hop, jnp.float32(0.1), config, random.key(0)).score
    np.testing.assert_array_equal(a, b)


def test_fixed_contexts_are_balls():
    hop = jnp.array([[0, 1, 2, 127]])
    logit = jnp.zeros((1, 4))
    for changes, right in (
        ({"context": "node"}, [1, 0, 0, 0]),
        ({"context": "hops", "hops": 1}, [1, 1, 0, 0]),
        ({"context": "hops", "hops": 2}, [1, 1, 1, 0]),
    ):
        config = replace(SMALL, **changes)
        weight = select(logit, hop, jnp.float32(0.1), config, random.key(0)).weight
        np.testing.assert_array_equal(weight[0], right)


@pytest.mark.parametrize("kind", ["values", "signed"])
def test_the_response_added_to_is_the_baselines_and_never_of_itself(kind):
    own = problem(kind)
    train, known = own.task.train, own.task.knowledge
    weight = perturbation_similarity(
        known, own.task.perturbed, own.task.line, train.perturbed, train.line
    )
    near = gene_similarity(known, train.genes) if kind == "signed" else None
    every = np.arange(len(train.perturbed))
    found = neighbour_outputs(weight, train, every, mean_outputs(train, 1.0), 1.0, near)
    right = BASELINES["neighbours_genes"].predict([own.task], 0)[0]
    if kind == "values":
        np.testing.assert_allclose(found[0], right.change, rtol=1e-4, atol=1e-5)
    else:
        odds = 1 / (1 + np.exp(-found))
        np.testing.assert_allclose(odds, [right.de, right.up], rtol=1e-3, atol=2e-4)
    # Half of the rows may be used: the others change nothing, but by the mean.
    other = train._replace(sign=np.where(every[:, None] < 6, train.sign, 0).astype(np.int8))
    if train.delta is not None:
        other = other._replace(delta=np.where(every[:, None] < 6, train.delta, 9))
    parts = [
        neighbour_outputs(weight, r, every[:6], mean_outputs(train, 1.0), 1.0, near)
        for r in (train, other)
    ]
    np.testing.assert_array_equal(*parts)
    itself = perturbation_similarity(
        known, train.perturbed, train.line, train.perturbed, train.line
    )
    assert not np.diag(itself).any() and itself.any()


def test_similarity_sums_edges_texts_and_genes_in_common():
    known = made.knowledge()
    asked, others = [("p00",), ("p00", "p10")], [("p01",), ("p00",), ("p20",)]
    found = perturbation_similarity(known, asked, ["l", "l"], others, ["l"] * 3)
    parts = [*graph_similarity(known, asked, others), text_similarity(known, asked, others)]
    common = np.array([[0, 1, 0], [0, 2**-0.5, 0]])
    right = sum(parts) + common
    assert found[0, 1] == 0 and found[1, 1] > 2**-0.5
    right[0, 1] = 0
    np.testing.assert_allclose(found, right, rtol=1e-5)
    # In another cell line it is the same perturbation, and the nearest.
    assert perturbation_similarity(known, asked, ["k", "k"], others, ["l"] * 3)[0].argmax() == 1


def test_pairs_in_order_are_those_of_the_auroc():
    rng = np.random.default_rng(0)
    score = rng.normal(size=(20, 5)).astype(np.float32)
    yes, known = rng.random((20, 5)) < 0.4, rng.random((20, 5)) < 0.7
    right, pairs = ordered_pairs(*map(jnp.asarray, (score, yes, known)))
    for g in range(5):
        own = known[:, g]
        assert float(right[g] / pairs[g]) == pytest.approx(auroc(score[own, g], yes[own, g]))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["values", "signed"])
def test_shares_of_parts_alone_are_the_parts(kind):
    own = problem(kind)
    fitted = fit_networks([own.task], replace(SMALL, epochs=2))[0]
    assert set(np.unique(fitted.shares.added[0])) <= set(np.float32(ADDED))
    assert kind == "signed" or (fitted.shares.added[1] == 1).all()
    weights = (0, 1, 0), (1, 0, 0), (0, 0, 1), (0, 0, 0)
    near, effects, sums, none = (np.tile(np.float32(x), (len(USUAL), 1)) for x in weights)
    parts = (0, near, "neighbours_genes"), (1, near, "neighbours")
    if kind == "values":
        parts = (*parts, (0, effects, "gene_effects"), (0, sums, "additive"), (0, none, "mean"))
    for plain, weights, name in parts:
        shares = fitted.shares._replace(
            added=np.zeros_like(fitted.shares.added),
            plain=np.full_like(fitted.shares.plain, plain),
            parts=weights,
        )
        found = predict_network(fitted._replace(shares=shares, calibration=1.0), own.task)
        right = BASELINES[name].predict([own.task], 0)[0]
        np.testing.assert_allclose(found.change, right.change, rtol=1e-3, atol=1e-3)
    usual = usual_shares(SMALL, True, 12)
    assert usual.added[:, 0].tolist() == [0, 1] and not usual.plain.any()
    assert (usual_shares(replace(SMALL, base="mean"), False, 12).added == 1).all()


@pytest.mark.parametrize("kind", ["values", "signed"])
def test_shares_leave_the_usual_only_where_held_out_perturbations_are_sure(kind):
    rng = np.random.default_rng(0)
    n, genes = 60, 36
    # Genes that few, some and many perturbations change: a group of each.
    rate = np.repeat([0.2, 0.5, 0.8], 12)
    sign = (rng.random((n, genes)) < rate) * rng.choice([-1, 1], (n, genes))
    truth = Responses(
        "made", (("p",),) * n, ("line",) * n, tuple(f"g{i}" for i in range(genes)),
        sign.astype(np.int8), np.ones(sign.shape, bool),
        delta=sign.astype(np.float32) if kind == "values" else None,
    )  # fmt: skip
    answer = sign if kind == "values" else np.abs(sign)
    both = np.stack([answer, answer]).astype(float)
    noise = rng.normal(size=(2, n, genes))
    usual = usual_shares(SMALL, kind == "values", genes)

    def chosen(base, network):
        held = HeldOut(truth, np.stack([base, base]), network)
        return choose_shares([held], usual, truth, 1.0).added[0]

    # Where the network is noise it is left out; where it is the truth it counts; else the usual.
    other = rng.normal(size=noise.shape)
    assert (chosen(both + 0.5 * noise, 9 * other) == 0).all()
    assert (chosen(0.5 * noise, both) > 0.2).all()
    assert (chosen(noise, 0 * noise) == usual.added[0]).all()


def test_effects_of_genes_are_conditional_means_of_normal_variables():
    values = made.values(noise=0.5)
    names = (("p00", "p10"), ("p01", "p20"), *values.perturbed[2:])
    train = values._replace(perturbed=names, line=("a", "b") * 7 + ("a",))
    variances = Variances(0.3, 0.1, 0.5)
    asked = [("p00",), ("p10", "p20"), ("unseen",)]
    found = predict_effects(train, asked, "aba", variances)
    # Own and common effects in either line as variables of one vector, observed with noise.
    genes = sorted({gene for of in (*names, *asked) for gene in of})
    lines = np.array([[1, 0.5], [0.5, 1]])
    of_genes = np.eye(len(genes)) + 0.3

    def rows(perturbed, line):
        picked = np.zeros((len(perturbed), 2, len(genes)))
        for i, (of, own) in enumerate(zip(perturbed, line, strict=True)):
            picked[i, "ab".index(own), [genes.index(gene) for gene in of]] = 1
        return picked.reshape(len(perturbed), -1)

    every, cov = np.kron(lines, of_genes), rows(names, train.line)
    inner = cov @ every @ cov.T + 0.1 * np.eye(15)
    right = rows(asked, "aba") @ every @ cov.T @ np.linalg.solve(inner, train.delta)
    np.testing.assert_allclose(found, right, atol=1e-5)
    out = [(0, {0}), (7, {7, 3, 0})]
    for (i, own), left in zip(out, leave_out_effects(train, variances, out), strict=True):
        others = take(train, np.setdiff1d(np.arange(15), list(own)))
        one = predict_effects(others, names[i : i + 1], train.line[i], variances)
        np.testing.assert_allclose(left, one[0], atol=1e-5)


def test_variances_are_those_that_made_the_responses():
    rng = np.random.default_rng(0)
    names = [(f"g{i}",) for i in range(20)] + [(f"g{i}", f"g{i + 10}") for i in range(10)]
    of = np.array([[(f"g{i}" in genes) for i in range(20)] for genes in names], float)
    for common, noise in ((0.0, 1.0), (1.0, 0.03), (0.3, 0.3)):
        effects = rng.normal(size=(20, 400)) + np.sqrt(common) * rng.normal(size=(1, 400))
        delta = of @ effects + np.sqrt(noise) * rng.normal(size=(30, 400))
        sign = np.zeros(delta.shape, np.int8)
        train = Responses(
            "made", tuple(names), ("l",) * 30, tuple(f"x{i}" for i in range(400)), sign,
            sign == 0, delta=delta.astype(np.float32),
        )  # fmt: skip
        assert estimate_variances(train) == Variances(common, noise, 1.0)


def test_combinations_are_sums_of_singles_where_these_are_all_there_is():
    values = made.values(noise=0.0)
    renamed = values._replace(perturbed=(("p01", "p10"), *values.perturbed[1:]))
    split = Split(np.arange(1, 15), np.zeros(0, int), np.array([0]), "made")
    own = make_problem(renamed, split, made.knowledge())
    found = predict_tasks([own.task], 0, replace(SMALL, epochs=2, context="none"))[0]
    right = BASELINES["additive"].predict([own.task], 0)[0]
    assert np.abs(found.change - right.change).max() < 0.1 * np.abs(right.change).max()


@pytest.mark.parametrize("kind", [NONE, TOGETHER, ELSEWHERE, SOME, ALONE])
def test_parts_count_by_what_they_add_to_the_plainest_answer(kind):
    usual = USUAL[kind]

    def weights(n, truth):
        """Return the weights where parts do not overlap, of n changes that are a sum of them."""
        parts = n * np.eye(3)
        return least_squares(usual, parts, parts @ truth, float(n))

    np.testing.assert_allclose(weights(300, usual), usual, atol=1e-12)
    # Three that follow the plainest answer are assumed.
    for n in (1, 300):
        other = np.array([0.2, 0.5, 0.3])
        expected = (n * other + AS_IF * usual) / (n + AS_IF)
        np.testing.assert_allclose(weights(n, other), expected, atol=1e-5)
    np.testing.assert_array_equal(least_squares(usual, np.eye(3), np.ones(3), 0.0), usual)
    # Where nothing is believed no part has to count; else they are shares.
    free = not usual.any()
    none, twice = weights(300, -np.ones(3)), weights(300, 2 * np.array([0.2, 0.5, 0.3]))
    assert none.sum() == pytest.approx(0 if free else 1, abs=1e-5)
    assert twice.sum() == pytest.approx(600 / (300 + AS_IF) if free else 1, abs=1e-5)


def singles_and_combinations(rng, effects):
    """Return a screen of single genes and neighbouring pairs, whose effects add up."""
    n = len(effects)
    names = [(f"g{i}",) for i in range(n)]
    names += [(f"g{i}", f"g{i + 1}") for i in range(0, n - 1, 3)]
    delta = np.stack([effects[[int(gene[1:]) for gene in genes]].sum(0) for genes in names])
    delta += 0.1 * rng.normal(size=delta.shape)
    sign = np.zeros(delta.shape, np.int8)
    return Responses(
        "made", tuple(names), ("l",) * len(names), tuple(f"x{i}" for i in range(delta.shape[1])),
        sign, sign == 0, np.zeros(delta.shape, np.float32), delta.astype(np.float32),
    )  # fmt: skip


@pytest.mark.parametrize("useful", [True, False])
def test_parts_that_are_useless_get_no_weight(useful):
    rng = np.random.default_rng(1)
    group = np.arange(30) // 10
    shared = rng.normal(size=(3, 200))[group]
    effects = (shared if useful else 0) + 0.3 * rng.normal(size=(30, 200))
    train = singles_and_combinations(rng, effects)
    of = np.array([[f"g{i}" in genes for i in range(30)] for genes in train.perturbed])
    # Similar by their group; where this tells nothing of responses, it is no use.
    member = of @ np.eye(3)[group]
    similarity = (member @ member.T).astype(np.float32)
    np.fill_diagonal(similarity, 0)
    weights = choose_weights(train, similarity, estimate_variances(train))
    none, alone = weights[[NONE, ALONE]]
    # Effects that add up are all there is to combinations of known genes.
    assert alone[1] < 0.05 and alone[0] + alone[2] > 0.95
    if useful:
        assert none[1] > 0.7
    else:
        assert none[1] < 0.1


def test_left_out_perturbations_do_not_tell_of_themselves():
    rng = np.random.default_rng(2)
    train = singles_and_combinations(rng, rng.normal(size=(9, 20)))
    n = len(train.perturbed)
    similarity = rng.random((n, n)).astype(np.float32)
    np.fill_diagonal(similarity, 0)
    variances = Variances(0.3, 0.1, 1.0)
    rows = seen_in(train).rows
    out = [(0, {0}), (0, set(rows["g0"])), (9, rows["g0"] | rows["g1"]), (9, {9}), (9, {0, 9})]
    found = left_out_parts(train, similarity, variances, out)
    for (row, own), (change, effects, similar, added) in zip(out, found, strict=True):
        kept = np.setdiff1d(np.arange(n), list(own))
        others = take(train, kept)
        mean = others.delta.mean(0)
        one = predict_effects(others, [train.perturbed[row]], ("l",), variances)[0]
        weight = similarity[row, kept]
        near = (weight @ others.delta + mean) / (weight.sum() + 1)
        np.testing.assert_allclose(change, train.delta[row] - mean, atol=1e-5)
        np.testing.assert_allclose(effects, one - mean, atol=1e-5)
        np.testing.assert_allclose(similar, near - mean, atol=1e-5)
        singles = train._replace(perturbed=others.perturbed, line=others.line, delta=others.delta)
        sums = single_sums(singles, [train.perturbed[row]], ("l",))[0]
        np.testing.assert_allclose(added, np.where(np.isfinite(sums), sums - mean, 0), atol=1e-5)


def test_kinds_are_by_what_is_left():
    seen = seen_in(singles_and_combinations(np.random.default_rng(2), np.ones((9, 20))))
    for genes, line, out, kind in (
        (("g0",), "l", {0}, TOGETHER),
        (("g0",), "l", {0, 9}, NONE),
        (("g0",), "k", {9}, ELSEWHERE),
        (("g0", "g1"), "l", {0}, SOME),
        (("g0", "g1"), "l", {0, 1}, TOGETHER),
        (("g0", "g1"), "l", {0, 1, 9}, NONE),
        (("g0", "g1"), "l", {9}, ALONE),
        (("g1", "g2"), "k", set(), ELSEWHERE),
        (("g1", "other"), "l", set(), SOME),
        (("other",), "l", set(), NONE),
    ):
        assert seen.kind(genes, line, out) == kind


def test_combinations_that_share_a_gene_count_little():
    """One gene in three combinations, never alone, that do not respond alike."""
    rng = np.random.default_rng(3)

    def weight(names):
        n = len(names)
        several = np.array([len(own) > 1 for own in names])
        delta = rng.normal(size=(n, 50)) * np.where(several, 1, 0.01)[:, None]
        delta = delta.astype(np.float32)
        zero = np.zeros((n, 50), np.int8)
        genes = tuple(f"x{i}" for i in range(50))
        train = Responses("made", names, ("l",) * n, genes, zero, zero == 0, 0 * delta, delta)
        near = np.ones((n, n), np.float32) - np.eye(n, dtype=np.float32)
        return choose_weights(train, near, Variances(0.0, 0.03, 1.0))[TOGETHER, 0]

    others = tuple((f"s{i}",) for i in range(20))
    once = weight((("a0", "b0"), ("a0", "b1"), ("a0", "b2"), *others))
    pairs = [(f"a{i}", f"b{2 * i + j}") for i in range(10) for j in range(2)]
    often = weight((*pairs, *others))
    # Less is believed of effects of genes the more genes show that these tell nothing.
    assert 1 - once < (1 - often) / 2
    # Ten genes of two combinations each count as ten.
    assert often < 0.5


def test_responses_to_test_perturbations_never_reach_the_weights():
    full = made.values()
    changed = full.delta.copy()
    changed[made.split().test] = 9
    settings = replace(SMALL, epochs=2, context="none")
    first, second = (
        fit_networks([problem_of(each).task], settings)[0].shares
        for each in (full, full._replace(delta=changed))
    )
    np.testing.assert_array_equal(first.parts, second.parts)
    np.testing.assert_array_equal(first.added, second.added)
    # Those of training do.
    changed = full.delta.copy()
    changed[made.split().train] *= np.random.default_rng(0).normal(size=(12,))
    third = fit_networks([problem_of(full._replace(delta=changed)).task], settings)[0].shares
    assert (first.parts != third.parts).any()


@pytest.mark.parametrize("kind", ["values", pytest.param("signed", marks=pytest.mark.slow)])
def test_the_network_learns_the_groups_and_its_deviations_are_right(kind):
    own = problem(kind)
    found = predict_tasks([own.task], 0, SMALL)[0]
    usual = mean_response(own.task).change
    scores = perturbation.evaluate(found, own.truth, usual).metrics
    if kind == "values":
        assert scores["pearson_reference"] > 0.9
        assert found.sd is not None and scores["within_90"] > 0.5
    else:
        assert scores["de_auroc"] > 0.95
    assert found.informed.all()


@pytest.mark.slow
def test_fits_together_are_fits_apart_and_see_no_test_response():
    full, known = made.values(), made.knowledge()
    tests = [np.array([4, 9, 14]), np.array([3, 8, 13])]
    splits = [Split(np.setdiff1d(np.arange(15), t), np.zeros(0, int), t, "made") for t in tests]
    # What fits share is the graph, which no response enters; without it they compile in a third.
    short = replace(SMALL, epochs=4, context="none")

    def predicted(responses, which=splits):
        tasks = [make_problem(responses, split, known).task for split in which]
        return predict_tasks(tasks, 0, short)

    together = predicted(full)
    # A fit alone has the first one's key.
    alone = predicted(full, splits[:1])
    np.testing.assert_allclose(together[0].change, alone[0].change, rtol=1e-3, atol=1e-4)
    # What the first fold is tested on, the second one learns from: the first must not look at it.
    delta, sign = full.delta.copy(), full.sign.copy()
    delta[tests[0]] += 9
    sign[tests[0]] *= -1
    other = predicted(full._replace(delta=delta, sign=sign))
    np.testing.assert_array_equal(other[0].change, together[0].change)
    np.testing.assert_array_equal(other[0].sd, together[0].sd)
    assert np.abs(other[1].change - together[1].change).max() > 0.1


def asking(own, perturbed, line, control):
    return own.task._replace(perturbed=perturbed, line=line, control=control)


def test_predictions_do_not_depend_on_other_perturbations():
    """A perturbation asked for twice, or beside others, is predicted the same."""
    own = problem()
    fitted = fit_networks([own.task], replace(SMALL, epochs=2))[0]
    whole = predict_network(fitted, own.truth)
    order = np.array([2, 0, 1])
    moved = predict_network(fitted, take(own.truth, order))
    np.testing.assert_allclose(moved.change, whole.change[order], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [pytest.param("values", marks=pytest.mark.slow), "signed"])
def test_fits_come_back_from_their_file(kind, tmp_path):
    """Graph attention of values, and of signs the decoder with weights per gene."""
    name = "adapert" if kind == "values" else "gears_untuned"
    small = SETTINGS if kind == "values" else QUICK | {"context": "none"}
    told = []
    config = Config(name, "published", small | {"epochs": 2})
    fitted = perturbation.fit(
        screen(kind), made.knowledge(), config=config, seeds=2, on_chunk=told.append
    )
    assert [progress.done for progress in told] == [1, 2] and told[0].total == 2
    assert len(fitted.networks) == 2 and fitted.settings["epochs"] == 2
    perturbation.save(tmp_path / "model.npz", fitted)
    back = perturbation.load(tmp_path / "model.npz")
    assert back._replace(train=0, knowledge=0, networks=0) == fitted._replace(
        train=0, knowledge=0, networks=0
    )
    before, after = (perturbation.predict(each, ["p04", "p00+p10"]) for each in (fitted, back))
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)


def test_methods_without_a_network_are_fitted_alike(tmp_path):
    config = Config("neighbours", "published")
    fitted = perturbation.fit(screen(), made.knowledge(), config=config)
    perturbation.save(tmp_path / "model.npz", fitted)
    back = perturbation.load(tmp_path / "model.npz")
    own = problem()
    right = BASELINES["neighbours"].predict([own.task], 0)[0]
    test = perturbation.evaluate_held_out(back, screen())
    np.testing.assert_allclose(test.predicted.change, right.change, rtol=1e-5, atol=1e-6)
    assert test.truth.perturbed == own.truth.perturbed
    assert test.scores.metrics["pearson_reference"] > 0.9
    assert test.mean_scores.metrics["pearson_reference"] == 0
    # All names of a perturbation are the same; controls of the line are taken where none are given.
    named, listed = (perturbation.predict(back, x) for x in (["p10+p00"], [("p00", "p10")]))
    np.testing.assert_array_equal(named.change, listed.change)
    with pytest.raises(ValueError, match="chooses no nodes"):
        perturbation.explain(back, "p04")
    with pytest.raises(ValueError, match="cell lines line, found 'K562'"):
        perturbation.predict(back, ["p04"], "K562")
    with pytest.raises(ValueError, match="a list of perturbations"):
        perturbation.predict(back, "p04")
    with pytest.raises(ValueError, match="data that were given to fit"):
        perturbation.evaluate_held_out(back, made.values()._replace(genes=tuple("abcdefghijkl")))
    everything = perturbation.fit(made.values(), made.knowledge(), config=Config("mean", "none"))
    assert len(everything.train.perturbed) == 15
    with pytest.raises(ValueError, match="found one of all"):
        perturbation.evaluate_held_out(everything, made.values())
    (tmp_path / "model.npz").write_bytes(b"something else")
    with pytest.raises(ValueError):
        perturbation.load(tmp_path / "model.npz")


@pytest.mark.parametrize("method", ["adapert", "neighbours"])
@pytest.mark.parametrize("kind", ["values", "signed"])
def test_a_cell_line_is_predicted_from_others(kind, method):
    """Its controls may be far from theirs: over few genes a line may express ten times as much."""
    one = getattr(made, kind)()
    other = getattr(made, kind)(1)._replace(line=("other",) * len(one.line))
    if one.continuous:
        other = other._replace(control=other.control / 8)
    both = stack([one, other], "both")
    everything = perturbation.fit(both, made.knowledge(), config=Config("mean", "none"))
    with pytest.raises(ValueError, match=r"--line\), one of line, other, found none"):
        perturbation.predict(everything, ["p04"])
    settings = SETTINGS | {"epochs": 2} if method == "adapert" else {}
    config = Config(method, "line:other", settings)
    fitted = perturbation.fit(both, made.knowledge(), config=config)
    test = perturbation.evaluate_held_out(fitted, both)
    assert set(test.truth.line) == {"other"} and len(test.truth.perturbed) == 15
    with pytest.raises(ValueError, match="cell lines line, found 'other'"):
        perturbation.predict(fitted, ["p04"], "other")
    if not one.continuous:
        # Signs have no controls, which would make a misspelt line a new one.
        with pytest.raises(ValueError, match="cell lines line, found 'other'"):
            perturbation.predict(fitted, ["p04"], "other", made.values().control[4:5])
    else:
        own = perturbation.predict(fitted, ["p04"], "other", other.control[4:5])
        np.testing.assert_allclose(own.change, test.predicted.change[4:5], rtol=1e-4, atol=1e-5)


def test_no_test_response_enters_a_fit():
    config = Config("adapert", "published", SETTINGS | {"epochs": 2})
    full = screen()
    delta = full.responses.delta.copy()
    delta[made.split().test] += 9
    other = full._replace(responses=full.responses._replace(delta=delta))
    found = [
        perturbation.predict(perturbation.fit(data, made.knowledge(), config=config), ["p04"])
        for data in (full, other)
    ]
    np.testing.assert_array_equal(found[0].change, found[1].change)


def test_contexts_name_neighbours_and_agree_with_a_count_by_hand():
    own = problem()
    config = Config("adapert", "published", SETTINGS | {"epochs": 2})
    fitted = perturbation.fit(screen(), made.knowledge(), config=config)
    found = perturbation.explain(fitted, "p04")
    assert found.nodes["gene"].iloc[0] == "p04" and found.nodes["hop"].iloc[0] == 0
    assert set(found.nodes["gene"]) == {f"p0{i}" for i in range(5)}
    chosen = set(found.nodes["gene"][found.nodes["selected"]])
    assert set(found.edges["source"]) | set(found.edges["target"]) <= chosen
    network = fitted.networks[0]
    near = contexts(network, own.truth)
    share = agreement(near, own.truth, network.knowledge.nodes)["selected_share"]
    others = (near.hop > 0) & (near.hop < 127)
    assert share == pytest.approx(near.selected[others].mean())
    plain = network._replace(config=replace(SMALL, context="none"))
    with pytest.raises(ValueError, match="chooses nodes"):
        contexts(plain, own.truth)


def test_genes_of_which_nothing_is_known_are_flagged_and_predicted():
    own = problem()
    fitted = fit_networks([own.task], replace(SMALL, epochs=2))[0]
    asked = (("nowhere",), ("p04",)), ("line",) * 2, own.truth.control[:2]
    odd = predict_network(fitted, asking(own, *asked))
    assert odd.informed.tolist() == [False, True] and np.isfinite(odd.change).all()


@pytest.mark.parametrize(
    "method", [pytest.param("adapert", marks=pytest.mark.slow), "gene_effects", "additive"]
)
def test_what_was_perturbed_in_training_is_no_guess(method):
    """Also where no graph knows it."""
    own = problem()
    train = own.task.train
    knowledge = make_knowledge({}, None, [*train.genes, *(g for p in train.perturbed for g in p)])
    seen = train.perturbed[0]
    asked = (seen, ("nowhere",), (*seen, "nowhere"))
    task = own.task._replace(
        knowledge=knowledge, perturbed=asked, line=("line",) * 3, control=own.truth.control[[0] * 3]
    )
    if method == "adapert":
        found = predict_network(fit_networks([task], replace(SMALL, epochs=2))[0], task)
    else:
        found = METHODS[method].predict([task], 0)[0]
    assert found.informed.tolist() == [True, False, True]
    (note,) = flags(task)
    assert "no graph (--graph) and no texts (--text)" in note


def test_bad_settings_and_tasks_are_refused():
    for changes in ({"features": 7}, {"cut": 1.0}, {"members": 0}, {"rate": -1.0},
                    {"temperature": 0.0}, {"focus": 0.5}, {"start": 0.0}):  # fmt: skip
        with pytest.raises(ValueError, match=next(iter(changes))):
            replace(SMALL, **changes)
    with pytest.raises(ValueError, match="did you mean"):
        configured("adapret")
    with pytest.raises(ValueError, match="no setting"):
        configured("adapert", {"hop": 2})
    with pytest.raises(ValueError, match="expected a value like"):
        configured("adapert", {"hops": "2"})
    with pytest.raises(ValueError, match="no settings"):
        configured("mean", {"hops": 2})
    with pytest.raises(ValueError, match="share knowledge"):
        fit_networks([problem().task, problem().task], SMALL)
    own = problem()
    high = np.expm1(2 * own.truth.control[:1])
    fitted = fit_networks([own.task], replace(SMALL, epochs=1))[0]
    with pytest.raises(ValueError, match="control means"):
        predict_network(fitted, asking(own, (("p00",),), ("line",), None))
    with pytest.raises(ValueError, match="Expected controls"):
        predict_network(fitted, asking(own, (("p00",),), ("line",), own.truth.control))
    with pytest.raises(ValueError, match="logarithms mixed"):
        predict_network(fitted, asking(own, (("p00",),), ("line",), high))


def test_shuffled_graphs_are_a_method_of_their_own():
    own = problem()
    method = configured("adapert", SETTINGS | {"epochs": 2})
    mixed = shuffled_graph(method)
    assert "shuffled" in mixed.about
    a, b = (m.predict([own.task], 0)[0].change for m in (method, mixed))
    assert not np.allclose(a, b)
    assert method.settings == configured("adapert", SETTINGS | {"epochs": 2}).settings
