"""InfoSEM in the benchmark: what its variants may see."""

from dataclasses import replace
from functools import cache, partial

import numpy as np
import pandas as pd
import pytest

from infosem_jax.benchmark.grn import infosem, methods
from infosem_jax.benchmark.grn.infosem import neighbour_prior
from infosem_jax.benchmark.grn.leaks import check
from infosem_jax.benchmark.grn.method import Method
from infosem_jax.benchmark.grn.methods import METHODS, register
from infosem_jax.benchmark.grn.problems import labelled, unlabelled
from infosem_jax.benchmark.grn.references import (
    add_embeddings,
    find_embeddings,
    find_references,
    load,
)
from infosem_jax.data.dataset import dataset
from infosem_jax.data.io import Embedding
from infosem_jax.grn.baselines.problem import Problem
from infosem_jax.grn.priors import GraphPrior
from infosem_jax.grn.splits import candidates, split

CHEAP = (
    *("regulator_positive_rate", "target_positive_rate", "one_hot", "matrix_completion"),
    "infosem_BC",
)
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


def test_labels_of_test_and_validation_change_nothing_and_those_of_training_do():
    *same, base = problems()
    learned = base._replace(labels=1 - base.labels)
    found = map(np.asarray, QUICK["exact_BC"].solve([base, *same, learned]))
    scores, *others, turned = found
    for other in others:
        np.testing.assert_array_equal(scores, other)
    assert np.corrcoef(scores.ravel(), turned.ravel())[0, 1] < 0.5


@pytest.mark.parametrize("name", ["infosem_BC", "infosem_BC_shuffled", "infosem_BC_known"])
def test_no_read_out_of_the_trained_engine_knows_labels_of_test_or_validation(name):
    *same, base = problems()
    learned = base._replace(labels=1 - base.labels)
    scores, *others, turned = solve(name, [base, *same, learned])
    assert scores.keys() == {"", "weight"}
    for key, values in scores.items():
        for other in others:
            np.testing.assert_array_equal(values, other[key])
    at = ~np.isnan(base.labels)
    assert np.corrcoef(scores[""][at], base.labels[at])[0, 1] > 0.9
    assert np.corrcoef(turned[""][at], base.labels[at])[0, 1] < -0.9


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


@pytest.mark.parametrize("name", ["random", "exact_BC", "one_hot", "mine"])
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
    for name in ("deepsem", "infosem_B"):
        assert QUICK[name].settings["epochs"] < full[name].settings["epochs"]


def test_what_learns_from_labels_says_so():
    learning = ("exact_C", "exact_BC", "exact_elsewhere", "infosem_BC")
    expected = {name for name in QUICK if name.startswith(learning)}
    found = {name for name in infosem.infosem_methods() if QUICK[name].uses == "labels"}
    assert found == expected
    needs = {name: QUICK[name].needs for name in infosem.infosem_methods()}
    for name, embeddings in needs.items():
        letter = name.startswith(("infosem_B", "exact_B"))
        own = name in ("infosem_B_random", "infosem_B_symbols")
        assert bool(embeddings) == ((letter and not own) or name.endswith("_cosine")), name


@pytest.mark.slow
@pytest.mark.parametrize("name", CHEAP)
def test_methods_leak_nothing_on_real_data(real_data, name):
    references, _ = find_references(real_data / "beeline", datasets=["mDC"])
    files = [file for file in find_embeddings(real_data / "beeline") if file[0] == "text"]
    (loaded,), _ = add_embeddings([load(references[0])], files, asked=False)
    assert QUICK[name].uses == "labels" and "text" in loaded.embeddings
    assert check(QUICK[name], loaded) is None


def test_any_embedding_is_a_prior_and_a_graph_and_each_has_its_control():
    found = infosem.embedding_methods(["text"], quick=True)
    assert set(found) == {
        f"infosem_{form}_text{control}" for form in ("B", "graph") for control in ("", "_shuffled")
    }
    data, of, _, vectors = made()
    problem = unlabelled(data, [of], 3, vectors)
    prior, other = (
        neighbour_prior(problem, name="text", control=control) for control in (False, True)
    )
    assert isinstance(prior, GraphPrior) and isinstance(other, GraphPrior)
    assert set(prior.graph["source"]) <= set(vectors["text"].names)
    assert not prior.graph.equals(other.graph)
    method = found["infosem_graph_text"].solve
    small = replace(method.keywords["config"], **TINY)  # type: ignore[union-attr]
    (scores,) = partial(method, config=small)([problem])
    assert np.isfinite(scores[""]).all()
