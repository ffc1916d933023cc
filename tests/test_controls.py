import inspect

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn.covariance import ledoit_wolf
from sklearn.metrics import average_precision_score

from infosem_jax.benchmark.grn.controls import (
    CONTROLS,
    embedding_cosine,
    partial_correlation,
    random_embedding,
    symbol_embedding,
)
from infosem_jax.data import Embedding, dataset, normalise, read_expression, read_network
from infosem_jax.grn.baselines.problem import Problem
from infosem_jax.grn.metrics import score_matrix
from infosem_jax.grn.splits import KINDS, candidates, read_split, split, training_labels

LABELLED = ("regulator_positive_rate", "target_positive_rate")
PRIORS = {
    "random_cosine": lambda of: embedding_cosine(random_embedding(of.genes)),
    "symbol_cosine": lambda of: embedding_cosine(symbol_embedding(of.genes)),
}


def problem(seed=0, cells=60, genes=40, regulators=10):
    """Return expression driven by a few regulators, and its candidates."""
    rng = np.random.default_rng(seed)
    names = [f"G{i:02d}" for i in rng.permutation(genes)]
    x = rng.gamma(2.0, size=(cells, genes)) * rng.uniform(0.5, 2, genes)
    x[:, regulators:] += x[:, rng.integers(0, regulators, genes - regulators)]
    row = rng.integers(0, regulators, 6 * regulators)
    column = rng.integers(0, genes, 6 * regulators)
    known = pd.DataFrame({"source": np.take(names, row), "target": np.take(names, column)})
    data = dataset(x, names)
    return data, candidates(data, known, targets="expressed")


def given(data, of, labels, seed):
    """Return what a method sees, which the truth is no part of."""
    nothing = np.full(labels.shape, np.nan)
    return Problem(data, of.regulators, of.genes, labels, nothing, seed)


def no_labels(of):
    return np.full(of.truth.shape, np.nan)


def columns(data, names):
    place = {gene: i for i, gene in enumerate(data.genes)}
    return data.x[:, [place[name] for name in names]].astype(float)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "all"])
def test_labels_outside_training_change_no_number(kind):
    data, of = problem()
    drawn = split(of, kind, validation=0.0)
    outside = of.candidate & ~drawn.train
    permuted = of.truth.copy()
    permuted[outside] = np.random.default_rng(1).permutation(of.truth[outside])
    assert (permuted != of.truth).any()
    labels = training_labels(of, drawn)
    same = training_labels(of._replace(truth=permuted), drawn)
    np.testing.assert_array_equal(labels, same)
    controls = CONTROLS | {name: make(of) for name, make in PRIORS.items()}
    for name, control in controls.items():
        scores = control(given(data, of, labels, 0))
        assert scores.shape == of.truth.shape and np.isfinite(scores).all(), name
        np.testing.assert_array_equal(scores, control(given(data, of, same, 0)), name)


def test_only_rates_read_the_training_labels():
    data, of = problem()
    labels = training_labels(of, split(of, "seen"))
    flipped = 1 - labels
    for name, control in CONTROLS.items():
        same = np.array_equal(
            control(given(data, of, labels, 0)), control(given(data, of, flipped, 0))
        )
        assert same == (name not in LABELLED), name


def test_rates_are_shares_of_known_edges_in_training():
    data, of = problem()
    labels = np.full(of.truth.shape, np.nan)
    labels[0, :4] = [1, 0, 0, 1]
    labels[2, :2] = [0, 1]
    labels[3, 5] = 1
    by_regulator = CONTROLS["regulator_positive_rate"](given(data, of, labels, 0))
    assert (by_regulator == by_regulator[:, :1]).all()
    assert by_regulator[:5, 0] == pytest.approx([0.5, 4 / 7, 0.5, 1, 4 / 7])
    by_target = CONTROLS["target_positive_rate"](given(data, of, labels, 0))
    assert (by_target == by_target[:1]).all()
    assert by_target[0, :7] == pytest.approx([0.5, 0.5, 0, 1, 4 / 7, 1, 4 / 7])
    for name in LABELLED:
        assert (CONTROLS[name](given(data, of, no_labels(of), 0)) == 0).all()


def test_rates_say_nothing_about_what_is_unseen():
    data, of = problem()
    for name, kind, axis in (
        ("regulator_positive_rate", "unseen_regulator", 1),
        ("target_positive_rate", "unseen_target", 0),
    ):
        drawn = split(of, kind, validation=0.0)
        rate = CONTROLS[name](given(data, of, training_labels(of, drawn), 0))
        unseen = drawn.test.any(axis)
        assert unseen.any() and not drawn.train.any(axis)[unseen].any()
        values = rate.max(axis)[unseen]
        assert values == pytest.approx(of.truth[drawn.train].mean())


def test_correlations_equal_those_of_scipy():
    data, of = problem()
    a, b = columns(data, of.regulators), columns(data, of.genes)
    for name, reference in (("correlation", pearsonr), ("spearman", spearmanr)):
        scores = CONTROLS[name](given(data, of, no_labels(of), 0))
        assert scores.min() < 0
        for i, j in ((0, 1), (3, 20), (7, 39)):
            assert scores[i, j] == pytest.approx(reference(a[:, i], b[:, j]).statistic)
        absolute = CONTROLS[f"{name}_absolute"](given(data, of, no_labels(of), 0))
        np.testing.assert_array_equal(absolute, np.abs(scores))
        zscored = CONTROLS[name](given(normalise(data), of, no_labels(of), 0))
        np.testing.assert_allclose(zscored, scores, atol=1e-5)


@pytest.mark.parametrize("cells", [25, 200])  # fewer and more than genes
@pytest.mark.parametrize("shrinkage", [None, 0.01, 0.95, 1.0])
def test_partial_correlation_equals_the_inverse_of_the_shrunk_covariance(cells, shrinkage):
    data, of = problem(cells=cells)
    z = columns(data, data.genes)
    z = (z - z.mean(0)) / z.std(0)
    shrunk = ledoit_wolf(z, assume_centered=True)[0]
    if shrinkage is not None:
        shrunk = (1 - shrinkage) * z.T @ z / cells + shrinkage * np.eye(z.shape[1])
    precision = pd.DataFrame(np.linalg.inv(shrunk), data.genes, data.genes)
    scale = np.sqrt(np.outer(np.diag(precision), np.diag(precision)))
    expected = (-precision / scale).loc[list(of.regulators), list(of.genes)].to_numpy()
    scores = partial_correlation(given(data, of, no_labels(of), 0), shrinkage=shrinkage)
    np.testing.assert_allclose(scores, expected, atol=1e-9)
    absolute = CONTROLS["partial_correlation_absolute"](given(data, of, no_labels(of), 0))
    np.testing.assert_array_equal(
        absolute, np.abs(CONTROLS["partial_correlation"](given(data, of, no_labels(of), 0)))
    )


def test_partial_correlation_sees_through_a_chain():
    rng = np.random.default_rng(0)
    a = rng.normal(size=4000)
    b = a + 0.5 * rng.normal(size=4000)
    c = b + 0.5 * rng.normal(size=4000)
    data = dataset(np.column_stack([a, b, c]) + 20, ["A", "B", "C"])
    of = candidates(data, pd.DataFrame({"source": ["A"], "target": ["B"]}), targets="expressed")
    marginal = CONTROLS["correlation"](given(data, of, no_labels(of), 0))[0]
    conditional = CONTROLS["partial_correlation"](given(data, of, no_labels(of), 0))[0]
    assert marginal[1] > marginal[2] > 0.7
    assert conditional[1] > 0.6 and abs(conditional[2]) < 0.05


def test_variance_and_mean_are_of_the_values_as_read():
    data, of = problem()
    variance = CONTROLS["regulator_variance"](given(data, of, no_labels(of), 0))
    expected = columns(data, of.regulators).var(0)
    np.testing.assert_allclose(variance, np.repeat(expected[:, None], len(of.genes), 1))
    mean = CONTROLS["target_mean"](given(data, of, no_labels(of), 0))
    expected = columns(data, of.genes).mean(0)
    np.testing.assert_allclose(mean, np.tile(expected, (len(of.regulators), 1)))
    for name, what in (("regulator_variance", "variance"), ("target_mean", "mean")):
        with pytest.raises(ValueError, match=f"the {what} of every gene is the same after zscore"):
            CONTROLS[name](given(normalise(data), of, no_labels(of), 0))


def test_random_scores_follow_the_seed_and_give_the_base_rate():
    data, of = problem()
    scores = CONTROLS["random"](given(data, of, no_labels(of), 0))
    np.testing.assert_array_equal(scores, CONTROLS["random"](given(data, of, no_labels(of), 0)))
    assert (scores != CONTROLS["random"](given(data, of, no_labels(of), 1))).any()
    runs = [
        score_matrix(
            CONTROLS["random"](given(data, of, no_labels(of), seed)), of.truth, of.candidate
        )
        for seed in range(40)
    ]
    assert np.mean([run["auroc"] for run in runs]) == pytest.approx(0.5, abs=0.03)


def test_cosines_are_centred_and_leave_unknown_genes_without_a_score():
    data, of = problem()
    vectors = np.random.default_rng(1).normal(3, 1, (38, 5)).astype(np.float32)
    known = of.genes[2:]
    scores = embedding_cosine(Embedding(known, vectors))(given(data, of, no_labels(of), 0))
    unknown = np.isin(of.genes, of.genes[:2])
    assert np.isnan(scores[:, unknown]).all()
    rows = np.isin(of.regulators, known)
    assert np.isfinite(scores[rows][:, ~unknown]).all() and np.isnan(scores[~rows]).all()
    v = vectors.astype(float) - vectors.mean(0, dtype=float)
    i = known.index(np.array(of.regulators)[rows][0])
    expected = v @ v[i] / np.linalg.norm(v, axis=1) / np.linalg.norm(v[i])
    np.testing.assert_allclose(scores[rows][0][~unknown], expected, rtol=1e-5)
    elsewhere = Embedding(("other",), np.ones((1, 5), np.float32))
    with pytest.raises(ValueError, match="covers none"):
        embedding_cosine(elsewhere)(given(data, of, no_labels(of), 0))


@pytest.mark.parametrize("make", [random_embedding, symbol_embedding])
def test_embeddings_do_not_depend_on_the_order_of_genes(make):
    genes = ["HOXA1", "HOXA2", "HOXB1", "ZNF10", "ZNF12", "SOX2", "POU5F1", "Nanog"]
    a, b = make(genes), make(genes[::-1])
    assert a.names == tuple(genes)
    np.testing.assert_array_equal(a.vectors, b.vectors[::-1])
    with pytest.raises(ValueError, match="more than one vector"):
        make(["A", "A", "B"])
    with pytest.raises(ValueError, match="gene"):
        make([])


def test_embeddings_of_symbols_know_spelling_and_random_ones_nothing():
    families = [f"{family}{i}" for family in ("HOXA", "ZNF", "KLF") for i in range(20)]
    same = np.repeat(range(3), 20)[:, None] == np.repeat(range(3), 20)
    same[np.diag_indices(60)] = False
    for make, low, high in ((symbol_embedding, 0.4, 1), (random_embedding, -0.05, 0.05)):
        vectors = make(families).vectors
        vectors = vectors - vectors.mean(0)
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        apart = (unit @ unit.T)[~same & ~np.eye(60, dtype=bool)].mean()
        assert low < (unit @ unit.T)[same].mean() - apart < high + 0.5
    case = symbol_embedding(["Sox2", "SOX2", "ZNF10"]).vectors
    np.testing.assert_array_equal(case[0], case[1])
    assert (
        random_embedding(["A", "B"], seed=0).vectors != random_embedding(["A", "B"], seed=1).vectors
    ).all()


def test_candidates_of_other_data_and_shrinkage_out_of_range_are_refused():
    data, of = problem()
    other = dataset(data.x[:, :30], data.genes[:30], name="other")
    for name in ("correlation", "spearman", "partial_correlation", "target_mean"):
        with pytest.raises(ValueError, match=r"other: \d+ candidates were not measured"):
            CONTROLS[name](given(other, of, no_labels(of), 0))
    for shrinkage in (0.0, 1.5):
        with pytest.raises(ValueError, match="shrinkage above 0"):
            inspect.unwrap(partial_correlation)(
                given(data, of, no_labels(of), 0), shrinkage=shrinkage
            )


def test_regulator_rates_alone_reach_the_known_score_on_a_published_split(real_data):
    folder = real_data / "beeline" / "hESC" / "TFs+500"
    data = read_expression(folder)
    network = read_network(folder / "network_specific.csv.gz")
    of = candidates(data, network, targets="expressed")
    drawn = read_split(folder / "split_specific_genelink.csv.gz", of)
    scores = CONTROLS["regulator_positive_rate"](given(data, of, training_labels(of, drawn), 0))
    # Known with ties in one step, as scikit-learn has them; in a random order they score higher.
    known = average_precision_score(of.truth[drawn.test], scores[drawn.test])
    assert known == pytest.approx(0.482, abs=0.001)
    runs = [score_matrix(scores, of.truth, drawn.test, seed) for seed in range(10)]
    assert np.mean([run["auprc"] for run in runs]) == pytest.approx(0.497, abs=0.005)
    assert np.mean([run["auroc"] for run in runs]) == pytest.approx(0.844, abs=0.002)
    assert runs[0]["base_rate"] == pytest.approx(0.149, abs=0.001)


@pytest.mark.parametrize(
    ("name", "signed", "absolute", "mean"),
    [
        ("hESC", 2.59, 2.19, 1.93),
        ("hHEP", 2.58, 2.23, 1.75),
        ("mDC", 2.41, 2.42, 1.09),
        ("mESC", 2.71, 2.49, 1.55),
    ],
)
def test_controls_reach_their_known_scores_per_regulator(real_data, name, signed, absolute, mean):
    folder = real_data / "beeline" / name / "TFs+500"
    data = read_expression(folder)
    of = candidates(data, read_network(folder / "network_string.csv.gz"))
    for control, expected in (
        ("correlation", signed),
        ("correlation_absolute", absolute),
        ("target_mean", mean),
    ):
        scores = CONTROLS[control](given(data, of, no_labels(of), 0))
        found = score_matrix(scores, of.truth, of.candidate)["auprc_ratio_per_regulator"]
        assert found == pytest.approx(expected, abs=0.015), control
