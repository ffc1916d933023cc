"""Planted leaks are found, and honest methods pass."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from infosem_jax.benchmark.grn import leaks, methods
from infosem_jax.benchmark.grn.leaks import check, small_case
from infosem_jax.benchmark.grn.method import Method
from infosem_jax.benchmark.grn.references import Loaded, Reference
from infosem_jax.data import Embedding, dataset


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    """Return data with vectors whose regulators differ in their number of edges."""
    rng = np.random.default_rng(0)
    genes = [f"G{i:02d}" for i in rng.permutation(70)]
    degree = np.linspace(0.1, 0.8, 14)
    known = rng.uniform(size=(14, 70)) < degree[:, None]
    row, column = np.nonzero(known & ~np.eye(14, 70, dtype=bool))
    edges = {"source": np.take(genes, row), "target": np.take(genes, column)}
    data = dataset(rng.gamma(2.0, size=(80, 70)), genes, genes[:14], name="planted")
    vectors = Embedding(tuple(sorted(genes)), rng.normal(size=(70, 4)).astype(np.float32))
    reference = Reference("planted", "all", Path(), {}, {})
    return Loaded(reference, data, {"known": pd.DataFrame(edges)}, {"vectors": vectors})


def planted(function, **fields) -> Method:
    return Method(partial(map, function), **fields)


def test_all_registered_methods_pass(loaded: Loaded):
    for name, method in methods.methods(quick=True).items():
        if name in methods.CONTROLS:
            assert check(method, loaded) is None, name


@pytest.mark.parametrize("uses", ["expression", "labels"])
def test_a_method_that_closes_over_the_network_is_caught(loaded: Loaded, uses):
    edges = set(loaded.networks["known"].itertuples(index=False, name=None))

    def by_name(problem):
        return np.array([[(a, b) in edges for b in problem.genes] for a in problem.regulators])

    case = small_case(planted(by_name, uses=uses), loaded)

    def by_place(problem):
        return np.random.default_rng(problem.seed).uniform(size=problem.labels.shape) + case.truth

    assert check(planted(by_name, uses=uses), loaded).kind == "names"
    # Names do not matter to this one; nothing that it is given does.
    assert check(planted(by_place, uses=uses), loaded).kind == "answers"


def test_a_method_that_knows_genes_by_name_is_caught_unless_it_says_so(loaded: Loaded):
    memory = {gene: i * 7919 % 101 for i, gene in enumerate(loaded.data.genes)}

    def memorises(problem):
        targets = [memory.get(gene, 0) for gene in problem.genes]
        return np.broadcast_to(np.array(targets, float), problem.labels.shape)

    def of_data(problem):
        return np.full(problem.labels.shape, float(problem.data.name == "planted"))

    assert check(planted(memorises), loaded).kind == "names"
    assert check(planted(memorises, knows_names=True), loaded) is None
    assert check(planted(of_data), loaded).kind == "names"


def test_labels_of_the_test_in_a_problem_are_found(loaded: Loaded, monkeypatch):
    rates = methods.methods()["regulator_positive_rate"]
    assert check(rates, loaded) is None

    def leaky(data, universe, split, seed, embeddings):
        problem = honest(data, universe, split, seed, embeddings)
        return problem._replace(labels=universe.truth.astype(float))

    honest = leaks.labelled
    monkeypatch.setattr(leaks, "labelled", leaky)
    assert check(methods.methods()["target_positive_rate"], loaded).kind == "test labels"


def test_methods_that_cannot_be_checked_are_told(loaded: Loaded):
    unseeded = np.random.default_rng()

    def drawn(problem):
        return unseeded.uniform(size=problem.labels.shape)

    def broken(problem):
        raise KeyError("no such gene")

    assert check(planted(drawn), loaded).kind == "not reproducible"
    found = check(planted(broken), loaded)
    assert found.kind == "failed" and "no such gene" in found.text


def test_the_forms_of_a_problem_differ_in_what_they_should(loaded: Loaded):
    case = small_case(planted(lambda *a: None, uses="labels"), loaded)
    problem, renamed = case.problem, case.renamed
    assert len(problem.data.cells) == 60 and len(problem.data.genes) == 60
    assert not set(problem.genes).intersection(renamed.genes)
    assert list(renamed.genes) == sorted(renamed.genes)
    assert [problem.data.genes.index(g) for g in problem.genes] == [
        renamed.data.genes.index(g) for g in renamed.genes
    ]
    np.testing.assert_array_equal(problem.data.x, renamed.data.x)
    np.testing.assert_array_equal(problem.labels, case.relabelled.labels)
    np.testing.assert_array_equal(problem.validation, case.relabelled.validation)
    assert np.isnan(problem.labels[case.tested]).all() and case.truth[case.tested].any()
    assert (case.shuffled.labels != problem.labels)[~np.isnan(problem.labels)].any()
    names, vectors = problem.embeddings["vectors"]
    assert set(names) == set(problem.data.genes)
    assert (case.shuffled.embeddings["vectors"].vectors != vectors).any()
    np.testing.assert_array_equal(renamed.embeddings["vectors"].vectors, vectors)
