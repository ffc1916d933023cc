import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from infosem_jax.grn.accuracy import At, Cell
from infosem_jax.grn.paired import HEADLINE, METRICS, Group, best, paired, summary, table

GROUP = Group("string", "TFs+500", "seen")


def cell(method="a", seed=0, dataset="d", split="seen", value=1.0, draws=None, pooled=None):
    """Return a cell whose metrics are all `value`, with given draws of it."""
    draws = np.full(40, value) if draws is None else np.asarray(draws, float)
    return Cell(
        At(dataset, "string", "TFs+500", method, split, seed),
        dict.fromkeys(METRICS, float(value)),
        2.0,
        ("A",),
        np.array([value]),
        draws if pooled is None else np.asarray(pooled, float),
        draws,
        np.linspace(1, 0, 101),
    )


def drawn(rng, means=(1.0, 2.0), datasets=("d", "e"), seeds=3, draws=40, methods=("a", "b")):
    """Return random cells in which all methods share the luck of the regulators."""
    cells = []
    for dataset in datasets:
        for seed in range(seeds):
            luck = rng.normal(size=draws)
            for method, mean in zip(methods, means, strict=True):
                own = mean + luck + 0.1 * rng.normal(size=draws)
                cells.append(cell(method, seed, dataset, value=mean + rng.normal(), draws=own))
    return cells


def row(frame, method="a"):
    return frame.loc[frame["method"] == method].iloc[0]


def test_means_are_over_seeds_first_and_over_data_sets_then():
    cells = [cell(value=1, seed=0), cell(value=3, seed=1), cell(value=8, dataset="e")]
    got = row(summary(cells))
    assert got[HEADLINE] == got["auroc"] == 5
    assert (got["cells"], got["data_sets"], got["seconds"]) == (3, 2, 2.0)
    assert got[f"{HEADLINE}_sd"] == pytest.approx(2**0.5)  # of the one data set with two seeds


def test_interval_averages_draws_by_their_number():
    rng = np.random.default_rng(0)
    a, b, c = rng.normal(size=(3, 50))
    cells = [cell(seed=0, draws=a), cell(seed=1, draws=b), cell(dataset="e", draws=c)]
    want = np.percentile(((a + b) / 2 + c) / 2, [2.5, 97.5])
    got = row(summary(cells))
    np.testing.assert_allclose(got[[f"{HEADLINE}_low", f"{HEADLINE}_high"]].astype(float), want)
    opposite = row(summary([cell(seed=0, draws=a), cell(seed=1, draws=-a)]))
    assert opposite[f"{HEADLINE}_low"] == pytest.approx(0) == opposite["auprc_high"]


def test_normal_draws_give_the_normal_interval():
    draws = norm.ppf((np.arange(4000) + 0.5) / 4000, 3, 0.5)
    got = row(summary([cell(value=3, draws=draws)]))
    assert got[f"{HEADLINE}_low"] == pytest.approx(3 - 1.96 * 0.5, abs=2e-3)
    assert got[f"{HEADLINE}_high"] == pytest.approx(3 + 1.96 * 0.5, abs=2e-3)


def test_interval_over_regulators_covers_the_truth():
    rng = np.random.default_rng(1)
    cells = []
    for study in range(300):
        ratios = rng.normal(1.5, 0.4, 60)
        draws = ratios[rng.integers(0, 60, (200, 60))].mean(1)
        cells.append(cell(f"study {study}", value=ratios.mean(), draws=draws))
    got = summary(cells)
    hits = (got[f"{HEADLINE}_low"] <= 1.5) & (got[f"{HEADLINE}_high"] >= 1.5)
    assert 0.90 <= hits.mean() <= 0.98


def test_seeds_count_in_full_in_the_paired_interval():
    rng = np.random.default_rng(2)
    values, draws = rng.normal(size=3), 20_000
    cells = [cell("b", s, value=0, draws=np.zeros(draws)) for s in range(3)]
    cells += [cell("a", s, value=v, draws=np.full(draws, v)) for s, v in enumerate(values)]
    got = paired(cells, "a", "b").iloc[0]
    # Two of three seeds with replacement: nine equally likely means, variance s^2 / 3.
    means = np.add.outer(values, values).ravel() / 2
    assert means.var() == pytest.approx(values.var(ddof=1) / 3)
    want = np.percentile(means, [2.5, 97.5], method="inverted_cdf")
    np.testing.assert_allclose([got["difference_low"], got["difference_high"]], want)


def test_paired_is_the_direct_computation_with_one_seed():
    rng = np.random.default_rng(3)
    cells = drawn(rng, seeds=1)
    by = {(c.at.dataset, c.at.method): c for c in cells}
    mean = {m: (by["d", m].auprc_ratio[0] + by["e", m].auprc_ratio[0]) / 2 for m in "ab"}
    draws = {m: (by["d", m].resampled + by["e", m].resampled) / 2 for m in "ab"}
    for metric in (HEADLINE, "auprc"):
        got = paired(cells, "a", "b", metric).iloc[0]
        assert got["difference"] == pytest.approx(mean["a"] - mean["b"])
        assert got["ratio"] == pytest.approx(mean["a"] / mean["b"])
        for of, name in (
            (draws["a"] - draws["b"], "difference"),
            (draws["a"] / draws["b"], "ratio"),
        ):
            want = np.percentile(of, [2.5, 97.5])
            np.testing.assert_allclose([got[f"{name}_low"], got[f"{name}_high"]], want)
        assert got["pairs"] == 2
        assert got["won"] == sum(
            by[d, "a"].auprc_ratio[0] > by[d, "b"].auprc_ratio[0] for d in "de"
        )


def test_what_regulators_share_cancels_in_pairs():
    cells = drawn(np.random.default_rng(4), draws=400)
    alone, pair = row(summary(cells)), paired(cells, "b", "a").iloc[0]
    width = pair["difference_high"] - pair["difference_low"]
    assert width < 0.3 * (alone[f"{HEADLINE}_high"] - alone[f"{HEADLINE}_low"])


def test_a_method_equals_itself():
    got = paired(drawn(np.random.default_rng(5)), "a", "a").iloc[0]
    assert got["difference"] == got["difference_low"] == got["difference_high"] == 0
    assert got["ratio"] == got["ratio_low"] == got["ratio_high"] == 1
    assert got["won"] == got["missing"] == 0


def test_order_of_cells_does_not_matter():
    rng = np.random.default_rng(6)
    cells = drawn(rng) + [cell(m, split="all") for m in "ab"]
    mixed = [cells[i] for i in rng.permutation(len(cells))]
    for of in (table, summary, lambda c: paired(c, "a", "b")):
        pd.testing.assert_frame_equal(of(cells), of(mixed))
    assert best(cells, "ab") == best(mixed, "ab")


def test_pairs_that_one_method_lacks_are_named_and_left_out():
    cells = drawn(np.random.default_rng(7))
    without = [c for c in cells if c.at[3:] != ("b", "seen", 1) or c.at.dataset != "e"]
    got = paired(without, "a", "b").iloc[0]
    assert (got["pairs"], got["missing"], got["missing_places"]) == (5, 1, "e seed 1")
    same = [c for c in cells if (c.at.dataset, c.at.seed) != ("e", 1)]
    assert got["difference"] == paired(same, "a", "b").iloc[0]["difference"]
    alone = paired([*cells, cell("a", split="all")], "a", "b")
    assert alone["split"].tolist() == ["seen"]


def test_the_best_is_chosen_for_each_group_among_complete_methods():
    cells = [cell(m, value=v, dataset=d) for d in "de" for m, v in (("a", 1), ("b", 2))]
    cells += [cell("lucky", value=9, dataset="d"), cell("a", value=4, split="all")]
    cells += [cell("b", value=3, split="all")]
    everywhere = GROUP._replace(split="all")
    assert best(cells, ["a", "b", "lucky"]) == {everywhere: "a", GROUP: "b"}
    got = paired(cells, "b", best(cells, ["a", "b"]))
    assert got["against"].tolist() == ["a", "b"]
    assert got["difference"].tolist() == [-1, 0]


def test_values_that_are_missing_are_left_out():
    none = cell(dataset="e", value=np.nan, draws=np.full(40, np.nan))
    draws = np.linspace(1, 2, 40)
    broken = np.where(np.arange(40) < 4, np.nan, draws)
    got = row(summary([cell(value=2, draws=broken), none]))
    assert got[HEADLINE] == 2
    filled = np.where(np.isnan(broken), np.nanmean(broken), broken)
    assert got[f"{HEADLINE}_low"] == pytest.approx(np.percentile(filled, 2.5))
    empty = row(summary([none]))
    assert np.isnan(empty[[HEADLINE, f"{HEADLINE}_low"]].astype(float)).all()
    both = [none, none._replace(at=none.at._replace(method="b"))]
    got = paired(both, "a", "b").iloc[0]
    assert np.isnan(got["difference"]) and got["pairs"] == 0
    assert best(both, "ab") == {}


@pytest.mark.parametrize(
    ("do", "message"),
    [
        (lambda: summary([]), "found none"),
        (lambda: summary([cell(), cell()]), "each cell once"),
        (lambda: summary([cell(), cell("b", draws=np.ones(3))]), "as many draws"),
        (lambda: paired([cell()], "a", "nobody"), "No cell is of nobody"),
        (lambda: paired([cell()], "a", "a", "auroc"), "metric with draws"),
        (lambda: best([cell()], ["a"], "speed"), "Expected a metric"),
    ],
)
def test_bad_input_is_refused(do, message):
    with pytest.raises(ValueError, match=message):
        do()
