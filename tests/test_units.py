"""Units of expression: the one rule by which counts, logarithms and differences are told apart."""

import anndata
import h5py
import numpy as np
import pytest
import scipy.sparse as sp

from infosem_jax.data.units import decide, declared_base, describe_units, look_at, merge

RNG = np.random.default_rng(0)
DEPTH = RNG.lognormal(7, 0.4, (120, 1))
RATE = RNG.dirichlet(np.full(60, 0.4))
COUNTS = RNG.poisson(DEPTH * RATE).astype(np.float32)
COUNTS = COUNTS[COUNTS.sum(1) > 0]
CP10K = (1e4 * COUNTS / COUNTS.sum(1, keepdims=True)).astype(np.float32)
SHALLOW = RNG.poisson(0.8, (100, 40))
PANEL = np.random.default_rng(1).poisson(1.5, (400, 8)) + (np.arange(8) == 3)

CASES = {
    "counts": (COUNTS, "counts", ""),
    "shallow counts": (SHALLOW, "counts", ""),
    "whole numbers up to 10": (np.arange(200).reshape(20, 10) % 11, "counts", ""),
    "ambient-corrected counts": (SHALLOW * 20 - RNG.uniform(0, 0.1, (100, 40)) * (SHALLOW > 0),
                                 "fractional counts", ""),
    "counts shared between genes": (SHALLOW + 0.37 * (RNG.random((100, 40)) < 0.1),
                                    "fractional counts", ""),
    "ambient-corrected shallow counts": (SHALLOW * RNG.uniform(0.9, 1, (100, 40)),
                                         "fractional counts", ""),
    "CP10K": (CP10K, "linear", ""),
    "CP10K of some genes": (CP10K[:, :25], "linear", ""),
    "small CP10K": (CP10K * 0.002, "linear", ""),
    "TPM": (RNG.lognormal(2, 2, (40, 60)), "linear", ""),
    "log1p": (np.log1p(CP10K), "log", "e"),
    "log2": (np.log2(1 + CP10K), "log", "2"),
    "log10": (np.log10(1 + CP10K), "log", "10"),
    "log1p of counts": (np.log1p(COUNTS), "log", "e"),
    "log2 of counts": (np.log2(1 + COUNTS), "log", "2"),
    "log2 of shallow counts": (np.log2(1 + SHALLOW), "log", "2"),
    "log1p of shallow counts": (np.log1p(SHALLOW), "log", "e"),
    "log1p of shallow CP10K": (
        np.log1p(1e4 * SHALLOW / RNG.integers(4500, 6000, (100, 1))), "log", "unknown"),
    "log1p of some genes": (np.log1p(CP10K[:, :25]), "log", "unknown"),
    "microarray": (RNG.normal(8, 1.5, (20, 60)), "log", "unknown"),
    "rounded microarray": (RNG.normal(8, 1.5, (20, 60)).round(1), "log", "unknown"),
    "z-scores": (RNG.normal(size=(30, 20)), "differences", ""),
    "whole differences": (RNG.integers(-3, 4, (30, 20)), "differences", ""),
    "presence": (RNG.random((30, 20)) < 0.3, "binary", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_units_are_told(name):
    x, kind, base = CASES[name]
    found = describe_units(x)
    assert (found.kind, found.base) == (kind, base), found.why
    assert (found.least, found.most) == (float(np.min(x)), float(np.max(x)))
    assert describe_units(sp.csr_array(np.asarray(x)))[:2] == found[:2]
    parts = [look_at(part) for part in np.array_split(np.asarray(x), 3)]
    assert decide(merge(merge(*parts[:2]), parts[2]))[:2] == found[:2]
    assert found.countable == (kind in ("counts", "fractional counts", "linear"))


def test_logarithms_of_logarithms_are_refused():
    twice = np.log1p(np.log1p(CP10K))
    for x in (twice, sp.csr_array(twice)):
        with pytest.raises(ValueError, match=r"logarithms of logarithms.*total of 1e\+04.*expm1"):
            describe_units(x, base="e")


def test_values_that_are_none_are_refused():
    for value, text in (
        (np.nan, "NaN or infinite"),
        (np.inf, "NaN"),
        (-666, "-666, which marks"),
        (-999, "-999, which marks"),
        (1e30, "up to 1e"),
    ):
        x = np.log1p(CP10K)
        x[3, 4] = value
        with pytest.raises(ValueError, match=f"1 values are {text}"):
            describe_units(x)


def test_the_base_that_a_file_declares_counts(tmp_path):
    x = np.log2(1 + CP10K[:, :25])
    assert describe_units(x, base="2").base == "2"
    for base, name in ((None, "e"), (2, "2"), (10, "10"), (3, None), ("many", None)):
        data = anndata.AnnData(x, uns={"log1p": {"base": base}})
        assert declared_base(data.uns) == name
        data.write_h5ad(tmp_path / "x.h5ad")
        with h5py.File(tmp_path / "x.h5ad") as file:
            assert declared_base(file["uns"]) == name
    for uns in ({}, None, {"log1p": 3}, {"log1p": np.ones(2)}):
        assert declared_base(uns) is None


LOGS = np.log1p(CP10K)
QUANTILES = [RNG.permuted(np.tile(RNG.normal(8, 1.5, 60), (20, 1)), axis=1) for _ in range(2)]

TWO = {
    "counts and log1p": ([COUNTS[:80], LOGS[80:]],
                         "of 120, 80 hold counts .* and 40 hold logarithms to base e"),
    "a cell of counts": ([COUNTS[:1], LOGS[1:]], "1 hold counts .* and 119 hold"),
    "counts and log2 of counts": ([COUNTS[:80], np.log2(1 + COUNTS[80:])],
                                  "80 hold counts .* and 40 hold logarithms to base 2"),
    "counts and CP10K": ([COUNTS[:80], CP10K[80:]], "80 hold counts .* and 40 hold linear"),
    "counts and z-scores": ([COUNTS[:80], RNG.normal(size=(40, 60))], "40 hold differences"),
    "CP10K and log1p": ([CP10K[:80], LOGS[80:]], "40 hold logarithms .* and 80 hold linear"),
    "CP10K and log1p of some genes": ([CP10K[:80, :25], LOGS[80:, :25]], "80 hold linear"),
    "log1p and log2": ([LOGS[:80], np.log2(1 + CP10K[80:])],
                       "67% hold .* base e .* of 1e.04 and 33% hold .* base 2 .* of 1e.04"),
    "CP10K and CPM": ([LOGS[:80], np.log1p(100 * CP10K[80:])], "of 1e.04 and 33% .* of 1e.06"),
}  # fmt: skip


@pytest.mark.parametrize("name", TWO)
def test_cells_in_two_units_are_refused(name):
    parts, said = TWO[name]
    x = np.concatenate(parts)
    for form in (x, sp.csr_array(x)):
        with pytest.raises(ValueError, match=f"^mine: cells are in two units: .*{said}.*Bring all"):
            describe_units(form, name="mine")
    looks = [look_at(part) for part in np.array_split(x, 3)]
    with pytest.raises(ValueError, match=f"two units: .*{said}"):
        decide(merge(merge(*looks[:2]), looks[2]))


@pytest.mark.parametrize(
    ("x", "kind"),
    [
        (CP10K * np.median(COUNTS.sum(1)) / 1e4, "linear"),  # the median cell keeps its counts
        (np.log2(1 + RNG.poisson(0.2, (200, 60))), "log"),  # ones and threes become whole
        (np.concatenate([SHALLOW[:50], SHALLOW[50:] * 20 - 0.05 * (SHALLOW[50:] > 0)]),
         "fractional counts"),  # nothing ambient in some cells
        (np.concatenate([LOGS[:80], np.log1p(0.7 * CP10K[80:])]), "log"),  # studies of unlike depth
        (np.concatenate(QUANTILES), "log"),  # each study brought to quantiles of its own
        (RNG.choice([-1, 0, 1], (50, 60), p=[0.03, 0.9, 0.07]), "differences"),
        (np.sqrt(PANEL), "log"),  # the roots of a few cells are all whole
        (np.round(np.log2(1 + 1e6 * PANEL / PANEL.sum(1, keepdims=True)), 1), "log"),
        (1e6 * (PANEL[:, :6] + 1) / (PANEL + 1).sum(1, keepdims=True), "linear"),  # of 20, 25, 40
    ],
)  # fmt: skip
def test_cells_that_differ_within_one_unit_are_not_refused(x, kind):
    assert describe_units(x).kind == kind


def test_values_that_single_floats_do_not_resolve_are_not_taken_for_whole_numbers():
    assert describe_units(np.concatenate(QUANTILES)).base == "unknown"


@pytest.mark.parametrize(
    ("x", "value", "share", "said"),
    [
        (COUNTS, -1, 0, r"1 values are negative \(down to -1\) among whole numbers up to 2"),
        (COUNTS, -1, 0.1, r"\d+ values are negative \(down to -1\) among whole numbers"),
        (CP10K, -1, 0, "1 values are negative .* among values up to"),
        (LOGS, -99, 0, "1 values are negative .*-99.* among values"),
    ],
)
def test_negative_values_that_mark_missing_ones_are_refused(x, value, share, said):
    x = np.array(x)
    x[RNG.random(x.shape) < share] = value
    x[3, 4] = value
    for form in (x, sp.csr_array(x)):
        with pytest.raises(ValueError, match=f"{said}.*remove or impute them"):
            describe_units(form)
