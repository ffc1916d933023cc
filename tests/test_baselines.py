"""Baselines of the benchmark that need no network: one-hot, matrix completion, trees."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from infosem_jax.data import dataset, read_expression, read_network
from infosem_jax.grn.baselines import matrix_completion, one_hot, trees
from infosem_jax.grn.baselines.matrix_completion import MatrixCompletionConfig
from infosem_jax.grn.baselines.one_hot import OneHotConfig
from infosem_jax.grn.baselines.problem import Problem
from infosem_jax.grn.baselines.trees import GENIE3, GRNBOOST2

ONE_CORE = replace(GENIE3, trees=10, min_leaf=2, jobs=1)
BOOSTING = replace(GRNBOOST2, trees=40, rate=0.1, window=10, jobs=1)


def problem(regulators=8, genes=14, cells=60, seed=0):
    """Return expression in which gene i follows regulator i modulo their number, and labels."""
    rng = np.random.default_rng(seed)
    names = tuple(f"G{i:02d}" for i in rng.permutation(genes))
    x = rng.normal(size=(cells, genes))
    driver = np.arange(genes) % regulators
    x[:, regulators:] = 3 * x[:, driver[regulators:]] + x[:, regulators:]
    data = dataset(x - x.min() + 0.1, names, names[:regulators])
    truth = (
        rng.uniform(size=(regulators, genes)) < np.linspace(0.1, 0.9, regulators)[:, None]
    ) * 1.0
    kind = rng.uniform(size=truth.shape)
    labels = np.where(kind < 0.6, truth, np.nan)
    validation = np.where((kind >= 0.6) & (kind < 0.8), truth, np.nan)
    return Problem(data, names[:regulators], names, labels, validation, seed)


def only(solved):
    (scores,) = solved
    return scores


def low_rank(rank, seed=0):
    """Return a matrix of low rank, and the same with a third of it unknown."""
    rng = np.random.default_rng(seed)
    full = rng.uniform(0.5, 1.5, (20, rank)) @ rng.uniform(0.5, 1.5, (rank, 30))
    full /= full[0, 0]
    known = rng.uniform(size=full.shape) < 0.67
    known[0, 0] = True
    return full, np.where(known, full, np.nan)


def renamed(of, rows, columns, cells):
    """Return a problem with its genes and cells in another order."""
    data = of.data
    order = np.argsort([of.genes.index(gene) for gene in data.genes])[::-1]
    shuffled = dataset(
        data.x[cells][:, order],
        np.asarray(data.genes)[order].tolist(),
        of.regulators,
        cells=np.asarray(data.cells)[cells].tolist(),
    )
    return of._replace(
        data=shuffled,
        regulators=tuple(np.asarray(of.regulators)[rows].tolist()),
        genes=tuple(np.asarray(of.genes)[columns].tolist()),
        labels=of.labels[np.ix_(rows, columns)],
        validation=of.validation[np.ix_(rows, columns)],
    )


SOLVERS = {
    "one_hot": one_hot.solve,
    "matrix_completion": matrix_completion.solve,
    "trees": lambda problems: trees.solve(problems, ONE_CORE),
    "boosting": lambda problems: trees.solve(problems, BOOSTING),
}


@pytest.mark.parametrize("name", SOLVERS)
def test_several_problems_at_once_are_each_alone(name):
    problems = [problem(seed=0), problem(regulators=6, seed=1)]
    together = list(SOLVERS[name](problems))
    for of, scores in zip(problems, together, strict=True):
        assert scores.shape == of.labels.shape
        np.testing.assert_array_equal(scores, only(SOLVERS[name]([of])))


@pytest.mark.parametrize("name", SOLVERS)
def test_the_order_of_genes_and_cells_does_not_matter(name):
    of = problem()
    rng = np.random.default_rng(1)
    rows, columns, cells = (rng.permutation(n) for n in (8, 14, 60))
    expected = only(SOLVERS[name]([of]))[np.ix_(rows, columns)]
    found = only(SOLVERS[name]([renamed(of, rows, columns, cells)]))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["one_hot", "trees", "boosting"])
def test_validation_labels_change_nothing(name):
    of = problem()
    other = of._replace(validation=1 - of.validation)
    np.testing.assert_array_equal(only(SOLVERS[name]([of])), only(SOLVERS[name]([other])))


@pytest.mark.parametrize("name", ["trees", "boosting"])
def test_trees_do_not_see_labels(name):
    of = problem()
    blind = of._replace(labels=np.full_like(of.labels, np.nan))
    np.testing.assert_array_equal(only(SOLVERS[name]([of])), only(SOLVERS[name]([blind])))


def test_one_hot_is_logistic_regression_on_indicators():
    of = problem()
    row, column = np.nonzero(~np.isnan(of.labels))
    features = np.hstack([np.eye(8)[row], np.eye(14)[column]])
    model = LogisticRegression(C=0.7, max_iter=1000).fit(features, of.labels[row, column])
    scores = only(one_hot.solve([of], OneHotConfig(C=0.7)))
    np.testing.assert_allclose(scores[row, column], model.decision_function(features), atol=1e-3)


def test_one_hot_knows_nothing_of_unseen_genes():
    of = problem()
    labels = of.labels.copy()
    labels[3], labels[:, 5] = np.nan, np.nan
    scores = only(one_hot.solve([of._replace(labels=labels)]))
    target = scores[0] - scores[0, 5]
    np.testing.assert_allclose(scores[3] - scores[3, 5], target, atol=1e-12)
    # Without a coefficient of its own, a pair of unseen genes has the intercept alone.
    known = labels[~np.isnan(labels)]
    assert abs(scores[3, 5] - logit(known.mean())) < 1


@pytest.mark.parametrize("rank", [1, 3])
def test_completion_recovers_a_matrix_of_low_rank(rank):
    full, known = low_rank(rank)
    of = problem(regulators=20, genes=30)._replace(
        labels=known, validation=np.full_like(known, np.nan)
    )
    config = MatrixCompletionConfig((rank,), (1e-8,), iterations=500)
    scores = only(matrix_completion.solve([of], config))
    unseen = np.isnan(known)
    np.testing.assert_allclose(scores[unseen], full[unseen], rtol=1e-2)


def test_completion_gives_unseen_genes_the_mean_factor():
    of = problem()
    labels = of.labels.copy()
    labels[2], labels[:, 4] = np.nan, np.nan
    of = of._replace(labels=labels)
    scores = only(matrix_completion.solve([of], MatrixCompletionConfig((1,), (0.1,))))
    others = np.arange(8) != 2
    np.testing.assert_allclose(scores[2], scores[others].mean(0), rtol=1e-6)
    others = np.arange(14) != 4
    np.testing.assert_allclose(scores[:, 4], scores[:, others].mean(1), rtol=1e-6)


def test_completion_takes_what_ranks_validation_pairs_best():
    of = problem(regulators=20, genes=30)
    judged = ~np.isnan(of.validation)
    choices = [((rank,), (ridge,)) for rank in (1, 4) for ridge in (0.1, 5.0)]
    each = [only(matrix_completion.solve([of], MatrixCompletionConfig(*c))) for c in choices]
    precision = [average_precision_score(of.validation[judged], s[judged]) for s in each]
    best = only(matrix_completion.solve([of], MatrixCompletionConfig((1, 4), (0.1, 5.0))))
    assert len(set(precision)) > 1
    np.testing.assert_array_equal(best, each[int(np.argmax(precision))])
    none = of._replace(validation=np.full_like(of.validation, np.nan))
    first = only(matrix_completion.solve([none], MatrixCompletionConfig((1, 4), (0.1, 5.0))))
    np.testing.assert_array_equal(first, each[0])


@pytest.mark.parametrize(
    "config", [ONE_CORE, replace(ONE_CORE, kind="random_forest"), BOOSTING], ids=lambda c: c.kind
)
def test_trees_find_planted_regulators(config):
    of = problem()
    scores = only(trees.solve([of], config))
    own = np.asarray(of.regulators)[:, None] == np.asarray(of.genes)
    np.testing.assert_array_equal(np.isnan(scores), own)
    driven = np.arange(8, 14)
    np.testing.assert_array_equal(np.nanargmax(scores[:, driven], 0), driven % 8)
    # Shares of the variance: what is driven is explained to a good part, and never above one.
    explained = np.nansum(scores, 0)
    assert (explained[driven] > 0.3).all() and (explained <= 1).all()


def test_trees_tell_how_far_they_are_and_depend_on_the_seed():
    of = problem()
    calls = []
    scores = only(trees.solve([of], ONE_CORE, lambda done, all: calls.append((done, all))))
    assert calls == [(i + 1, 14) for i in range(14)]
    other = only(trees.solve([of._replace(seed=1)], ONE_CORE))
    assert not np.array_equal(scores, other, equal_nan=True)


def test_boosting_stops_when_trees_no_longer_help():
    rng = np.random.default_rng(0)
    noise = dataset(rng.uniform(size=(60, 4)), list("abcd"))
    nothing = np.full((4, 4), np.nan)
    of = Problem(noise, noise.genes, noise.genes, nothing, nothing)
    few = only(trees.solve([of], replace(BOOSTING, window=5)))
    all_ = only(trees.solve([of], replace(BOOSTING, window=40)))
    assert np.nansum(few) < 0.5 * np.nansum(all_)


@pytest.mark.parametrize(
    ("solve", "change", "message"),
    [
        (one_hot.solve, {"labels": np.ones((8, 14))}, "training labels 1 and 0"),
        (one_hot.solve, {"labels": np.full((8, 14), np.nan)}, "0 labelled pairs"),
        (matrix_completion.solve, {"labels": np.zeros((8, 14))}, "no known edge"),
        (trees.solve, {"regulators": ("G00",)}, "at least two regulators"),
        (lambda p: one_hot.solve(p, OneHotConfig(C=0.0)), {}, "C: expected a number above 0"),
        (lambda p: matrix_completion.solve(p, MatrixCompletionConfig(())), {}, "ranks"),
        (
            lambda p: matrix_completion.solve(p, MatrixCompletionConfig(ridges=(0.0,))),
            {},
            "above 0",
        ),
        (lambda p: trees.solve(p, replace(GENIE3, trees=0)), {}, "trees: expected at least 1"),
    ],
)
def test_bad_input_is_refused_before_the_first_fit(solve, change, message):
    with pytest.raises(ValueError, match=message):
        solve([problem()._replace(**change)])


def test_published_split_of_hesc(real_data):
    from infosem_jax.grn.metrics import score_matrix
    from infosem_jax.grn.splits import candidates, read_split, training_labels

    folder = real_data / "beeline" / "hESC" / "TFs+500"
    data = read_expression(folder)
    network = read_network(folder / "network_specific.csv.gz")
    universe = candidates(data, network, targets="expressed")
    split = read_split(folder / "split_specific_genelink.csv.gz", universe)
    validation = np.where(split.validation, universe.truth.astype(float), np.nan)
    labels = training_labels(universe, split)
    of = Problem(data, universe.regulators, universe.genes, labels, validation)
    auprc = [
        score_matrix(only(solve([of])), universe.truth, split.test)["auprc"]
        for solve in (one_hot.solve, matrix_completion.solve)
    ]
    assert 0.58 < auprc[0] < 0.64
    assert 0.56 < auprc[1] < 0.62
