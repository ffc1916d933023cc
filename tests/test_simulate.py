import hashlib
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold, cross_val_predict

from infosem_jax.data.io import read_network
from infosem_jax.data.simulate import MAX_FEEDBACK, SimulationConfig, simulate
from infosem_jax.data.units import describe_units

CONFIG = SimulationConfig()
CLEAN = replace(CONFIG, link="linear", shared=0.0, dropout=0.0, library_sd=0.0, cells=2000)
FEW_CELLS = replace(CONFIG, cells=10)
MANY_REGULATORS = replace(FEW_CELLS, genes=400, regulators=120, embedding_dimensions=16)


def rows(simulation):
    return [simulation.data.genes.index(name) for name in simulation.data.regulators]


def fingerprint(simulation):
    digest = hashlib.sha256()
    for part in (simulation.data.x, simulation.effect, simulation.embedding.vectors):
        digest.update(np.ascontiguousarray(part).tobytes())
    for table in (simulation.network, simulation.known):
        digest.update(table.to_csv(index=False).encode())
    return digest.hexdigest()


def target_probe(simulation):
    """Held-out correlation of effects with a linear read-out of the target's embedding."""
    true = simulation.effect[rows(simulation)].T
    folds = KFold(5, shuffle=True, random_state=0)
    read = cross_val_predict(Ridge(10.0), simulation.embedding.vectors, true, cv=folds)
    return np.corrcoef(read.ravel(), true.ravel())[0, 1]


def pair_probe(simulation, order=None):
    """Correlation for unseen regulators and targets of effects with a bilinear read-out."""
    vectors = simulation.embedding.vectors.astype(float)
    vectors = vectors if order is None else vectors[order]
    true = np.sign(simulation.effect[rows(simulation)])
    half, targets = len(true) // 2, np.arange(len(vectors)) % 2 == 0
    on_rows = vectors[rows(simulation)]

    def solve(h, y):
        return np.linalg.solve(h.T @ h + 10 * np.eye(h.shape[1]), h.T @ y)

    form = solve(on_rows[:half], solve(vectors[targets], true[:half, targets].T).T)
    read = on_rows[half:] @ form @ vectors[~targets].T
    return np.corrcoef(read.ravel(), true[half:, ~targets].ravel())[0, 1]


def test_names_and_shapes_agree():
    s = simulate(CONFIG, 0)
    assert s.data.x.shape == (CONFIG.cells, CONFIG.genes)
    assert s.effect.shape == (CONFIG.genes, CONFIG.genes)
    assert s.embedding.names == s.data.genes
    assert s.embedding.vectors.shape == (CONFIG.genes, CONFIG.embedding_dimensions)
    assert len(s.data.regulators) == CONFIG.regulators
    assert rows(s) != list(range(CONFIG.regulators))


def test_rows_are_regulators_and_no_gene_acts_on_itself():
    s = simulate(CONFIG, 1)
    acting = np.zeros(CONFIG.genes, bool)
    acting[rows(s)] = True
    assert not s.effect[~acting].any()
    assert not np.diag(s.effect).any()
    assert (s.effect != 0).any(0).all()


def test_edge_table_is_the_effect_matrix():
    s = simulate(CONFIG, 2)
    where = {gene: i for i, gene in enumerate(s.data.genes)}
    rebuilt = np.zeros_like(s.effect)
    rebuilt[s.network["source"].map(where), s.network["target"].map(where)] = s.network["weight"]
    np.testing.assert_array_equal(rebuilt, s.effect)
    assert (np.sign(s.network["weight"]) == s.network["sign"]).all()


def test_tables_can_be_written_and_read_back(tmp_path):
    s = simulate(CONFIG, 3)
    for table, columns in (
        (s.network, ["source", "target", "weight", "sign"]),
        (s.known, ["source", "target", "label"]),
    ):
        table.to_csv(tmp_path / "table.csv", index=False)
        found = read_network(tmp_path / "table.csv")
        pd.testing.assert_frame_equal(
            found[columns], table[columns], check_dtype=False, check_exact=False
        )


@pytest.mark.parametrize("in_degree", [1.0, 2.5, 6.0])
def test_sparsity_is_as_asked(in_degree):
    config = replace(CONFIG, genes=1000, cells=10, mean_in_degree=in_degree)
    found = len(simulate(config, 0).network) / config.genes
    assert found == pytest.approx(in_degree, abs=4 * np.sqrt(in_degree / config.genes))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_share_of_activation_is_as_asked(share):
    network = simulate(replace(CONFIG, activating=share), 0).network
    assert (network["sign"] > 0).mean() == pytest.approx(share, abs=0.08)


def test_out_degree_is_heavy_tailed():
    def share_of_top_tenth(exponent):
        config = SimulationConfig(
            genes=1000, regulators=100, cells=10, out_degree_exponent=exponent, known_fraction=0
        )
        shares = []
        for seed in range(5):
            degree = simulate(config, seed).network.groupby("source").size().sort_values()
            shares.append(degree.iloc[-10:].sum() / degree.sum())
        return np.mean(shares)

    heavy, usual, even = map(share_of_top_tenth, (1.0, 1.5, 100))
    assert even < 0.16 < 0.25 < usual < heavy


def test_feedback_is_bounded():
    s = simulate(replace(MANY_REGULATORS, effect_scale=3, mean_in_degree=10), 0)
    block = np.abs(s.effect[np.ix_(rows(s), rows(s))])
    assert np.abs(np.linalg.eigvals(block)).max() <= MAX_FEEDBACK + 1e-9
    assert block.any()


@pytest.mark.parametrize("seed", [0, 1])
def test_regression_finds_the_edges_and_their_signs(seed):
    s = simulate(CLEAN, seed)
    x = (s.data.x - s.data.x.mean(0)) / s.data.x.std(0)
    acting, targets = rows(s), np.setdiff1d(np.arange(CONFIG.genes), rows(s))
    slope, *_ = np.linalg.lstsq(x[:, acting], x[:, targets], rcond=None)
    true = s.effect[np.ix_(acting, targets)]
    assert roc_auc_score((true != 0).ravel(), np.abs(slope).ravel()) > 0.9
    strong = np.abs(true) > np.quantile(np.abs(true[true != 0]), 0.25)
    assert (np.sign(slope) == np.sign(true))[strong].mean() > 0.97


def test_linear_activity_solves_the_structural_equation():
    # With every gene's expression linear in its activity, residuals of the true regression are
    # uncorrelated with the regulators outside the true parents.
    s = simulate(replace(CLEAN, log_mean=8.0, cells=4000), 3)
    x = (s.data.x - s.data.x.mean(0)) / s.data.x.std(0)
    acting = np.asarray(rows(s))
    largest = []
    for target in np.setdiff1d(np.arange(CONFIG.genes), acting)[:40]:
        parents = s.effect[acting, target] != 0
        inside, outside = x[:, acting[parents]], x[:, acting[~parents]]
        residual = x[:, target] - inside @ np.linalg.lstsq(inside, x[:, target], rcond=None)[0]
        largest.append(np.abs(outside.T @ residual / len(x) / residual.std()).max())
    assert np.median(largest) < 4 / np.sqrt(len(x))


def test_hidden_states_raise_correlation_between_genes():
    def typical(shared):
        config = replace(CONFIG, shared=shared, dropout=0.0, library_sd=0.0)
        return np.median(np.abs(np.corrcoef(simulate(config, 0).data.x.T)))

    assert typical(0.6) > 2 * typical(0.0)


def test_variance_does_not_give_direction_away():
    config = replace(CLEAN, cells=300, log_mean=8.0)
    correlations = []
    for seed in range(5):
        s = simulate(config, seed)
        received = np.abs(s.effect).sum(0)
        targets = np.setdiff1d(np.arange(CONFIG.genes), rows(s))
        correlations.append(np.corrcoef(s.data.x.std(0)[targets], received[targets])[0, 1])
    assert abs(np.mean(correlations)) < 4 / np.sqrt(5 * len(targets))


@pytest.mark.parametrize("link", ["tanh", "linear"])
@pytest.mark.parametrize("as_counts", [False, True])
def test_no_gene_is_constant_even_when_nearly_everything_is_lost(link, as_counts):
    config = replace(CONFIG, cells=10, dropout=0.99, log_mean=-3, link=link, as_counts=as_counts)
    x = simulate(config, 0).data.x
    assert (x.min(0) < x.max(0)).all()
    assert (x >= 0).all()


@pytest.mark.parametrize("share", [0.0, 0.25, 0.7])
def test_dropout_takes_its_share_and_takes_weak_genes_first(share):
    full, lossy = (simulate(replace(CONFIG, dropout=d), 0).data.x for d in (0.0, share))
    lost = (lossy == 0) & (full > 0)
    assert lost.mean() == pytest.approx(share, abs=1e-3)
    kept = lossy > 0
    np.testing.assert_array_equal(lossy[kept], full[kept])
    if share:
        assert full[lost].mean() < full[kept].mean()


def test_library_size_scales_whole_cells():
    totals = [
        simulate(replace(CONFIG, as_counts=True, dropout=0.0, library_sd=sd), 0).data.x.sum(1)
        for sd in (0.0, 1.0)
    ]
    assert np.log(totals[1]).std() > 3 * np.log(totals[0]).std()
    assert np.log(totals[1]).std() == pytest.approx(1.0, abs=0.15)


def test_counts_are_whole_numbers_and_log_expression_is_not():
    assert describe_units(simulate(replace(CONFIG, as_counts=True), 0).data.x).kind == "counts"
    assert describe_units(simulate(CONFIG, 0).data.x).kind == "log"


@pytest.mark.parametrize(
    ("probe", "config", "step", "most"),
    [(target_probe, FEW_CELLS, 0.05, 0.6), (pair_probe, MANY_REGULATORS, 0.01, 0.12)],
)
def test_information_of_embeddings_grows_with_the_setting(probe, config, step, most):
    read = [
        np.mean([probe(simulate(replace(config, embedding_information=i), s)) for s in range(4)])
        for i in (0.0, 0.25, 0.5, 1.0)
    ]
    assert abs(read[0]) < 0.05
    assert all(np.diff(read) > step)
    assert read[-1] > most


def test_full_information_recovers_the_edges():
    s = simulate(replace(CONFIG, embedding_information=1, embedding_dimensions=128), 0)
    vectors, true = s.embedding.vectors, s.effect[rows(s)]
    fit = Ridge(0.1).fit(vectors, true.T)
    assert roc_auc_score((true != 0).ravel(), np.abs(fit.predict(vectors).T).ravel()) > 0.98


def test_without_information_embeddings_are_independent_of_the_network():
    # The same vectors, to the bit, come with two different networks.
    sparse, dense = (
        simulate(replace(MANY_REGULATORS, embedding_information=0, mean_in_degree=d), 5)
        for d in (2, 8)
    )
    np.testing.assert_array_equal(sparse.embedding.vectors, dense.embedding.vectors)
    assert len(sparse.network) < len(dense.network)


@pytest.mark.parametrize(("information", "expected"), [(0.0, False), (0.5, True)])
def test_permutation_test_sees_information_only_where_there_is_some(information, expected):
    s = simulate(replace(MANY_REGULATORS, embedding_information=information), 0)
    rng = np.random.default_rng(0)
    null = [pair_probe(s, rng.permutation(MANY_REGULATORS.genes)) for _ in range(99)]
    p = (1 + np.sum(np.asarray(null) >= pair_probe(s))) / 100
    assert (p <= 0.01) if expected else (p > 0.05)


def test_embeddings_do_not_encode_out_degree():
    read, lengths = [], []
    for seed in range(4):
        s = simulate(replace(MANY_REGULATORS, embedding_information=1), seed)
        degree = np.log1p((s.effect[rows(s)] != 0).sum(1))
        vectors = s.embedding.vectors[rows(s)]
        folds = KFold(5, shuffle=True, random_state=0)
        predicted = cross_val_predict(Ridge(10.0), vectors, degree, cv=folds)
        read.append(np.corrcoef(predicted, degree)[0, 1])
        lengths.append(np.ptp(np.linalg.norm(vectors, axis=1)))
    assert np.mean(read) < 0.2
    assert max(lengths) < 1e-3


@pytest.mark.parametrize("fraction", [0.0, 0.1, 1.0])
def test_known_edges_are_labelled_truthfully(fraction):
    s = simulate(replace(CONFIG, known_fraction=fraction), 0)
    edges = set(zip(s.network["source"], s.network["target"], strict=True))
    pairs = list(zip(s.known["source"], s.known["target"], strict=True))
    assert [int(pair in edges) for pair in pairs] == s.known["label"].tolist()
    assert len(set(pairs)) == len(pairs)
    assert set(s.known["source"]) <= set(s.data.regulators)
    assert all(source != target for source, target in pairs)
    candidates = CONFIG.regulators * (CONFIG.genes - 1)
    assert s.known["label"].sum() == round(fraction * len(edges))
    assert (s.known["label"] == 0).sum() == round(fraction * (candidates - len(edges)))


def test_one_seed_gives_one_dataset_to_the_bit():
    here = fingerprint(simulate(CONFIG, 7))
    assert here == fingerprint(simulate(CONFIG, 7))
    assert here != fingerprint(simulate(CONFIG, 8))
    code = (
        "from test_simulate import CONFIG, fingerprint, simulate;"
        "print(fingerprint(simulate(CONFIG, 7)))"
    )
    there = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        check=True,
        capture_output=True,
        text=True,
    )
    assert there.stdout.strip() == here


def test_settings_of_prior_knowledge_leave_the_data_alone():
    one = simulate(CONFIG, 0)
    other = simulate(
        replace(CONFIG, embedding_information=0, embedding_dimensions=8, known_fraction=0.5), 0
    )
    np.testing.assert_array_equal(one.data.x, other.data.x)
    np.testing.assert_array_equal(one.effect, other.effect)


def test_settings_of_the_experiment_leave_network_and_prior_knowledge_alone():
    one, other = (simulate(c, 0) for c in (CONFIG, replace(CONFIG, cells=50, as_counts=True)))
    np.testing.assert_array_equal(one.effect, other.effect)
    np.testing.assert_array_equal(one.embedding.vectors, other.embedding.vectors)
    pd.testing.assert_frame_equal(one.known, other.known)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("genes", 10),
        ("regulators", 2),
        ("cells", 9),
        ("mean_in_degree", 0.5),
        ("mean_in_degree", 30),
        ("out_degree_exponent", 0),
        ("activating", 1.1),
        ("link", "cubic"),
        ("effect_scale", 0),
        ("noise", 0),
        ("noise", float("nan")),
        ("shared", -0.1),
        ("log_mean", 50),
        ("library_sd", -1),
        ("dropout", 1),
        ("embedding_dimensions", 1),
        ("embedding_information", 1.5),
        ("embedding_information", float("nan")),
        ("known_fraction", -0.1),
    ],
)
def test_bad_settings_are_named(field, value):
    with pytest.raises(ValueError, match=f"^{field}: expected .* got "):
        replace(CONFIG, **{field: value})


def test_smallest_and_largest_settings_work():
    smallest = SimulationConfig(
        genes=3, regulators=3, cells=10, mean_in_degree=2, embedding_dimensions=2, known_fraction=1
    )
    assert len(simulate(smallest, 0).known) == 6
    start = time.process_time()
    s = simulate(SimulationConfig(genes=2000, regulators=200, cells=1000), 0)
    assert time.process_time() - start < 5
    assert s.data.x.shape == (1000, 2000)
