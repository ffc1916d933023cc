"""Validation and normalisation of expression."""

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infosem_jax.data import NORMALISATIONS, dataset, normalise, read_regulators

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
        (LOGS.astype(str), {}, "expected real numbers, found values of type <U"),
        (LOGS.astype(complex), {}, "expected real numbers"),
        (changed(np.nan), {}, "1 values are NaN or infinite.*row 2, gene NANOG.*impute"),
        (changed(np.inf), {}, "NaN or infinite"),
        (changed(-666), {}, "1 values are -666, which marks missing ones"),
        (changed(-1), {}, "1 values are negative.*not z-scores"),
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
    for value in (0.5, 1.5):
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
        "auto",
        "none",
        "zscore",
        "zscore_nonzero",
        "cell_range_zscore",
        "log1p_cpm",
        "log1p_cpm_zscore",
    }


def test_what_cannot_be_used_is_left_out_with_a_note():
    x = np.column_stack([LOGS, LOGS[:, 0], LOGS[:, 1] + 1, np.full(len(LOGS), 2.0)])
    x[4] = 0
    cells = ["a", "a", "b", "a-1", *(f"c{i}" for i in range(16))]
    data = dataset(x, [*GENES, "", GENES[1], "FLAT"], cells=cells, totals=np.arange(20))
    assert data.genes == GENES
    assert data.cells[:4] == ("a", "a-2", "b", "a-1") and len(set(data.cells)) == 19
    np.testing.assert_allclose(data.x, np.delete(LOGS, 4, 0), rtol=1e-6)
    np.testing.assert_array_equal(data.totals, np.delete(np.arange(20), 4))
    assert [note.split(" (")[0] for note in data.notes] == [
        "left out 1 cells without any value other than 0",
        "left out 1 genes that have the same value in every cell",
        "left out 1 genes without a name",
        "left out 1 genes whose name others have as well, of which the first of each name is kept",
        "numbered 1 cells whose name others have as well",
    ]
    assert dataset(LOGS, GENES).notes == ()
    with pytest.raises(ValueError, match="found 1 genes that vary"):
        dataset(np.where(np.arange(4) > 0, 1.0, LOGS), GENES)


def test_matches_of_regulators_are_counted():
    names = [f"G{i}" for i in range(60)]
    x = np.random.default_rng(1).gamma(2.0, size=(12, 60))
    data = dataset(x, names, ["G1", "G3", "other"])
    assert data.regulators == ("G1", "G3")
    said = "2 of 3 candidate regulators are among the genes; 0 by alias"
    assert data.notes == (said,)
    with pytest.raises(ValueError, match=r"Only 1 of the 20 .*Nearest symbols: G90 ~ G9"):
        dataset(x, names, ["G0", *(f"G9{i}" for i in range(19))])
    # A catalogue of all regulators goes with a panel of few genes.
    assert len(dataset(x, names, [*names[:3], *map(str, range(1600))]).regulators) == 3


HUMAN = ("STAT1", "IRF7", "TBXT", "POU5F1", "ACTB", "GAPDH")
MOUSE = ("Stat1", "Irf7", "T", "Pou5f1", "Actb", "Gapdh")


@pytest.mark.parametrize(
    ("genes", "regulators", "found", "said"),
    [
        (HUMAN, ("stat1", "IRF7"), ("STAT1", "IRF7"), "1 in other case"),
        # A new symbol, an alias, and a gene that is called by the alias of another.
        (HUMAN, ("T", "OCT4"), ("TBXT", "POU5F1"), "2 by alias"),
        ((*HUMAN[:4], "OCT4", "ACTB"), ("OCT4",), ("OCT4",), None),
        (
            ("ENSG00000115415.20", "ENSG00000185507", "ENSG00000164458.8", *HUMAN[3:]),
            ("STAT1", "IRF7", "TBXT"),
            ("ENSG00000115415.20", "ENSG00000185507", "ENSG00000164458.8"),
            "3 by Ensembl identifier",
        ),
        (HUMAN, ("ENSG00000115415", "IRF7"), ("STAT1", "IRF7"), "1 by Ensembl identifier"),
        (("ENSG00000115415.2", *HUMAN[1:]), ("ENSG00000115415.9",), ("ENSG00000115415.2",), "1 by"),
        (MOUSE, ("ENSMUSG00000026104", "Oct4"), ("Stat1", "Pou5f1"), "look like those of mouse"),
        (MOUSE, ("STAT1", "IRF7"), ("Stat1", "Irf7"), "those of the regulators like human"),
        (("stat1", "STAT1"), ("Stat1",), ("stat1",), "1 in other case"),
    ],
)
def test_regulators_by_other_names(genes, regulators, found, said):
    x = np.random.default_rng(3).gamma(2.0, size=(12, len(genes)))
    data = dataset(x, genes, regulators)
    assert data.regulators == found
    assert (said in data.notes[0]) if said else not data.notes


@pytest.mark.parametrize(("species", "genes"), [("human", HUMAN), ("mouse", MOUSE)])
def test_regulators_of_a_species(species, genes, tmp_path, monkeypatch):
    listed = read_regulators(species)
    assert 1600 < len(set(listed)) == len(listed) < 1800
    x = np.random.default_rng(4).gamma(2.0, size=(12, len(genes)))
    data = dataset(x, genes, listed)
    assert data.regulators == genes[:4]
    said = f"4 of {len(listed):,} candidate regulators are among the genes; 0 by alias"
    assert data.notes[0].startswith(said)
    with pytest.raises(ValueError, match=f"None of the {len(listed):,} regulators"):
        dataset(x, [f"gene{i}" for i in range(len(genes))], listed)
    # A file of that name is what is meant, if there is one.
    monkeypatch.chdir(tmp_path)
    (tmp_path / species).write_text("SOX2\n")
    assert read_regulators(species) == ("SOX2",)


def test_auto_takes_logarithms_of_what_has_none_and_says_so(caplog):
    logs, counts = dataset(LOGS, GENES), dataset(COUNTS, GENES)
    caplog.set_level(logging.INFO, "infosem_jax")
    for data, how in ((logs, "zscore"), (counts, "log1p_cpm_zscore")):
        caplog.clear()
        found, expected = normalise(data, "auto"), normalise(data, how)
        assert found.normalisation == how
        [told] = caplog.messages  # nothing is said of what the user named
        assert ("counts per million" in told) == (how == "log1p_cpm_zscore")
        np.testing.assert_array_equal(found.x, expected.x)


def test_totals_are_those_of_all_genes():
    counts = np.random.default_rng(2).poisson(5, (20, 40))
    part = dataset(counts[:, :10], [f"G{i}" for i in range(10)], totals=counts.sum(1))
    expected = np.log1p(1e6 * counts / counts.sum(1, keepdims=True))[:, :10]
    np.testing.assert_allclose(normalise(part, "log1p_cpm").x, expected, rtol=1e-5)


def test_cells_that_were_put_in_twice_are_told():
    x = np.random.default_rng(0).poisson(2.0, (60, 30)).astype(float)
    genes = [f"G{i}" for i in range(30)]
    assert not any("values of another" in note for note in dataset(x, genes).notes)
    notes = dataset(np.concatenate([x, x[::2]]), genes).notes
    assert any("30 cells have the values of another in every gene" in note for note in notes)
    few = np.eye(30)[np.arange(60) % 30]  # cells of one count are alike by chance
    assert not any("values of another" in note for note in dataset(few, genes).notes)


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ("GRCh38_{0}", "what is before them is left out"),
        ("ENSG00000000001_{0}", "what is before them is left out"),
        ("{0}|ENSG00000000001", "what is behind them is left out"),
        ("{0} ", "spaces around them are left out"),
    ],
)
def test_names_with_more_than_a_symbol_are_told_apart(form, told):
    x = np.random.default_rng(0).gamma(2.0, 1.0, (30, 12))
    symbols = ["TP53", "MYC", *(f"GENE{i}" for i in range(10))]
    with pytest.raises(ValueError, match=f"2 match when {told}"):
        dataset(x, [form.format(name) for name in symbols], symbols[:2])
