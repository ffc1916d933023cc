"""Validation and normalisation of expression."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infosem_jax.data import NORMALISATIONS, dataset, normalise

GENES = ("SOX2", "NANOG", "GATA4", "MYC")
RNG = np.random.default_rng(0)
COUNTS = RNG.poisson(3.0, size=(20, 4)) + np.eye(20, 4, dtype=int)
LOGS = np.log2(COUNTS + 1.0).astype(np.float32) * 1.1


def test_dataset_keeps_what_it_is_given():
    data = dataset(COUNTS, GENES, ["MYC", "SOX2", "TP53"], name="ours")
    assert data.x.dtype == np.float32
    np.testing.assert_array_equal(data.x, COUNTS)
    np.testing.assert_array_equal(data.observed, COUNTS != 0)
    assert data.genes == GENES
    assert data.cells[:2] == ("cell0", "cell1")
    assert data.regulators == ("SOX2", "MYC")
    assert (data.name, data.normalisation) == ("ours", "none")
    assert dataset(COUNTS, GENES).regulators == GENES
    assert dataset(COUNTS, GENES, cells=[f"c{i}" for i in range(20)]).cells[-1] == "c19"


def changed(value: float, place: tuple[int, int] = (2, 1)) -> np.ndarray:
    x = LOGS.copy()
    x[place] = value
    return x


@pytest.mark.parametrize(
    ("x", "kwargs", "message"),
    [
        (LOGS[0], {}, r"\[cells, genes\], found shape \(4,\)"),
        (LOGS[:, :3], {}, "20 x 4, found 20 x 3"),
        (LOGS.T, {"cells": [f"c{i}" for i in range(20)]}, "looks transposed"),
        (LOGS[:9], {}, "9 cells, at least 10"),
        (LOGS[:, :1], {"genes": ("A",)}, "needs at least two"),
        (LOGS, {"genes": ("A", "B", "A", "C")}, r"1 gene names occur more than once \(A\)"),
        (LOGS, {"cells": ["c"] * 20}, "1 cell names occur more than once"),
        (LOGS.astype(str), {}, "expected real numbers, found values of type <U"),
        (LOGS.astype(complex), {}, "expected real numbers"),
        (changed(np.nan), {}, "1 values are NaN or infinite.*row 2, gene NANOG.*impute"),
        (changed(np.inf), {}, "NaN or infinite"),
        (changed(-1), {}, "1 values are negative.*not z-scores"),
        (np.where(np.arange(4) == 2, 1.0, LOGS), {}, "1 genes have the same value.*GATA4"),
        (LOGS, {"regulators": ["Sox2"]}, r"1 match when case is ignored \(Sox2 / SOX2\)"),
        (LOGS, {"regulators": ["NANOGP8"]}, "Nearest symbols: NANOGP8 ~ NANOG"),
        (LOGS, {"regulators": ["ENSG1"]}, "Ensembl identifiers"),
    ],
)
def test_dataset_messages(x, kwargs, message):
    with pytest.raises(ValueError, match=message):
        dataset(x, **{"genes": GENES, **kwargs})


def test_zscore():
    got = normalise(dataset(LOGS, GENES), "zscore")
    x = LOGS.astype(float)
    np.testing.assert_allclose(got.x, (x - x.mean(0)) / x.std(0), rtol=1e-5, atol=1e-6)
    assert got.normalisation == "zscore"
    assert got.genes == GENES
    np.testing.assert_array_equal(got.observed, LOGS != 0)


def test_zscore_nonzero():
    x = LOGS.astype(float)
    x[:, 3] = 0
    x[4, 3] = 2.5  # one value: no scale of its own
    got = normalise(dataset(x, GENES), "zscore_nonzero").x
    for j in range(3):
        seen = x[:, j][x[:, j] != 0]
        np.testing.assert_allclose(
            got[:, j], (x[:, j] - seen.mean()) / seen.std(), rtol=1e-4, atol=1e-5
        )
    np.testing.assert_array_equal(got[:, 3], 0)


def test_cell_range_zscore_by_hand():
    # Row by row over its range: (0, 1/2, 1) or (1, 1/2, 0) whatever the depth and the offset.
    x = np.array([[0.0, 1.5, 3.0], [2.5, 1.5, 0.5]] * 5) * np.linspace(0.1, 1, 10)[:, None]
    x[:, 1] += np.repeat([0.25, 0], 5) * (x.max(1) - x.min(1))  # 3/4 in the first five rows
    got = normalise(dataset(x, "ABC"), "cell_range_zscore")
    side, middle = np.tile([-1, 1], 5), np.repeat([1, -1], 5)
    np.testing.assert_allclose(got.x, np.stack([side, middle, -side], 1), rtol=1e-6)
    assert got.normalisation == "cell_range_zscore"
    clipped = normalise(dataset(x, "ABC"), "cell_range_zscore", clip=0.5).x
    np.testing.assert_allclose(clipped, got.x / 2, rtol=1e-6)


def test_log1p_cpm():
    cpm = np.log1p(1e6 * COUNTS / COUNTS.sum(1, keepdims=True))
    data = dataset(COUNTS, GENES)
    np.testing.assert_allclose(normalise(data, "log1p_cpm").x, cpm, rtol=1e-6)
    z = (cpm - cpm.mean(0)) / cpm.std(0)
    np.testing.assert_allclose(normalise(data, "log1p_cpm_zscore").x, z, rtol=1e-4, atol=1e-5)


def test_clip_and_none():
    data = dataset(LOGS, GENES)
    assert normalise(data, "none") is data
    clipped = normalise(data, "zscore", clip=0.5).x
    assert clipped.min() == -0.5
    assert clipped.max() == 0.5


def test_normalise_messages():
    logs, counts = dataset(LOGS, GENES, name="ours"), dataset(COUNTS, GENES)
    done = normalise(logs, "zscore")
    with pytest.raises(ValueError, match=r"already normalised \(zscore\)"):
        normalise(done, "zscore")
    with pytest.raises(ValueError, match="ours: log1p_cpm expects raw counts"):
        normalise(logs, "log1p_cpm")
    for how in ("zscore", "zscore_nonzero", "cell_range_zscore"):
        with pytest.raises(ValueError, match=r"look like counts .*Use 'log1p_cpm_zscore'"):
            normalise(counts, how)
    with pytest.raises(ValueError, match="positive clip, found 0"):
        normalise(logs, clip=0.0)
    empty = np.where(np.arange(20)[:, None] == 3, 0, COUNTS)
    with pytest.raises(ValueError, match=r"1 cells have no counts \(cell3\)"):
        normalise(dataset(empty, GENES), "log1p_cpm")
    for value in (0, 1.5):
        flat = np.where(np.arange(20)[:, None] == 3, value, LOGS)
        with pytest.raises(ValueError, match=r"1 cells have the same value.*\(cell3\).*leave"):
            normalise(dataset(flat, GENES), "cell_range_zscore")


@settings(deadline=None, derandomize=True, max_examples=40)
@given(seed=st.integers(0, 1000))
def test_cell_range_zscore_ignores_unit_and_origin_of_each_cell(seed):
    rng = np.random.default_rng(seed)
    x = rng.gamma(2.0, size=(15, 4)) + 0.01
    scale, shift = rng.uniform(0.1, 1.5, (15, 1)), rng.uniform(0, 5, (15, 1))
    a = normalise(dataset(x, "ABCD"), "cell_range_zscore").x
    b = normalise(dataset(scale * x + shift, "ABCD"), "cell_range_zscore").x
    np.testing.assert_allclose(a, b, atol=2e-3)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(seed=st.integers(0, 1000), shift=st.floats(0.0, 5.0), scale=st.floats(0.1, 1.5))
def test_zscore_ignores_unit_and_origin(seed, shift, scale):
    x = np.random.default_rng(seed).gamma(2.0, size=(15, 3)) + 0.01
    a = normalise(dataset(x, "ABC"), "zscore").x
    b = normalise(dataset(scale * x + shift, "ABC"), "zscore").x
    np.testing.assert_allclose(a, b, atol=2e-3)


def test_every_normalisation_is_tested_here():
    assert set(NORMALISATIONS) == {
        "none",
        "zscore",
        "zscore_nonzero",
        "cell_range_zscore",
        "log1p_cpm",
        "log1p_cpm_zscore",
    }
