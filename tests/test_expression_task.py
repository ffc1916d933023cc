"""Tasks: names, units, splits, scaling, and that nothing of the test part is learned from."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infosem_jax.expression.choices import make_problem
from infosem_jax.expression.config import Config
from infosem_jax.expression.profiles import (
    align_genes,
    identifier_kind,
    make_profiles,
    pair_samples,
    present,
    take_samples,
    to_symbols,
)
from infosem_jax.expression.readers import read_landmarks, read_profiles
from infosem_jax.expression.scales import (
    constant_inputs,
    rounded_base,
    unlike_means,
    unlike_samples,
)
from infosem_jax.expression.splits import (
    Split,
    check_split,
    group_folds,
    grouped_split,
    ordered_split,
    random_split,
    stratified_split,
)
from infosem_jax.expression.task import (
    Prediction,
    comparable,
    fit_scaling,
    make_task,
    scale,
    unscale,
)
from infosem_jax.expression.units import check_units, describe_units, log_counts

quick = settings(deadline=None, derandomize=True, max_examples=50)


def simulated(samples=40, genes=12, seed=0, name="simulated", **labels):
    rng = np.random.default_rng(seed)
    x = 6 + rng.normal(size=(samples, 3)) @ rng.normal(size=(3, genes))
    x += 0.1 * rng.normal(size=x.shape)
    labels = {key: np.asarray(value) for key, value in labels.items()}
    return make_profiles(np.abs(x), [f"G{i}" for i in range(genes)], labels=labels, name=name)


# --- profiles -------------------------------------------------------------------------------------


def test_profiles_refuse_what_does_not_fit():
    x = np.ones((2, 3))
    for genes, samples, message in (
        (["A", "B"], None, "one column per gene"),
        (["A", "B", "A"], None, "occur more than once: A"),
        (["A", "B", " "], None, "1 of 3 genes have no name"),
        (["A", "B", "C"], ["s", "s"], "sample names occur more than once: s"),
    ):
        with pytest.raises(ValueError, match=message):
            make_profiles(x, genes, samples)
    with pytest.raises(ValueError, match="nan in sample sample1, gene B, and 1 such"):
        make_profiles(np.array([[1, 2], [3, np.nan]]), ["A", "B"])
    with pytest.raises(ValueError, match="one value of 'tissue' for each of 2"):
        make_profiles(x, ["A", "B", "C"], labels={"tissue": np.array(["a"])})


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["1007_s_at", "200814_at", "AFFX-BioB-5_at"], "Affymetrix probe"),
        (["ENSG00000223972", "ENSMUSG00000051951.6", "TP53"], "Ensembl id"),
        (["7157", "5720", "TP53"], "Entrez number"),
        (["TP53", "HLA-A", "7157"], "symbol"),
        ([], "symbol"),
    ],
)
def test_identifiers_are_recognised(names, kind):
    assert identifier_kind(names) == kind


def test_identifiers_become_symbols():
    table = pd.DataFrame(
        {
            "gene_symbol": ["TP53", "PSME1", "PSME1", ""],
            "ensembl_id": [f"ENSG000000{i}" for i in (41510, 92010, 10001, 10002)],
        }
    )
    x = np.array([[1.0, 2, 4, 8, 16], [0, 3, 5, 7, 9]])
    genes = [f"ENSG000000{i}" for i in ("92010.3", "10001", "41510", "10002", "99999")]
    data = make_profiles(x, genes)
    with pytest.raises(ValueError, match="1 symbols have several of its genes \\(PSME1\\)"):
        to_symbols(data, table)
    found = to_symbols(data, table, duplicates="mean")
    assert found.genes == ("PSME1", "TP53")
    np.testing.assert_array_equal(found.x, [[1.5, 4], [1.5, 5]])
    assert to_symbols(found, table) is found
    with pytest.raises(ValueError, match=r"named by Entrez number; expected .* gene_id"):
        to_symbols(make_profiles(np.ones((1, 1)), ["7157"]), table)
    with pytest.raises(ValueError, match="knows none"):
        to_symbols(make_profiles(np.ones((1, 1)), ["ENSG00000999999"]), table)


def test_missing_genes_are_named_or_imputed():
    data = simulated(genes=4)
    with pytest.raises(ValueError, match=r"2 of 3 genes are missing: Q, R\. Leave them out"):
        align_genes(data, ["Q", "G1", "R"])
    fill = np.array([7, 8, 9], np.float32)
    x, imputed = align_genes(data, ["Q", "G1", "R"], missing="impute", fill=fill)
    assert imputed == ("Q", "R")
    np.testing.assert_array_equal(x[:, 1], data.x[:, 1])
    assert (x[:, 0] == 7).all() and (x[:, 2] == 9).all()
    with pytest.raises(ValueError, match=r"2 of 2 genes are missing: .* means of all would say"):
        align_genes(data, ["Q", "R"], missing="impute", fill=fill[:2])
    with pytest.raises(ValueError, match="occur more than once: G1"):
        align_genes(data, ["G1", "G1"])


@pytest.mark.parametrize(
    ("genes", "message"),
    [
        (["201_at", "202_at"], "named by Affymetrix probe"),
        (["ENSG00000141510", "ENSG00000092010"], "named by Ensembl id"),
        (["7157", "5720"], "named by Entrez number"),
        (["Tp53", "Psme1"], "another species"),
    ],
)
def test_other_identifiers_are_recognised_where_genes_are_missing(genes, message):
    with pytest.raises(ValueError, match=message):
        align_genes(make_profiles(np.ones((2, 2)), genes), ["TP53", "PSME1"])


def test_platforms_are_paired_by_sample():
    a, b = simulated(6, seed=1), simulated(6, seed=2)
    a = a._replace(samples=("s0", "s1", "s2", "s3", "s4", "x"))
    b = take_samples(b._replace(samples=("s4", "y", "s2", "s1", "z", "s9")), [5, 4, 3, 2, 1, 0])
    own, other = pair_samples(a, b)
    assert own.samples == other.samples == ("s1", "s2", "s4")
    np.testing.assert_array_equal(own.x, a.x[[1, 2, 4]])
    np.testing.assert_array_equal(other.x, b.x[[2, 3, 5]])
    with pytest.raises(ValueError, match="found 0: they look like"):
        pair_samples(a, b._replace(samples=("1", "2", "3", "4", "5", "6")))
    assert present(["G3", "Q", "G1"], a, b) == ("G3", "G1")


# --- units ----------------------------------------------------------------------------------------


def test_units_are_told_apart():
    rng = np.random.default_rng(0)
    counts = rng.negative_binomial(1, 0.01, (20, 200)).astype(float)
    linear = counts / 3.7
    log2 = np.log2(1 + linear)
    z = rng.normal(size=(20, 200))
    kinds = [describe_units(x).kind for x in (counts, linear, log2, z)]
    assert kinds == ["counts", "linear", "log", "differences"]
    sets = [counts, linear, log2, z, np.log10(1 + linear), log2 / 20]
    for i, found in enumerate(sets):
        for j, expected in enumerate(sets):
            units = describe_units(found), describe_units(expected)
            if i == j:
                check_units(*units)
                continue
            with pytest.raises(ValueError, match="do not match the training data"):
                check_units(*units)
    check_units(describe_units(log2 * 1.3 + 0.5), describe_units(log2))
    with pytest.raises(ValueError, match="median is"):
        check_units(describe_units(log2 + 15), describe_units(log2))


def test_units_of_real_cohorts(real_data):
    def units(name):
        return describe_units(read_profiles(real_data / "l1000" / f"{name}.npz").x)

    gtex = units("gtex_520x467")
    check_units(units("hpa_tissues_200x467"), gtex)
    for name in ("tcga_lung_475x919", "lcl_rnaseq_counts_129x8124", "l1000_kd_LITMUS_374x976"):
        with pytest.raises(ValueError, match="do not match"):
            check_units(units(name), gtex)


def log2_of(counts, total):
    return np.log2(1 + total * counts / counts.sum(1, keepdims=True)).astype(np.float32)


def test_logarithms_of_other_totals_are_told_apart():
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.lognormal(4, 1, (20, 30)))
    cpm, other = (describe_units(log2_of(counts, total)) for total in (1e6, 2.5e5))
    assert cpm.base == other.base == "2"
    with pytest.raises(ValueError, match=r"totals are 2.5e\+05, those of training 1e\+06"):
        check_units(other, cpm)
    check_units(describe_units(log2_of(counts, 2e6)), cpm)


def test_another_scale_is_told_by_the_means_of_a_panel():
    """Few genes have no total that tells, so that predictions were wrong without a word."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.lognormal(4, 1, 60), (40, 60))
    x = log2_of(counts, 1e6)
    means = x[:20, :25].mean(0)
    assert unlike_means(x[20:, :25], means, "2", "new") == []
    assert unlike_means(x[20:, :25] + 0.5, means, "2", "new") == []
    for form, said in (
        (x * np.log(2), "multiplied by 1.44"),
        (log2_of(counts, 1e4), "totals 100 times as large"),
    ):
        (note,) = unlike_means(form[20:, :25].astype(np.float32), means, "2", "new")
        assert "new: the inputs are" in note and said in note
    known = unlike_means(x[20:, :25] * np.log(2), means, "2", "new", told=True)
    assert not known or "multiplied" not in known[0]


def of_tissues(tissues, seed, per=6, genes=30):
    """Logarithms of ten tissues that are unlike each other."""
    means = np.random.default_rng(0).gamma(2, 2, (10, genes))
    rng = np.random.default_rng(seed)
    return np.repeat(means[tissues], per, 0) + 0.3 * rng.normal(size=(per * len(tissues), genes))


@pytest.mark.parametrize("samples", [1, 6])
def test_another_scale_is_told_by_samples_of_the_same_tissue_only(samples):
    seen, same = of_tissues(range(8), 1), of_tissues([3], 2)[:samples]
    other = of_tissues([9], 2)[:samples]
    for x in (same, other, other * np.log(2), same + 0.5, same * 1.1):
        assert unlike_samples(x, seen, "2", "new") == []
    for factor, said in ((np.log(2), "1.44"), (1 / np.log(2), "0.693"), (np.log10(2), "3.32")):
        (note,) = unlike_samples(same * factor, seen, "unknown", "new")
        assert note.startswith("new: 100% of the samples are unlike those of the training")
        assert f"if multiplied by {said}" in note and "--log-base" in note
        assert unlike_samples(same * factor, seen, "2", "new", told=True) == []
    assert unlike_samples(same[:, :19] * np.log(2), seen[:, :19], "2", "new") == []


def test_real_tissues_are_on_their_scale(real_data):
    """Natural logarithms of a tissue that training had are told; nothing is said of true ones."""
    gtex, hpa = (
        read_profiles(real_data / "l1000" / f"{name}.npz")
        for name in ("gtex_520x467", "hpa_tissues_200x467")
    )
    inputs = np.random.default_rng(0).choice(467, 100, replace=False)
    x, tissue, told = gtex.x[:, inputs], gtex.labels["tissue"], 0
    kinds = np.unique(tissue)
    for kind in kinds:
        own = np.flatnonzero(tissue == kind)
        assert unlike_samples(x[own], x[tissue != kind], "2", "unseen") == []
        rest = np.delete(np.arange(len(x)), own[:4])
        assert unlike_samples(x[own[:4]], x[rest], "2", "seen") == []
        told += bool(unlike_samples(np.log(2) * x[own[:4]], x[rest], "2", "seen"))
    assert told > len(kinds) / 2
    for kind in np.unique(hpa.labels["tissue"]):
        own = hpa.x[hpa.labels["tissue"] == kind][:, inputs]
        assert unlike_samples(own, x, "2", "another laboratory") == []


def test_values_rounded_before_the_logarithm_tell_its_base(real_data):
    rng = np.random.default_rng(0)
    tpm = rng.gamma(0.5, 20, (3, 30))
    for step in (0.1, 0.01):
        for name, base in {"e": np.e, "2": 2, "10": 10}.items():
            x = (np.log1p(np.round(tpm / step) * step) / np.log(base)).astype(np.float32)
            assert rounded_base(x) == name
            assert describe_units(x[:, :10], x).base == name
            assert rounded_base(x[:1, :8]) == "unknown"
            assert rounded_base(np.round(np.log1p(tpm) / np.log(base), 2)) == "unknown"
    assert rounded_base(np.log2(1 + tpm).astype(np.float32)) == "unknown"
    found = {
        name: describe_units(read_profiles(real_data / "l1000" / f"{name}.npz").x).base
        for name in ("hpa_tissues_200x467", "gtex_520x467", "ccle_500x1000", "tcga_breast_887x260")
    }
    assert set(found.values()) == {"2", "unknown"} and found["hpa_tissues_200x467"] == "2"


def test_stated_bases_are_compared():
    tpm = np.random.default_rng(0).gamma(0.5, 20, (6, 30))
    x = np.log1p(tpm).astype(np.float32)
    natural, base2 = (describe_units(x, base=base) for base in ("e", "2"))
    assert (natural.base, base2.base, describe_units(x).base) == ("e", "2", "unknown")
    check_units(natural, natural)
    check_units(natural, describe_units(x))
    with pytest.raises(ValueError, match=r"to base e, the training data to 2, .* by 1\.443"):
        check_units(natural, base2)


def test_inputs_of_one_value_are_told():
    x = np.random.default_rng(0).normal(5, 1, (4, 6))
    x[:, 1], x[:, 2], x[:, 3] = 0, 4.5, [0, 0, 0, 0.1]
    genes = np.array([f"G{i}" for i in range(6)])
    (note,) = constant_inputs(x, genes, np.full(6, 5.0), np.ones(6), "new")
    assert (
        "new: 1 of 6 inputs have one value in all 4 samples" in note and "means: G1 0. Were" in note
    )
    assert constant_inputs(x[:2], genes, np.full(6, 5.0), np.ones(6), "new") == []


def test_what_a_split_leaves_is_told():
    few = simulated(samples=9)
    with pytest.raises(ValueError, match="simulated: expected at least 3 samples for the test"):
        make_problem(few, config=Config(method="ridge", inputs=("G0", "G1")))
    tissue = ["a", "b", "c", ""] * 10
    how = Config(method="ridge", inputs=("G0", "G1"), split="grouped:tissue")
    notes = make_problem(simulated(tissue=tissue), config=how).notes
    assert "10 samples have no tissue, and count as one tissue of their own." in notes


def test_versions_of_ensembl_ids_are_told():
    genes = [f"ENSG{i:011d}" for i in range(3)]
    x = make_profiles(np.ones((2, 3)), [f"{gene}.{i}" for i, gene in enumerate(genes)])
    with pytest.raises(ValueError, match="More match without the version of Ensembl ids"):
        align_genes(x, genes)


def test_genes_on_the_other_side_are_told():
    x = make_profiles(np.ones((3, 2)), ["s1", "s2"], ["G0", "G1", "G2"])
    with pytest.raises(ValueError, match="among its samples: its genes lie on the other side"):
        align_genes(x, ("G0", "G1"))


def test_log_counts_by_hand():
    data = make_profiles(np.array([[1, 3], [0, 2]]), ["A", "B"], unit="counts")
    expected = np.log2(1 + np.array([[25e4, 75e4], [0, 1e6]]))
    np.testing.assert_allclose(log_counts(data).x, expected, rtol=1e-6)
    assert log_counts(data).unit == "log2 CPM"
    for x, message in (([[0.5, 1.5]], "looks like logarithms"), ([[0, 0]], "has no counts")):
        with pytest.raises(ValueError, match=message):
            log_counts(make_profiles(np.array(x), ["A", "B"]))


# --- splits ---------------------------------------------------------------------------------------


@quick
@given(st.integers(20, 200), st.floats(0.05, 0.4), st.floats(0.05, 0.4), st.integers(0, 9))
def test_random_splits_are_partitions(n, valid, test, seed):
    split = random_split(n, valid=valid, test=test, seed=seed)
    np.testing.assert_array_equal(np.sort(np.concatenate(split[:3])), np.arange(n))
    assert abs(len(split.test) - n * test) < 1.0 + 1e-9
    assert abs(len(split.valid) - n * valid) < 2
    again = random_split(n, valid=valid, test=test, seed=seed)
    np.testing.assert_array_equal(split.test, again.test)


@quick
@given(st.lists(st.integers(1, 30), min_size=2, max_size=8), st.integers(0, 9))
def test_strata_have_their_share(sizes, seed):
    labels = np.repeat([f"t{i}" for i in range(len(sizes))], sizes)
    labels = np.concatenate([labels, np.repeat("filler", 20)])
    split = stratified_split(labels, valid=0.15, test=0.2, seed=seed)
    np.testing.assert_array_equal(np.sort(np.concatenate(split[:3])), np.arange(len(labels)))
    for label in np.unique(labels):
        own = (labels == label).sum()
        assert abs((labels[split.test] == label).sum() - 0.2 * own) < 1 + 1e-9
        assert abs((labels[split.valid] == label).sum() - 0.15 * own) < 2


@quick
@given(st.lists(st.integers(1, 9), min_size=3, max_size=12), st.integers(0, 9))
def test_no_group_is_on_two_sides(sizes, seed):
    groups = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    splits = [grouped_split(groups, seed=seed), *group_folds(groups, len(sizes), seed=seed)]
    for split in splits:
        parts = [set(groups[part].tolist()) for part in split[:3]]
        assert all(parts) and sum(map(len, parts)) == len(sizes)
        np.testing.assert_array_equal(np.sort(np.concatenate(split[:3])), np.arange(len(groups)))
    tested = np.concatenate([split.test for split in splits[1:]])
    np.testing.assert_array_equal(np.sort(tested), np.arange(len(groups)))


def test_the_order_of_the_file_is_that_of_the_paper():
    split = ordered_split(3176)
    assert (split.train[-1], split.valid[0], split.valid[-1]) == (2499, 2500, 2999)
    np.testing.assert_array_equal(split.test, np.arange(3000, 3176))


def test_splits_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match=r"found 0\.6 and 0\.5"):
        random_split(30, valid=0.6, test=0.5)
    with pytest.raises(ValueError, match="in the test part"):
        ordered_split(3000)
    with pytest.raises(ValueError, match="in the validation part"):
        random_split(3, valid=0.01)
    with pytest.raises(ValueError, match="at least three donor"):
        grouped_split(np.array(["a", "b", "a"]), name="donor")
    with pytest.raises(ValueError, match="from 2 to 4 folds"):
        group_folds(np.arange(4), 5)
    parts = np.arange(3), np.arange(3, 5), np.arange(5, 7)
    check_split(Split(*parts), 7)
    with pytest.raises(ValueError, match="made for other data"):
        check_split(Split(*parts), 6)
    with pytest.raises(ValueError, match="found some in two"):
        check_split(Split(parts[0], parts[1], np.arange(4, 7)), 7)


# --- scaling --------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["max", "standard", "none"])
def test_scaling_is_undone(how):
    x = simulated().x
    x[:, 3] = 2.5
    scaling = fit_scaling(x, how)
    scaled = scale(x, scaling)
    assert np.isfinite(scaled).all()
    back = unscale(Prediction(scaled, np.ones_like(x)), scaling)
    np.testing.assert_allclose(back.mean, x, rtol=1e-5)
    np.testing.assert_allclose(back.sd, np.tile(scaling.scale, (len(x), 1)))
    if how == "max":
        assert scaled.max() == 1 and scaling.scale[0] == x.max()
    if how == "standard":
        varies = np.arange(12) != 3
        np.testing.assert_allclose(scaled.std(0)[varies], 1, rtol=1e-4)
        assert scaling.scale[3] == 1


def test_scaling_refuses_what_it_cannot_scale():
    with pytest.raises(ValueError, match="above 0 to scale by the largest, found at most -1"):
        fit_scaling(np.full((2, 2), -1, np.float32), "max")
    with pytest.raises(ValueError, match="found 'median'"):
        fit_scaling(np.ones((2, 2), np.float32), "median")


# --- tasks ----------------------------------------------------------------------------------------


def test_a_task_holds_what_was_asked_for():
    data = simulated(tissue=np.arange(40) % 4)
    split = random_split(40)
    problem = make_task(data, ["G5", "G2"], split, covariates=("tissue",), scaling="none")
    task = problem.task
    assert task.targets == data.genes and task.at_input.tolist() == [5, 2]
    np.testing.assert_array_equal(task.x_train, data.x[split.train][:, [5, 2]])
    np.testing.assert_array_equal(task.y_valid, data.x[split.valid])
    np.testing.assert_array_equal(problem.y_test, data.x[split.test])
    assert problem.samples == tuple(data.samples[i] for i in split.test)
    assert problem.levels == tuple(f"tissue={i}" for i in range(4))
    codes = task.covariate_test.argmax(1)
    np.testing.assert_array_equal(codes, data.labels["tissue"][split.test])
    rest = make_task(data, ["G5", "G2"], split, targets="rest").task
    assert "G5" not in rest.targets and len(rest.targets) == 10
    assert rest.at_input.tolist() == [-1, -1] and rest.covariate_train.shape == (
        len(split.train),
        0,
    )
    some = make_task(data, ["G5", "G2"], split, targets=("G7", "G2")).task
    assert some.targets == ("G7", "G2") and some.at_input.tolist() == [-1, 1]


@pytest.mark.parametrize("scaling", ["max", "standard"])
def test_inputs_that_are_targets_have_one_value(scaling):
    data = simulated()
    task = make_task(data, ["G5", "G2"], random_split(40), scaling=scaling).task
    np.testing.assert_array_equal(task.x_train, task.y_train[:, task.at_input])


@pytest.mark.parametrize("scaling", ["max", "standard"])
def test_nothing_is_fitted_to_the_test_samples(scaling):
    data, split = simulated(), random_split(40)
    changed = data._replace(x=data.x.copy())
    changed.x[split.test] = 3 * changed.x[split.test] + 1
    one, two = (make_task(each, ["G5", "G2"], split, scaling=scaling) for each in (data, changed))
    for field in ("x_train", "y_train", "x_valid", "y_valid"):
        np.testing.assert_array_equal(getattr(one.task, field), getattr(two.task, field))
    assert one.largest == two.largest
    train = data.x[split.train][:, [5, 2]]
    if scaling == "standard":
        np.testing.assert_allclose(one.x_scaling.location, train.mean(0), rtol=1e-5)


def test_truth_and_prediction_are_compared_on_the_scale_of_the_paper():
    data, split = simulated(), random_split(40)
    top = data.x[split.train].max()
    for scaling in ("max", "standard", "none"):
        problem = make_task(data, ["G5", "G2"], split, scaling=scaling)
        truth, same = comparable(problem, Prediction(problem.y_test))
        np.testing.assert_allclose(truth, data.x[split.test] / top, rtol=1e-4)
        np.testing.assert_array_equal(truth, same)


def test_two_platforms():
    a, b = simulated(name="array"), simulated(seed=3, genes=5, name="sequencing")
    task = make_task((a, b), ["G11", "G0"], random_split(40), scaling="none").task
    assert task.targets == b.genes and task.at_input.tolist() == [-1, 0]
    np.testing.assert_array_equal(task.x_train, a.x[random_split(40).train][:, [11, 0]])
    np.testing.assert_array_equal(task.y_train, b.x[random_split(40).train])
    with pytest.raises(ValueError, match="bring them together with pair_samples"):
        make_task((a, take_samples(b, np.arange(40)[::-1])), ["G0"], random_split(40))


def test_an_independent_cohort():
    data = simulated(tissue=np.arange(40) % 2)
    other = simulated(25, 10, seed=0, name="other", tissue=["0"] * 20 + ["9"] * 5)
    split = random_split(40, test=0.0)
    with pytest.raises(ValueError, match="other: 1 of 2 genes are missing: G11"):
        make_task(data, ["G11", "G2"], split, cohort=other)
    problem = make_task(
        data, ["G11", "G2"], split, cohort=other, missing="impute", covariates="tissue"
    )
    assert problem.imputed == ("G11",) and problem.samples == other.samples
    assert len(problem.task.targets) == 10
    np.testing.assert_allclose(problem.task.x_test[:, 0], 0, atol=1e-5)
    np.testing.assert_allclose(
        problem.task.x_test[:, 1],
        (other.x[:, 2] - problem.x_scaling.location[1]) / problem.x_scaling.scale[1],
        rtol=1e-5,
    )
    assert problem.task.covariate_test.sum() == 20
    said = " ".join(problem.notes)
    assert "1 inputs at their training means: G11" in said
    assert "2 target genes that the cohort lacks" in said and "scaled as the training part" in said
    linear = other._replace(x=2**other.x)
    with pytest.raises(ValueError, match="units of the inputs of other do not match"):
        make_task(data, ["G2"], split, cohort=linear)
    with pytest.raises(ValueError, match="units of the truth of other do not match"):
        make_task((data, data), ["G2"], split, cohort=(other, linear))


def test_tasks_refuse_what_does_not_fit():
    data, split = simulated(), random_split(40)
    for arguments, message in (
        ({"inputs": ["G1", "Q"]}, "1 of 2 genes are missing: Q"),
        ({"inputs": []}, "at least one input"),
        ({"inputs": ["G1", "G1"]}, "occur more than once"),
        ({"inputs": ["G1"], "targets": "some"}, "found 'some'"),
        ({"inputs": ["G1"], "targets": ()}, "at least one target"),
        ({"inputs": list(data.genes), "targets": "rest"}, "found none besides the inputs"),
        ({"inputs": ["G1"], "covariates": ("organ",)}, "a label 'organ'"),
    ):
        with pytest.raises(ValueError, match=message):
            make_task(data, split=split, **arguments)
    with pytest.raises(ValueError, match="made for other data"):
        make_task(data, ["G1"], random_split(50))


def test_cross_platform_cell_lines(real_data):
    folder = real_data / "l1000"
    pair = pair_samples(
        read_profiles(folder / "lincs_celllines_affx.npz"),
        read_profiles(folder / "lincs_celllines_rnaseq.npz"),
    )
    assert len(pair[0].samples) == 54
    inputs = present(read_landmarks(folder / "geneinfo_beta.tsv.gz"), pair[0])
    assert len(inputs) == 943
    splits = group_folds(np.array(pair[0].samples), 9, name="cell lines")
    problem = make_task(pair, inputs, splits[0])
    assert problem.task.y_train.shape[1] == 11453 and problem.y_test.shape == (6, 11453)


def test_gtex_to_another_laboratory(real_data):
    gtex, hpa = (
        read_profiles(real_data / "l1000" / f"{name}.npz")
        for name in ("gtex_520x467", "hpa_tissues_200x467")
    )
    split = stratified_split(gtex.labels["tissue"], test=0.0, name="tissue")
    problem = make_task(gtex, gtex.genes[:100], split, cohort=hpa, covariates=("tissue",))
    assert problem.task.x_test.shape == (200, 100) and len(problem.levels) == 26
