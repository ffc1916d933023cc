"""InfoSEM in the benchmark: what its variants may see, and how gates are averaged."""

from dataclasses import replace
from functools import cache, partial

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from infosem_jax.benchmark.grn import infosem, methods
from infosem_jax.benchmark.grn.infosem import label_priors, neighbour_priors
from infosem_jax.benchmark.grn.leaks import check
from infosem_jax.benchmark.grn.method import Method
from infosem_jax.benchmark.grn.methods import METHODS, register
from infosem_jax.benchmark.grn.problems import labelled, unlabelled
from infosem_jax.benchmark.grn.references import find_references, load
from infosem_jax.benchmark.grn.stacking import stack
from infosem_jax.data.dataset import dataset
from infosem_jax.data.io import Embedding
from infosem_jax.grn.baselines.problem import Problem
from infosem_jax.grn.priors import GraphPrior
from infosem_jax.grn.splits import candidates, split

CHEAP = ("regulator_positive_rate", "target_positive_rate", "one_hot", "matrix_completion")
QUICK = methods.methods(quick=True)
TINY = {"hidden": 3, "knots": 0, "epochs": 4, "phase_networks": 0, "phase_edges": 0}


@cache
def made():
    """Return data, candidates and a split: regulators differ in their number of edges."""
    rng = np.random.default_rng(0)
    genes = [f"G{i:02d}" for i in rng.permutation(30)]
    x = rng.gamma(2.0, size=(24, 30))
    x[:, 8:] += x[:, np.arange(22) % 8]
    truth = rng.uniform(size=(8, 30)) < np.linspace(0.1, 0.7, 8)[:, None]
    row, column = np.nonzero(truth & ~np.eye(8, 30, dtype=bool))
    known = pd.DataFrame({"source": np.take(genes, row), "target": np.take(genes, column)})
    data = dataset(x, genes, genes[:8], name="tiny")
    of = candidates(data, known, targets="expressed")
    text = Embedding(tuple(genes[:28]), rng.normal(size=(28, 6)).astype(np.float32))
    return data, of, split(of, "seen", validation=0.2), {"text": text}


def problems() -> list[Problem]:
    """Return a problem; with other labels of the test; and with other labels for validation."""
    data, of, drawn, vectors = made()
    rng = np.random.default_rng(1)
    outside, other = of.truth.copy(), of.truth.copy()
    tested = ~(drawn.train | drawn.validation)
    outside[tested] = rng.permutation(outside[tested])
    other[drawn.validation] = ~other[drawn.validation]
    assert (outside != of.truth).any() and (other != of.truth).any()
    return [
        labelled(data, of._replace(truth=truth), drawn, 3, vectors)
        for truth in (of.truth, outside, other)
    ]


def solve(name: str, problems: list[Problem]) -> list[dict]:
    """Solve problems by a method whose networks and epochs are next to none."""
    method = QUICK[name].solve
    assert isinstance(method, partial)
    small = replace(method.keywords["config"], **TINY)
    return list(partial(method, config=small)(problems))


def test_labels_of_the_test_change_nothing_and_those_of_validation_weights_only(monkeypatch):
    seen: list[list[np.ndarray]] = []
    monkeypatch.setattr(
        infosem, "stack", lambda fits, known: seen.append(fits) or stack(fits, known)
    )
    found = solve("infosem_C", problems())
    base, tested, validated = ({k: v.copy() for k, v in each.items()} for each in found)
    assert base.keys() == {"", "weight"}
    assert base[""].shape == problems()[0].labels.shape
    for key, scores in base.items():
        np.testing.assert_array_equal(scores, tested[key])
    assert (base[""] != validated[""]).any()
    np.testing.assert_array_equal(base["weight"], validated["weight"])
    # What is averaged has not seen the labels for validation either.
    assert [len(fits) for fits in seen] == [2, 2, 2]
    for one, *others in zip(*seen, strict=True):
        for other in others:
            np.testing.assert_array_equal(one, other)
    assert all((a != b).any() for a, b in zip(seen[0], seen[0][1:], strict=False))


def test_priors_hold_training_labels_only():
    one, outside, other = problems()
    _, of, drawn, _ = made()
    for problem in (one, outside, other):
        for priors in label_priors(problem, "given"):
            edge = priors.edge
            pairs = edge.table[["source", "target"]].itertuples(index=False, name=None)
            at = [(of.regulators.index(a), of.genes.index(b)) for a, b in pairs]
            assert all(drawn.train[i, j] for i, j in at)
            assert len(at) == drawn.train.sum()
            known = [of.truth[i, j] for i, j in at]
            np.testing.assert_array_equal(edge.table["label"], known)


def test_each_problem_of_a_program_has_its_own_seed_and_pairs():
    data, of, _, vectors = made()
    both = [unlabelled(data, [of], seed, vectors) for seed in (0, 1)]
    first, second = solve("infosem_B_shuffled", both)
    assert first.keys() == {"", "prior"}
    # Pairs may be others in each problem, and come in another order.
    turned = both[0]._replace(genes=both[0].genes[:4:-1])
    again, part = solve("infosem_B_shuffled", [both[1], turned])
    for key, scores in first.items():
        assert not np.allclose(scores, second[key])
        np.testing.assert_allclose(again[key], second[key], rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(part[key], scores[:, :4:-1], rtol=1e-4, atol=1e-7)


def weights_of(validation, *log_odds) -> tuple[np.ndarray, np.ndarray]:
    """Return weights, and the intercept: what is stacked is linear in the log-odds."""
    found = stack([expit(each) for each in log_odds], validation)
    columns = [np.ones(validation.size), *(each.ravel() for each in log_odds)]
    weights, *_ = np.linalg.lstsq(np.stack(columns, 1), logit(found).ravel(), rcond=None)
    return weights[1:], weights[:1]


def test_weights_favour_what_predicts_the_validation_labels():
    rng = np.random.default_rng(0)
    informative, noise = rng.normal(size=(2, 8, 30))
    labels = (rng.uniform(size=(8, 30)) < expit(2 * informative)).astype(float)
    labels[:, 20:] = np.nan
    weights, intercept = weights_of(labels, informative, noise)
    assert weights[0] > 1.2 and abs(weights[1]) < 0.35
    swapped, _ = weights_of(labels, noise, informative)
    np.testing.assert_allclose(swapped[::-1], weights, atol=1e-3)
    # Where labels are fewer edges than the log-odds say, the intercept is lower; no order changes.
    _, lower = weights_of(
        np.where(rng.uniform(size=labels.shape) < 0.5, 0, labels), informative, noise
    )
    assert lower < intercept - 0.3


def test_no_weight_is_negative():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 8, 30))
    against = (rng.uniform(size=(8, 30)) < expit(2 * other - 3 * one)).astype(float)
    weights, _ = weights_of(against, one, other)
    assert abs(weights[0]) < 1e-6 and weights[1] > 0.2
    # Where all would be negative they are equal, so that scores still say something.
    both, _ = weights_of(against, one, one - 0.5 * other)
    np.testing.assert_allclose(both, 0.5, atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, 0.0, 1.0])
def test_without_both_kinds_of_validation_labels_weights_are_equal(value):
    rng = np.random.default_rng(0)
    validation = np.full((8, 30), np.nan)
    validation[:, :5] = value
    weights, intercept = weights_of(validation, *rng.normal(size=(3, 8, 30)))
    np.testing.assert_allclose(weights, 1 / 3, atol=1e-5)
    np.testing.assert_allclose(intercept, 0, atol=1e-5)


def test_gates_that_are_closed_or_open_for_sure_are_finite():
    sure = [np.tile([0.0, 1.0, 0.5], (8, 10))] * 2
    assert np.isfinite(logit(stack(sure, np.full((8, 30), np.nan)))).all()


@pytest.mark.parametrize("name", ["random", "infosem_BC", "one_hot", "mine"])
def test_names_that_are_taken_are_refused(name, monkeypatch):
    monkeypatch.setitem(METHODS, "mine", Method(lambda problems: []))
    with pytest.raises(ValueError, match=f"There is a method '{name}' already"):
        register(name, lambda problem: problem.labels)
    assert list(METHODS) == ["mine"]


@pytest.mark.parametrize("name", ["", "my method", "a/b", "../x", "a,b", "a\n"])
def test_names_that_are_no_names_are_refused(name):
    with pytest.raises(ValueError, match="Expected a name of letters, digits"):
        register(name, lambda problem: problem.labels)
    assert not METHODS


def test_registered_methods_are_solved_as_others(monkeypatch):
    monkeypatch.setattr(methods, "METHODS", {})
    register("B+mine", lambda problem: problem.labels + problem.seed, uses="labels")
    one = problems()[0]
    method = methods.methods()["B+mine"]
    assert (method.uses, method.tested) == ("labels", False)
    (found,) = method.solve([one])
    np.testing.assert_array_equal(found, one.labels + 3)


def test_every_method_says_what_it_is():
    for name, method in QUICK.items():
        assert method.about.endswith("."), name
        assert method.tested, name
        guesses = name in methods.CONTROLS or name.endswith(("_shuffled", "_cosine"))
        told = guesses or name in ("infosem_B_random", "infosem_B_symbols")
        assert method.about.startswith("Control:") == told, name
        # What spells gene names out, or finds them elsewhere, knows more than it is given.
        assert method.knows_names == ("symbol" in name or "elsewhere" in name), name
    full = methods.methods()
    assert full.keys() == QUICK.keys()
    for name in ("deepsem", "infosem_B", "infosem_BC"):
        assert QUICK[name].settings["epochs"] < full[name].settings["epochs"]


def test_what_learns_from_labels_says_so():
    learning = ("infosem_C", "infosem_BC", "exact_C", "exact_BC", "exact_elsewhere")
    expected = {name for name in QUICK if name.startswith(learning)}
    found = {name for name in infosem.infosem_methods() if QUICK[name].uses == "labels"}
    assert found == expected
    needs = {name: QUICK[name].needs for name in infosem.infosem_methods()}
    for name, embeddings in needs.items():
        letter = name.startswith(("infosem_B", "infosem_BC", "exact_B"))
        own = name in ("infosem_B_random", "infosem_B_symbols")
        assert bool(embeddings) == ((letter and not own) or name.endswith("_cosine")), name


@pytest.mark.slow
@pytest.mark.parametrize("name", CHEAP)
def test_methods_leak_nothing_on_real_data(real_data, name):
    references, _ = find_references(real_data / "beeline", datasets=["mDC"])
    assert QUICK[name].uses == "labels"
    assert check(QUICK[name], load(references[0])) is None


def test_any_embedding_is_a_prior_and_a_graph_and_each_has_its_control():
    found = infosem.embedding_methods(["text"], quick=True)
    assert set(found) == {
        f"infosem_{form}_text{control}" for form in ("B", "graph") for control in ("", "_shuffled")
    }
    data, of, _, vectors = made()
    problem = unlabelled(data, [of], 3, vectors)
    prior, other = (
        neighbour_priors(problem, name="text", control=control)[0].effect
        for control in (False, True)
    )
    assert isinstance(prior, GraphPrior) and isinstance(other, GraphPrior)
    assert set(prior.graph["source"]) <= set(vectors["text"].names)
    assert not prior.graph.equals(other.graph)
    method = found["infosem_graph_text"].solve
    small = replace(method.keywords["config"], **TINY)  # type: ignore[union-attr]
    (scores,) = partial(method, config=small)([problem])
    assert np.isfinite(scores[""]).all()
