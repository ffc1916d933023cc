from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilations import compilations
from jax import random
from scipy.special import expit
from sklearn.metrics import log_loss, roc_auc_score

from infosem_jax.data import dataset
from infosem_jax.grn.baselines import genelink, gnnlink, links
from infosem_jax.grn.baselines.problem import Problem

GENES, REGULATORS, CELLS = 40, 10, 60
# One size for all tests, since compilation takes most of the time.
SIZE = {"components": 8, "batch_size": 64, "epochs": 90, "steps": 4, "rate": 0.01}
GAT = genelink.GENELinkConfig(features=(16, 16), channel=(16, 16), attention_dropout=0.1, **SIZE)
GCN = gnnlink.GNNLinkConfig(features=(8, 8), decoder="mlp", loss="cross_entropy", **SIZE)
SOLVERS = [(genelink.solve, GAT), (gnnlink.solve, GCN)]
both = pytest.mark.parametrize(("solve", "config"), SOLVERS, ids=["genelink", "gnnlink"])


def problem(seed=0, share=0.6):
    """Genes of four programmes; a regulator targets those of the programme after its own."""
    rng = np.random.default_rng(0)
    programme = np.arange(GENES) % 4
    activity = rng.normal(size=(CELLS, 4))
    x = np.maximum(activity[:, programme] + 0.5 * rng.normal(size=(CELLS, GENES)) + 3, 0)
    names = tuple(f"G{i:02d}" for i in range(GENES))
    data = dataset(x, names)
    truth = (programme[:REGULATORS, None] + 1) % 4 == programme
    truth ^= rng.uniform(size=truth.shape) < 0.02
    part = np.random.default_rng([seed, 1]).uniform(size=truth.shape)
    part[np.arange(REGULATORS), np.arange(REGULATORS)] = 1
    labels = np.where(part < share, truth, np.nan)
    validation = np.where((part >= share) & (part < share + 0.1), truth, np.nan)
    made = Problem(data, names[:REGULATORS], names, labels, validation, seed)
    return made, truth, (part >= share + 0.1) & (part < 1)


def part_of(given, regulators, genes):
    """Return the problem of some regulators and genes, in this order; expression stays."""
    block = np.ix_(regulators, genes)
    return given._replace(
        regulators=tuple(given.regulators[i] for i in regulators),
        genes=tuple(given.genes[i] for i in genes),
        labels=given.labels[block],
        validation=given.validation[block],
    )


def close(scores, expected):
    np.testing.assert_allclose(scores, expected, atol=0.02 * np.ptp(expected))


@both
def test_a_planted_rule_is_learned_whatever_the_order_of_names(solve, config):
    given, truth, test = problem()
    (scores,) = solve([given], config)
    assert scores.shape == truth.shape
    assert roc_auc_score(truth[test], scores[test]) > 0.75
    short = replace(config, epochs=2)  # rounding grows with every step
    (scores,) = solve([given], short)
    rng = np.random.default_rng(3)
    genes, cells, rows = (rng.permutation(n) for n in (GENES, CELLS, REGULATORS))
    data = given.data
    moved = dataset(
        data.x[np.ix_(cells, genes)],
        [data.genes[i] for i in genes],
        cells=[data.cells[i] for i in cells],
    )
    (again,) = solve([part_of(given, rows, genes)._replace(data=moved)], short)
    close(again, scores[np.ix_(rows, genes)])


@both
def test_problems_solved_at_once_equal_each_alone_and_share_one_program(solve, config):
    short = replace(config, epochs=2)
    given = problem()[0]
    # The others have more pairs and edges, and fewer regulators and genes.
    problems = [
        given,
        problem(1, 0.8)[0],
        part_of(problem(2, 0.85)[0], np.arange(9), np.arange(38)),
    ]
    with compilations() as compiled:
        at_once = list(solve(problems, short))
    assert compiled.count("run_chunk") == compiled.count("_score_rows") == 1
    assert [scores.shape for scores in at_once] == [(10, 40), (10, 40), (9, 38)]
    (alone,) = solve([given], short)
    close(at_once[0], alone)
    assert np.abs(at_once[1] - alone).max() > 0.1 * np.ptp(alone)


def test_validation_labels_only_stop_training():
    given, _, _ = problem()
    turned = given._replace(validation=1 - given.validation)
    short = replace(GCN, epochs=2)
    without, other = (next(iter(gnnlink.solve([p], short))) for p in (given, turned))
    np.testing.assert_array_equal(without, other)
    stopping = replace(GCN, patience=2, epochs=6)
    stopped, other = (next(iter(gnnlink.solve([p], stopping))) for p in (given, turned))
    assert np.abs(stopped - other).max() > 1e-3


def test_the_graph_holds_training_edges_only():
    given, truth, _ = problem()
    made = links.training_graph(given, GAT)
    n = int(made.n_edge[0])
    found = set(zip(made.senders[:n].tolist(), made.receivers[:n].tolist(), strict=True))
    known = {(int(i), int(j)) for i, j in np.argwhere(given.labels == 1)}
    assert found == known | {(j, i) for i, j in known}
    assert 0 < len(known) < truth.sum()
    directed = links.training_graph(given, GCN)
    n = int(directed.n_edge[0])
    ends = zip(directed.receivers[:n].tolist(), directed.senders[:n].tolist(), strict=True)
    assert set(ends) == known | {(i, i) for i in range(GENES)}


def solved(**changes):
    """Return the scores of the first problem by settings that differ from GCN's, for 3 epochs."""
    (scores,) = gnnlink.solve([problem()[0]], replace(GCN, **{"epochs": 3} | changes))
    return scores


def test_with_fewer_pairs_without_an_edge_more_pairs_seem_edges():
    labels = problem()[0].labels
    share = (labels == 1).sum() / (~np.isnan(labels)).sum()
    assert share < 0.35
    balanced = expit(solved(negatives=1, epochs=10)).mean()
    assert balanced > expit(solved(epochs=10)).mean() + 0.5 * (0.5 - share)


def test_an_epoch_is_a_pass_or_a_number_of_steps():
    """More steps fit the labels better; a pass over all pairs is about as good as as many steps."""
    labels = problem()[0].labels
    known = ~np.isnan(labels)
    passes = -(-int(known.sum()) // 64)
    cost = {
        steps: log_loss(labels[known], expit(solved(steps=steps, epochs=6)[known]))
        for steps in (1, 0, passes, 4 * passes)
    }
    assert cost[1] > cost[0] > cost[4 * passes]
    assert abs(cost[0] - cost[passes]) < 0.5 * min(cost[1] - cost[0], cost[0] - cost[4 * passes])


def test_rates_of_batches_become_those_of_epochs():
    rate, decay = 0.01 * np.mean(0.9 ** np.arange(4)), 0.9**4
    of_batches = solved(decay=0.9, decay_every="batch", rate=0.01)
    np.testing.assert_allclose(of_batches, solved(decay=decay, rate=rate), rtol=1e-4, atol=1e-5)
    assert np.abs(of_batches - solved(decay=0.9, rate=0.01)).max() > 1e-3


def test_scores_are_random_only_as_published():
    given, _, _ = problem()
    graph = links.training_graph(given, GAT)
    x = jnp.asarray(links._features(given.data, GAT.components))

    @partial(jax.jit, static_argnums=0)
    def codes(as_published, seeds):
        network = genelink.GENELink(replace(GAT, channel_dropout=0.5, as_published=as_published))
        keys = {"params": random.key(0), "dropout": random.key(0)}
        params = network.init(keys, graph, x, True, method="encode")

        def one(seed):
            rngs = {"dropout": random.key(seed)}
            return network.apply(params, graph, x, True, rngs=rngs, method="encode")[0]

        return jax.lax.map(one, seeds)

    first, second = codes(False, jnp.arange(2))
    np.testing.assert_array_equal(first, second)
    first, second = codes(True, jnp.arange(2))
    assert not np.array_equal(first, second)


def test_bad_input_is_refused_before_training():
    given, _, _ = problem()
    for solve, config in SOLVERS:
        with pytest.raises(ValueError, match=r"found 0 edges and \d+ other pairs"):
            solve([given, given._replace(labels=np.where(given.labels == 1, np.nan, 0.0))], config)
        with pytest.raises(ValueError, match="batch_size: expected at least 1, found 0"):
            solve([given], replace(config, batch_size=0))
        with pytest.raises(ValueError, match="rate: expected a number above 0"):
            solve([given], replace(config, rate=0.0))
    with pytest.raises(ValueError, match="channel_dropout: expected a number below 1"):
        genelink.solve([given], replace(GAT, channel_dropout=1.0))
    with pytest.raises(ValueError, match="at least one layer"):
        gnnlink.solve([given], replace(GCN, features=()))


@pytest.mark.slow
def test_genelink_on_its_published_split(real_data: Path):
    from infosem_jax.data import read_expression, read_network
    from infosem_jax.grn.splits import candidates, read_split, training_labels

    folder = real_data / "beeline" / "hESC" / "TFs+500"
    data = read_expression(folder / "expression.npz")
    network = read_network(folder / "network_specific.csv.gz")
    universe = candidates(data, network, targets="expressed")
    split = read_split(folder / "split_specific_genelink.csv.gz", universe)
    labels = training_labels(universe, split)
    nothing = np.full_like(labels, np.nan)
    given = Problem(data, universe.regulators, universe.genes, labels, nothing)
    small = replace(genelink.REDUCED, heads=1, epochs=3, rate=0.01)
    (scores,) = genelink.solve([given], small)
    assert roc_auc_score(universe.truth[split.test], scores[split.test]) > 0.8
