"""Differences of effects: calibration, shuffled labels, replicates, shrinkage and the command."""

from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

from infosem_jax import grn
from infosem_jax.cli.app import app
from infosem_jax.data import dataset
from infosem_jax.grn.differences import SURE
from infosem_jax.grn.false_signs import moderated, shrink
from infosem_jax.grn.group_pages import contrast_page

REGULATORS, TARGETS = [f"R{i}" for i in range(10)], 60


def simulated(seed, *, changed=0.08, cells=300, donors=1, donor_sd=0.0, counts=False):
    """Two groups of cells, effects of which some differ, and donors that differ as well."""
    rng = np.random.default_rng(seed)
    shape = (len(REGULATORS), TARGETS)
    W = np.where(rng.random(shape) < 0.3, rng.normal(0, 0.5, shape), 0.0)
    change = np.where(
        rng.random(shape) < changed, rng.choice([-1, 1], shape) * rng.lognormal(-0.5, 0.4, shape), 0
    )
    loading = rng.normal(size=(3, shape[0])) / np.sqrt(3)
    parts, groups, names = [], [], []
    for group in (0, 1):
        for donor in range(donors):
            m = cells // donors
            own = np.where((W != 0) | (change != 0), rng.normal(0, donor_sd, shape), 0.0)
            a = rng.normal(size=(m, shape[0])) + 0.5 * rng.normal(size=(m, 3)) @ loading + group / 2
            t = a @ (W + group * change + own) + rng.normal(size=(m, TARGETS))
            parts.append(np.hstack([a, t]))
            groups += ["ab"[group]] * m
            names += [f"donor {donor}"] * m
    z = np.concatenate(parts)
    z = (z - z.mean(0)) / z.std(0)
    level = rng.normal(2, 0.7, z.shape[1]) + 0.8 * z
    x = rng.poisson(np.exp(level)).astype(float) if counts else np.logaddexp(0, level)
    genes = [*REGULATORS, *(f"G{i:02d}" for i in range(TARGETS))]
    return dataset(x, genes, REGULATORS), groups, names, change


def found_and_wrong(found, change):
    """Number of differences that are found, and of those of the wrong sign, on targets."""
    of_targets = np.s_[:, len(REGULATORS) :]
    sure = found.lfsr[of_targets] <= SURE
    wrong = np.sign(found.difference[of_targets]) != np.sign(change)
    return sure.sum(), (sure & wrong).sum()


@pytest.mark.parametrize("counts", [False, True])
def test_few_of_the_sure_differences_are_wrong_and_shuffled_labels_have_none(counts):
    sure = wrong = shuffled = 0
    for seed in range(4):
        data, groups, _, change = simulated(seed, counts=counts)
        found = grn.contrast(data, groups, shuffles=1, key=seed)
        n, bad = found_and_wrong(found, change)
        sure, wrong, shuffled = sure + n, wrong + bad, shuffled + found.learned["shuffled"].sum()
    assert sure > 20
    # Three standard errors of a share of 5 %.
    assert wrong <= SURE * sure + 3 * np.sqrt(SURE * sure)
    assert shuffled <= 1


def test_nothing_is_found_where_nothing_differs():
    data, groups, _, _ = simulated(0, changed=0.0)
    found = grn.contrast(data, groups)
    assert (found.lfsr > SURE).all() and (found.strength_lfsr > SURE).all()
    assert found.learned["same"] > 0.9


def test_donors_that_differ_are_no_difference_of_groups():
    data, groups, donors, change = simulated(1, changed=0.0, cells=600, donors=4, donor_sd=0.4)
    as_cells = grn.contrast(data, groups, shuffles=0)
    as_donors = grn.contrast(data, groups, replicates=donors, shuffles=1)
    assert found_and_wrong(as_cells, change)[1] > 5
    assert found_and_wrong(as_donors, change)[1] <= 1
    assert as_donors.learned["shuffled"].sum() <= 1


def test_donors_of_one_group_each_are_compared_between_groups():
    data, groups, donors, change = simulated(2, cells=600, donors=4, donor_sd=0.1, changed=0.15)
    apart = [f"{group} {donor}" for group, donor in zip(groups, donors, strict=True)]
    n, wrong = found_and_wrong(grn.contrast(data, groups, replicates=apart), change)
    assert n > 5 and wrong <= 2


def test_the_sign_is_that_of_the_second_group_and_turns_with_the_order():
    data, groups, _, change = simulated(0)
    found = grn.contrast(data, groups, shuffles=0)
    turned = grn.contrast(data, groups, between=("b", "a"), shuffles=0)
    assert found.groups == ("a", "b") and turned.groups == ("b", "a")
    np.testing.assert_allclose(turned.difference, -found.difference, atol=1e-5)
    big = change[np.abs(change) > 1]
    seen = found.difference[:, len(REGULATORS) :][np.abs(change) > 1]
    assert np.corrcoef(big, seen)[0, 1] > 0.7
    table = grn.changes(found, top=5)
    assert list(table) == ["source", "target", "shared", "difference", "sd", "positive", "lfsr"]
    assert table["lfsr"].is_monotonic_increasing and len(table) == 5
    assert set(grn.rewired(found)["regulator"]) == set(REGULATORS)


def test_a_regulator_that_loses_its_effects_is_told():
    rng = np.random.default_rng(0)
    W = rng.normal(0, 0.5, (4, 40))
    parts = []
    for group in (0, 1):
        now = W.copy()
        now[1] *= 1 - group
        a = rng.normal(size=(300, 4))
        parts.append(np.hstack([a, a @ now + rng.normal(size=(300, 40))]))
    x = np.concatenate(parts)
    genes = [*(f"R{i}" for i in range(4)), *(f"G{i}" for i in range(40))]
    data = dataset(x - x.min() + 0.1, genes, genes[:4])
    table = grn.rewired(grn.contrast(data, np.repeat(["a", "b"], 300))).set_index("regulator")
    assert table["lfsr"]["R1"] < SURE and -3 < table["strength"]["R1"] < -1
    assert table["lfsr"].drop("R1").min() > SURE


def test_what_cannot_be_compared_is_refused():
    data, groups, _, _ = simulated(0, cells=100, donors=2)
    three = ["c", *groups[1:]]
    refused: list[tuple[Any, dict[str, Any], str]] = [
        (three, {}, "Expected two groups of cells to compare, found a, b, c"),
        (groups, {"between": ("a", "x")}, "Expected two groups"),
        (groups[1:], {}, "a group for each of 200 cells, found 199"),
        (groups, {"replicates": ["d"] * 200}, "at least two replicates in each group"),
        (["a"] * 5 + ["b"] * 195, {}, "a: expected at least 10 cells, found 5"),
    ]
    for labels, settings, message in refused:
        with pytest.raises(ValueError, match=message):
            grn.contrast(data, labels, **settings)


def test_shrinkage_tells_zeros_from_effects_as_often_as_it_says():
    rng = np.random.default_rng(0)
    effect = np.where(rng.random(20000) < 0.2, rng.normal(0, 2, 20000), 0.0)
    error = rng.uniform(0.5, 1.5, 20000)
    found = shrink(effect + error * rng.normal(size=20000), error)
    wrong = np.sign(found.mean) != np.sign(effect)
    for low, high in ((0.0, 0.05), (0.05, 0.2), (0.2, 0.5)):
        at = (found.lfsr >= low) & (found.lfsr < high)
        expected = found.lfsr[at].mean()
        assert wrong[at].mean() == pytest.approx(expected, abs=4 * np.sqrt(0.25 / at.sum()))
    assert found.zeros == pytest.approx(0.8, abs=0.05)
    inside = np.abs(effect - found.mean) <= 1.96 * found.sd
    assert inside.mean() > 0.92
    none = shrink(rng.normal(size=5000), np.ones(5000))
    assert none.zeros > 0.95 and none.lfsr.min() > SURE
    apart = shrink(np.array([3.0, 0.0]), np.array([1.0, np.inf]))
    assert apart.lfsr[1] == 1 and apart.mean[1] == 0


def test_errors_from_few_replicates_are_moderated():
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(4, 20000))
    mean, variance = draws.mean(0), draws.var(0, ddof=1) / 4
    error = moderated(mean, variance, np.full(20000, 0.25), 3)
    # With all of one variance the pool tells it; single variances would give a t of 3 df.
    p = 2 * stats.norm.sf(np.abs(mean / error))
    assert stats.kstest(p, "uniform").statistic < 0.02
    wide = moderated(mean, 4 * variance, np.full(20000, 0.25), 3)
    np.testing.assert_allclose(np.median(wide / error), 2, rtol=0.1)


def test_the_page_lists_what_is_likely_to_differ_and_says_where_nothing_is():
    data, groups, _, _ = simulated(0, cells=200)
    found = grn.contrast(data, groups, shuffles=0)
    rates, strengths = (np.linspace(0.3, 1, part.size).reshape(part.shape)
                        for part in (found.lfsr, found.strength_lfsr))  # fmt: skip
    some = found._replace(lfsr=rates, strength_lfsr=strengths)
    none = found._replace(lfsr=0.5 + rates / 2, strength_lfsr=0.5 + strengths / 2)
    listed = grn.changes(some, below=0.5)
    assert 40 < len(listed) < len(grn.changes(some)) and len(grn.changes(none)) == len(
        grn.changes(some)
    )
    assert listed.equals(grn.changes(some).iloc[: len(listed)]) and listed["lfsr"].max() < 0.5
    effects, regulators, _ = contrast_page(some, {}).sections
    assert len(effects.tables[0].rows) == min(len(listed), 40)
    assert len(regulators.tables[0].rows) == (strengths < 0.5).sum()
    effects, regulators, _ = contrast_page(none, {}).sections
    assert not effects.tables and not regulators.tables
    assert "No effect is likely to differ" in effects.text[0]
    assert "no regulator are likely to grow" in regulators.text[0]


def test_the_command_compares_columns_of_obs_and_files(tmp_path):
    data, groups, donors, _ = simulated(0, cells=200, donors=2)
    adata = anndata.AnnData(data.x)
    adata.obs_names, adata.var_names = data.cells, list(data.genes)
    adata.obs["condition"], adata.obs["donor"] = groups, donors
    adata.write_h5ad(tmp_path / "cells.h5ad")
    (tmp_path / "tf.txt").write_text("\n".join(REGULATORS))
    options = ["--regulators", str(tmp_path / "tf.txt"), "--out", str(tmp_path / "out")]
    command = ["contrast", str(tmp_path / "cells.h5ad"), *options]
    result = CliRunner().invoke(
        app, [*command, "--groupby", "condition", "--replicates", "donor", "--top", "20"]
    )
    assert result.exit_code == 0, result.output
    assert "after labels were shuffled" in result.output
    table = pd.read_csv(tmp_path / "out" / "differences.csv", float_precision="round_trip")
    assert len(table) == 20
    assert (tmp_path / "out" / "differences.csv").read_text() == table.to_csv(index=False)
    assert "The surest differences" in (tmp_path / "out" / "report.html").read_text()
    assert len(pd.read_csv(tmp_path / "out" / "regulators.csv")) == len(REGULATORS)
    wrong = CliRunner().invoke(app, [*command, "--overwrite", "--between", "a"])
    assert wrong.exit_code == 2 and "expected two groups" in wrong.output


@pytest.mark.slow
def test_the_command_compares_two_files_in_their_order(tmp_path):
    data, groups, _, _ = simulated(0, cells=200)
    adata = anndata.AnnData(data.x)
    adata.obs_names, adata.var_names = data.cells, list(data.genes)
    for name in "ab":
        adata[np.asarray(groups) == name].write_h5ad(tmp_path / f"{name}.h5ad")
    (tmp_path / "tf.txt").write_text("\n".join(REGULATORS))
    files = [str(tmp_path / "b.h5ad"), str(tmp_path / "a.h5ad")]
    options = ["--regulators", str(tmp_path / "tf.txt"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, ["contrast", *files, *options])
    assert result.exit_code == 0 and "Effects in a less those in b" in result.output
