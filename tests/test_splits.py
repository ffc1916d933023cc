import inspect

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from infosem_jax.data import dataset, read_expression, read_network
from infosem_jax.grn.splits import KINDS, Universe, candidates, read_split, split, training_labels

DRAWN = tuple(kind for kind in KINDS if kind != "all")


def universe(seed=0, regulators=12, genes=40, density=0.3):
    """Return candidates whose regulators and genes lie in no order."""
    rng = np.random.default_rng(seed)
    names = np.array([f"G{i:03d}" for i in rng.permutation(genes)])
    rows = rng.permutation(names)[:regulators]
    candidate = rows[:, None] != names
    truth = candidate & (rng.uniform(size=candidate.shape) < density)
    return Universe(tuple(rows.tolist()), tuple(names.tolist()), candidate, truth)


def parts(drawn):
    return {"train": drawn.train, "validation": drawn.validation, "test": drawn.test}


def pairs(of, mask):
    row, column = np.nonzero(mask)
    return {(of.regulators[i], of.genes[j]) for i, j in zip(row, column, strict=True)}


def names(of, mask):
    """Return the regulators and the targets of a part."""
    listed = pairs(of, mask)
    return {a for a, _ in listed}, {b for _, b in listed}


problems = st.builds(
    universe,
    seed=st.integers(0, 10**6),
    regulators=st.integers(5, 15),
    genes=st.integers(15, 40),
    density=st.floats(0.2, 0.7),
)
shares = st.sampled_from([(0.3, 0.1), (0.3, 0.0), (0.2, 0.2), (0.5, 0.1)])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(problems, st.sampled_from(DRAWN), st.integers(0, 1000), shares)
def test_parts_are_disjoint_candidates_and_no_reverse_crosses_them(of, kind, seed, shares):
    try:
        drawn = split(of, kind, seed, held_out=shares[0], validation=shares[1])
    except ValueError as error:
        assert "too few" in str(error) or "gave every part" in str(error)
        assume(False)
    assert (drawn.name, drawn.seed) == (kind, seed)
    total = sum(mask.astype(int) for mask in parts(drawn).values())
    assert total.max() == 1 and not total[~of.candidate].any()
    listed = {name: pairs(of, mask) for name, mask in parts(drawn).items()}
    for name, mask in parts(drawn).items():
        others = set().union(*(listed[other] for other in listed if other != name))
        assert not {(b, a) for a, b in listed[name]} & others
        known = of.truth[mask]
        assert (0 < known.sum() < len(known)) or (name == "validation" and shares[1] == 0)
    assert drawn.validation.any() == (shares[1] > 0)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(problems, st.sampled_from(DRAWN), st.integers(0, 1000))
def test_held_out_genes_stay_out_of_training(of, kind, seed):
    try:
        drawn = split(of, kind, seed)
    except ValueError:
        assume(False)
    regulators, targets = names(of, drawn.train)
    for part in (drawn.validation, drawn.test):
        own_regulators, own_targets = names(of, part)
        if kind in ("seen", "unseen_target"):
            assert own_regulators <= regulators
        if kind in ("seen", "unseen_regulator", "unseen_as_regulator"):
            assert own_targets <= targets
        if kind == "unseen_as_regulator":
            assert not own_regulators & regulators
        if kind == "unseen_target":
            assert not own_targets & targets
        if kind == "unseen_regulator":
            assert not own_regulators & (regulators | targets)
        if kind == "unseen_both":
            assert not (own_regulators | own_targets) & (regulators | targets)
    if kind != "seen":  # validation is as unseen to test
        (a, b), (c, d) = names(of, drawn.validation), names(of, drawn.test)
        assert kind == "unseen_target" or not a & c
        assert kind in ("unseen_regulator", "unseen_as_regulator") or not b & d


@settings(max_examples=40, deadline=None, derandomize=True)
@given(problems, st.sampled_from(KINDS), st.integers(0, 1000), st.randoms(use_true_random=False))
def test_parts_do_not_depend_on_the_order_of_names(of, kind, seed, random):
    rows, columns = list(range(len(of.regulators))), list(range(len(of.genes)))
    random.shuffle(rows)
    random.shuffle(columns)
    place = np.ix_(rows, columns)
    other = Universe(
        tuple(of.regulators[i] for i in rows),
        tuple(of.genes[j] for j in columns),
        of.candidate[place],
        of.truth[place],
    )
    try:
        drawn = split(of, kind, seed)
    except ValueError:
        assume(False)
    for mask, moved in zip(drawn[:3], split(other, kind, seed)[:3], strict=True):
        np.testing.assert_array_equal(mask[place], moved)


@pytest.mark.parametrize("kind", DRAWN)
def test_seeds_repeat_and_differ_and_labels_decide_nothing(kind):
    of = universe(regulators=20, genes=100)
    a, b = split(of, kind, 3), split(of, kind, 3)
    assert all((x == y).all() for x, y in zip(a[:3], b[:3], strict=True))
    assert (a.test != split(of, kind, 4).test).any()
    rng = np.random.default_rng(1)
    relabelled = of.candidate & (rng.uniform(size=of.truth.shape) < 0.5)
    c = split(of._replace(truth=relabelled), kind, 3)
    assert all((x == y).all() for x, y in zip(a[:3], c[:3], strict=True))


def test_sizes_are_the_shares_asked_for():
    of = universe(regulators=20, genes=100)
    n = of.candidate.sum()
    everything = split(of, "all")
    assert (everything.test == of.candidate).all()
    assert not everything.train.any() and not everything.validation.any()
    seen = split(of, "seen")
    total = sum(mask.sum() for mask in seen[:3])
    assert total == n  # no pair is lost
    # A group is a pair with its reverse, so each cut may fall one pair late.
    assert abs(seen.test.sum() - 0.3 * n) <= 1 and abs(seen.validation.sum() - 0.1 * n) <= 2
    target = split(of, "unseen_target")
    assert [len(names(of, mask)[1]) for mask in target[:3]] == [60, 10, 30]
    regulator = split(of, "unseen_regulator")
    assert [len(names(of, mask)[0]) for mask in regulator[:3]] == [12, 2, 6]
    role = split(of, "unseen_as_regulator")
    assert [len(names(of, mask)[0]) for mask in role[:3]] == [12, 2, 6]
    assert names(of, role.test)[0] <= names(of, role.train)[1]
    both = split(of, "unseen_both")
    genes = [len(set.union(*names(of, mask))) for mask in both[:3]]
    assert [len(names(of, mask)[0]) for mask in both[:3]] == [12, 2, 6] and genes == [60, 10, 30]
    assert both.test.sum() == 6 * 30 - 6 and both.train.sum() == 12 * 60 - 12


def test_without_a_direction_no_test_label_is_known_from_its_reverse():
    rng = np.random.default_rng(0)
    genes = tuple(f"G{i}" for i in range(30))
    either = np.triu(rng.uniform(size=(30, 30)) < 0.2, 1)
    of = Universe(genes, genes, ~np.eye(30, dtype=bool), either | either.T)
    for kind in DRAWN:
        drawn = split(of, kind)
        labels = training_labels(of, drawn)
        assert np.isnan(labels.T[drawn.test]).all()
        assert (
            np.isnan(labels[drawn.test]).all()
            and (labels[drawn.train] == of.truth[drawn.train]).all()
        )


def test_settings_that_leave_nothing_are_refused_before_drawing():
    of, plain = universe(), inspect.unwrap(split)
    with pytest.raises(ValueError, match="did you mean 'unseen_target'"):
        plain(of, "unseen_targets")
    with pytest.raises(ValueError, match="choose from all, seen"):
        plain(of, "x")
    for held_out, validation in ((0.0, 0.1), (1.0, 0.0), (0.6, 0.4), (0.3, -0.1)):
        with pytest.raises(ValueError, match="leave some for training"):
            split(of, "seen", held_out=held_out, validation=validation)
    few = universe(regulators=2)
    for kind in ("unseen_regulator", "unseen_both"):
        with pytest.raises(ValueError, match=r"2 regulators, too few .* at least 3"):
            split(few, kind)
    assert split(few, "unseen_regulator", validation=0.0).test.any()
    with pytest.raises(ValueError, match="2 targets, too few"):
        split(universe(regulators=2, genes=2), "unseen_target")
    with pytest.raises(ValueError, match=r"38 have to be in training .* too few"):
        split(universe(regulators=1, genes=39), "seen")
    sparse = universe(density=0.0)
    sparse.truth[0, :2] = sparse.candidate[0, :2]
    with pytest.raises(ValueError, match=r"known edges: .* in test.* set validation=0"):
        split(sparse, "unseen_regulator")


def small_data():
    x = np.random.default_rng(0).uniform(1, 2, (20, 6))
    return dataset(x, ["A", "B", "C", "D", "E", "F"], name="small")


def edges(*rows):
    return pd.DataFrame([tuple(row) for row in rows], columns=["source", "target"])


def test_candidates_are_regulators_with_edges_and_expressed_genes_of_the_network():
    known = edges("BA", "BD", "AC", "Bx", "xA", "DD", "xy")
    of = candidates(small_data(), known)
    assert (of.regulators, of.genes, of.name) == (("A", "B"), ("A", "B", "C", "D"), "small")
    assert pairs(of, of.truth) == {("B", "A"), ("B", "D"), ("A", "C")}
    assert of.candidate.sum() == 2 * 4 - 2
    wide = candidates(small_data(), known, targets="expressed")
    assert wide.genes == tuple("ABCDEF") and pairs(wide, wide.truth) == pairs(of, of.truth)
    labelled = candidates(small_data(), known.assign(label=[1, 0, 1, 1, 1, 1, 1]))
    assert pairs(labelled, labelled.truth) == {("B", "A"), ("A", "C")}
    assert labelled.genes == of.genes


def test_networks_without_candidates_are_refused():
    data = small_data()
    with pytest.raises(ValueError, match="lacks target"):
        candidates(data, edges("AB")[["source"]])
    with pytest.raises(ValueError, match="match when case is ignored"):
        candidates(data, edges("ab"))
    for nothing in (edges("Ax"), edges("AA"), edges("AB").assign(label=0)):
        with pytest.raises(ValueError, match="no known edge is between"):
            candidates(data, nothing)
    with pytest.raises(ValueError, match="all 1 candidates are known edges"):
        candidates(data, edges("AB"))
    with pytest.raises(ValueError, match="'network' or 'expressed'"):
        inspect.unwrap(candidates)(data, edges("AB"), targets="genes")


def published(path, text):
    path.write_text("TF,Target,Label,split\n" + text)
    return path


def test_published_splits_have_to_fit_the_candidates(tmp_path):
    of = candidates(small_data(), edges("BA", "BD", "AC"))
    rows = "B,A,1,train\nB,C,0,val\nA,C,1,test\nA,D,0,test\n"
    drawn = read_split(published(tmp_path / "mine.csv", rows), of)
    assert (drawn.name, drawn.seed) == ("mine", 0)
    assert [pairs(of, mask) for mask in drawn[:3]] == [
        {("B", "A")},
        {("B", "C")},
        {("A", "C"), ("A", "D")},
    ]
    labels = training_labels(of, drawn)
    assert np.nansum(labels) == 1 and np.isnan(labels).sum() == 7
    for bad, message in (
        ("B,A,0,train\n", "1 labels are not those of the known network .*B to A"),
        ("B,F,0,train\nB,A,1,test\n", "1 of 2 pairs .*B to F.*targets='expressed'"),
        ("E,A,0,train\n", "1 of 1 pairs .*E to A"),
        ("B,A,1,trial\n", "found 'trial'"),
    ):
        with pytest.raises(ValueError, match=message):
            read_split(published(tmp_path / "bad.csv", bad), of)
    (tmp_path / "plain.csv").write_text("TF,Target\nB,A\n")
    with pytest.raises(ValueError, match="found no label, split"):
        read_split(tmp_path / "plain.csv", of)


@pytest.mark.parametrize(
    ("name", "method", "sizes"),
    [
        ("hESC", "genelink", (20677, 3087, 7142)),
        ("mESC", "genelink", (65895, 9839, 22738)),
        ("mESC", "scgreat", (65896, 9839, 22737)),
        ("hHEP", "scregnet", (19002, 0, 6563)),
    ],
)
def test_published_splits_hold_the_stated_pairs(real_data, name, method, sizes):
    folder = real_data / "beeline" / name / "TFs+500"
    network = read_network(folder / "network_specific.csv.gz")
    file = folder / f"split_specific_{method}.csv.gz"
    data = read_expression(folder)
    of = candidates(data, network, targets="expressed")
    drawn = read_split(file, of)
    assert tuple(int(mask.sum()) for mask in drawn[:3]) == sizes
    known = sum(int(of.truth[mask].sum()) for mask in drawn[:3])
    if method == "scregnet":  # publishes no validation part
        assert known / of.truth.sum() == pytest.approx(0.9, abs=0.001)
    else:
        assert known == of.truth.sum() and sum(sizes) == of.candidate.sum()
    narrow = candidates(data, network)
    with pytest.raises(ValueError, match="targets='expressed'"):
        read_split(file, narrow)


@pytest.mark.parametrize("network", ["specific", "string"])
def test_every_kind_splits_a_real_network(real_data, network):
    folder = real_data / "beeline" / "mDC" / "TFs+500"
    of = candidates(read_expression(folder), read_network(folder / f"network_{network}.csv.gz"))
    assert of.candidate.sum() == {"specific": 8940, "string": 128304}[network]
    base = of.truth.sum() / of.candidate.sum()
    for kind in KINDS:
        for seed in range(3):
            drawn = split(of, kind, seed)
            rate = of.truth[drawn.test].mean()
            assert drawn.test.sum() >= 0.05 * of.candidate.sum() and base / 4 < rate < 4 * base
    # STRING has no direction: every reverse of a known edge between regulators is an edge.
    known = pairs(of, of.truth)
    between = {(a, b) for a, b in known if b in of.regulators}
    both_ways = sum((b, a) in known for a, b in between) / len(between)
    assert both_ways == 1 if network == "string" else both_ways < 0.2
