"""Vectors of genes joined to others, and compared by a prior."""

from dataclasses import replace

import numpy as np
import pytest

from infosem_jax.data.gene_features import join_embeddings
from infosem_jax.data.io import Embedding, embedding
from infosem_jax.grn.priors import GeneSimilarity, shuffled
from infosem_jax.grn.priors.binding import BoundPrior, GeneContext, bind, coverage

GENES = tuple(f"g{i:02d}" for i in range(30))


def test_joined_embeddings_count_alike():
    rng = np.random.default_rng(0)
    one = embedding(("b", "a", "d"), 5 + 100 * rng.normal(size=(3, 2)))
    other = embedding(("a", "b", "c", "x"), rng.normal(size=(4, 3)))
    names, vectors = join_embeddings(("a", "b", "c"), one, other)
    assert names == ("a", "b", "c")
    assert vectors.shape == (3, 5)
    known = one.vectors[[1, 0]] - one.vectors[[1, 0]].mean(0)
    expected = np.zeros((3, 5))
    expected[:2, :2] = known / np.sqrt((known**2).mean())
    centred = other.vectors[:3] - other.vectors[:3].mean(0)
    expected[:, 2:] = centred / np.sqrt((centred**2).mean())
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_joined_embeddings_match_names_in_any_case_where_asked():
    one = embedding(("A", "B"), np.array([[1.0], [3.0]]))
    joined = join_embeddings(("a", "b"), one, one, ignore_case=True)
    np.testing.assert_array_equal(joined.vectors, [[-1, -1], [1, 1]])
    with pytest.raises(ValueError, match="covers none of the 2 genes"):
        join_embeddings(("a", "b"), one)


def test_an_embedding_without_differences_joins_as_zeros():
    flat = embedding(("a", "b"), np.full((2, 3), 4.0))
    np.testing.assert_array_equal(join_embeddings(("a", "b"), flat).vectors, np.zeros((2, 3)))


ROWS = ("g01", "g04", "g28", "g06")
CONTEXT = GeneContext(GENES, ROWS, 40)


def known_vectors() -> Embedding:
    """Return vectors of all genes but the last three, in another order, two of them equal."""
    rng = np.random.default_rng(2)
    vectors = 2 + rng.normal(size=(27, 6))
    vectors[4] = vectors[1]
    order = rng.permutation(27)
    return embedding([GENES[i] for i in order], vectors[order])


def prior_of(bound: BoundPrior):
    return bound.distribution()


def similarity(vectors: Embedding) -> np.ndarray:
    """Compare every pair by brute force; NaN where there is nothing to compare."""
    of = dict(zip(vectors.names, vectors.vectors.astype(float), strict=True))
    centre = np.mean(list(of.values()), 0)
    cosine = np.full((4, 30), np.nan)
    for i, a in enumerate(ROWS):
        for j, b in enumerate(GENES):
            if a in of and b in of and a != b:
                one, two = of[a] - centre, of[b] - centre
                cosine[i, j] = one @ two / np.sqrt((one @ one) * (two @ two))
    return (cosine - np.nanmean(cosine)) / np.nanstd(cosine)


def test_similarity_is_the_standardised_cosine():
    prior = GeneSimilarity(known_vectors(), slope=0.2, scale=0.3)
    bound = prior_of(bind(prior, CONTEXT))
    expected = similarity(known_vectors())
    assert np.isnan(expected[2]).all() and np.isnan(expected[:, 27:]).all()
    assert (np.nan_to_num(expected) < 6).all() and (np.nan_to_num(expected) > -3).all()
    mean = np.asarray(bound.mean)
    np.testing.assert_allclose(mean, 0.2 * np.nan_to_num(expected), atol=1e-5)
    assert (mean[np.isnan(expected)] == 0).all()
    np.testing.assert_allclose(bound.variance, 0.09, rtol=1e-6)
    # Genes with equal vectors are as like as can be.
    assert mean[0, 4] == mean[:, :].max() == mean[1, 1]


def test_extreme_similarities_are_clipped():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(30, 400))
    vectors[4], vectors[6] = vectors[1], -vectors[1]
    everyone = replace(CONTEXT, rows=GENES)
    mean = np.asarray(prior_of(bind(GeneSimilarity(embedding(GENES, vectors)), everyone)).mean)
    assert mean.max() == pytest.approx(0.05 * 6) and mean[1, 4] == mean.max()
    assert mean.min() == pytest.approx(0.05 * -3) and mean[1, 6] == mean.min()


def test_similarity_does_not_depend_on_place_scale_or_order_of_vectors():
    names, vectors = known_vectors()
    moved = Embedding(names[::-1], np.ascontiguousarray(3 * vectors[::-1] + 7))
    a, b = (prior_of(bind(GeneSimilarity(each), CONTEXT)).mean for each in (known_vectors(), moved))
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_shuffled_vectors_are_those_of_other_genes():
    prior = GeneSimilarity(known_vectors(), slope=0.2, scale=0.3)
    control = shuffled(prior, seed=1)
    assert control == prior
    assert control.embedding.names == prior.embedding.names
    before, after = (np.asarray(prior_of(bind(each, CONTEXT)).mean) for each in (prior, control))
    known = before != 0
    assert ((after != 0) == known).all()
    assert abs(np.corrcoef(before[known], after[known])[0, 1]) < 0.4
    again = shuffled(prior, seed=1).embedding.vectors
    np.testing.assert_array_equal(again, control.embedding.vectors)


def test_pairs_without_two_vectors_have_mean_zero():
    one = embedding(("g01", "other"), np.eye(2))
    mean = prior_of(bind(GeneSimilarity(one), CONTEXT)).mean
    np.testing.assert_array_equal(mean, np.zeros((4, 30)))
    flat = embedding(GENES, np.ones((30, 2)))
    mean = prior_of(bind(GeneSimilarity(flat), CONTEXT)).mean
    np.testing.assert_array_equal(mean, np.zeros((4, 30)))


def test_similarity_tells_what_it_covers():
    report = coverage(GeneSimilarity(known_vectors()), CONTEXT)
    assert report == {
        "genes with an embedding": "27 of 30",
        "regulators with an embedding": "3 of 4",
        "features": 6,
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slope": np.nan}, "expected a finite slope, found nan"),
        ({"slope": np.inf}, "expected a finite slope, found inf"),
        ({"scale": 0.0}, "expected a positive scale, found 0.0"),
        ({"embedding": embedding(("A", "B"), np.eye(2))}, "covers none of the 30 genes"),
    ],
)
def test_bad_settings_of_similarity_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        bind(replace(GeneSimilarity(known_vectors()), **changes), CONTEXT)
