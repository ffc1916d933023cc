"""Metrics against plain loops over small matrices, closed forms, and edge cases."""

import numpy as np
import pytest
from scipy.stats import pearsonr, rankdata, spearmanr
from sklearn.metrics import r2_score, roc_auc_score

from infosem_jax.expression import recall as recall_module
from infosem_jax.expression.metrics import evaluate, gene_pearson, gene_table, robust_z
from infosem_jax.expression.recall import gene_recall


def pair(samples=13, genes=40, seed=0, noise=1.0, ties=False):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(samples, 3)) @ rng.normal(size=(3, genes)) + 0.3 * rng.normal(
        size=(samples, genes)
    )
    truth = np.abs(truth)
    predicted = truth + noise * rng.normal(size=truth.shape)
    if ties:
        truth, predicted = truth.round(), predicted.round()
    return truth, predicted


def brute_recall(truth, predicted, levels=(0.95, 0.99)):
    n = truth.shape[1]
    every = spearmanr(truth, predicted).statistic[:n, n:].round(9)
    null = every[~np.eye(n, dtype=bool)]
    own = np.diag(every)
    return own, [(null <= each).mean() for each in own], np.quantile(null, levels)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("block", [1, 100, 2**22])
def test_recall_equals_the_whole_matrix(monkeypatch, ties, block):
    monkeypatch.setattr(recall_module, "_BLOCK", block)
    truth, predicted = pair(ties=ties)
    keep = (np.ptp(truth, 0) > 0) & (np.ptp(predicted, 0) > 0)
    truth, predicted = truth[:, keep], predicted[:, keep]
    levels = (0.0, 0.5, 0.95, 0.99, 1.0)
    own, recall, thresholds = brute_recall(truth, predicted, levels)
    found = gene_recall(truth, predicted, levels)
    np.testing.assert_allclose(found.own, own, atol=2e-9)
    np.testing.assert_allclose(found.thresholds, thresholds, atol=4e-9)
    np.testing.assert_allclose(found.recall, recall, atol=1e-12)


def test_blocks_change_nothing(monkeypatch):
    truth, predicted = pair(30, 300, ties=True)
    whole = gene_recall(truth, predicted)
    monkeypatch.setattr(recall_module, "_BLOCK", 7 * 300)
    for one, other in zip(whole, gene_recall(truth, predicted), strict=True):
        np.testing.assert_array_equal(one, other)


def test_recall_does_not_depend_on_the_order_of_genes_and_samples():
    truth, predicted = pair(20, 60, ties=True)
    rng = np.random.default_rng(1)
    genes, samples = rng.permutation(60), rng.permutation(20)
    one = gene_recall(truth, predicted)
    other = gene_recall(truth[samples][:, genes], predicted[samples][:, genes])
    np.testing.assert_array_equal(one.recall[genes], other.recall)
    np.testing.assert_array_equal(one.thresholds, other.thresholds)


def test_constant_genes_are_never_recalled():
    truth, predicted = pair()
    truth[:, 3], predicted[:, 5] = 2.0, 1.0
    kept = np.setdiff1d(np.arange(40), (3, 5))
    whole, part = gene_recall(truth, predicted), gene_recall(truth[:, kept], predicted[:, kept])
    assert whole.recall[3] == whole.recall[5] == 0 and np.isnan(whole.own[[3, 5]]).all()
    np.testing.assert_array_equal(whole.recall[kept], part.recall)
    np.testing.assert_array_equal(whole.thresholds, part.thresholds)
    flat = evaluate(np.tile(truth.mean(0), (len(truth), 1)), truth)
    assert flat["r95"] == flat["r99"] == flat["gene_recall"] == flat["gene_pearson"] == 0
    assert np.isnan([flat["threshold95"], flat["rank_correlation"]]).all()


@pytest.mark.parametrize("ties", [False, True])
def test_metrics_equal_loops(ties):
    truth, predicted = pair(ties=ties)
    result = evaluate(predicted, truth)
    rows = list(zip(truth, predicted, strict=True))
    z_truth, z_predicted = (
        np.stack(
            [
                (x - np.median(x))
                / (1.4826 * max(np.median(np.abs(x - np.median(x))), 0.01))
                for x in each.T
            ],
            1,
        )
        for each in (truth, predicted)
    )  # fmt: skip
    own, recall, (t95, t99) = brute_recall(truth, predicted)
    own = np.nan_to_num(own, nan=-9)
    best = own >= t95 - 1e-9
    per_sample = {
        "error": [np.linalg.norm(p - t) for t, p in rows],
        "spearman": [spearmanr(t, p).statistic for t, p in rows],
        "pearson": [pearsonr(t, p).statistic for t, p in rows],
        "auroc": [roc_auc_score(t > np.median(t), p) for t, p in rows],
        "r2": [r2_score(t, p) for t, p in rows],
        "rank_correlation": [
            pearsonr(rankdata(t), rankdata(p)).statistic
            for t, p in zip(z_truth, z_predicted, strict=True)
        ],
        "rank_correlation_bing": [
            pearsonr(rankdata(t[best]), rankdata(p[best])).statistic
            for t, p in zip(z_truth, z_predicted, strict=True)
        ],
    }
    with np.errstate(invalid="ignore"):
        share = np.abs(predicted - truth) / ((np.abs(truth) + np.abs(predicted)) / 2)
    per_sample["smape"] = (100 * np.nan_to_num(share)).mean(1)
    for name, values in per_sample.items():
        assert result[name] == pytest.approx(np.mean(values), abs=1e-9), name
        assert result[f"{name}_sd"] == pytest.approx(np.std(values), abs=1e-9), name
    assert (result["r95"], result["r99"]) == (best.sum(), (own >= t99 - 1e-9).sum())
    assert result["r95_percent"] == pytest.approx(100 * best.mean())
    assert result["gene_recall"] == pytest.approx(np.mean(recall))
    genes = list(zip(truth.T, predicted.T, strict=True))
    mean = np.mean([pearsonr(t, p).statistic for t, p in genes])
    assert result["gene_pearson"] == pytest.approx(mean)
    assert result["gene_spearman"] == pytest.approx(own.mean(), abs=1e-8)
    assert result["gene_r2"] == pytest.approx(np.median([r2_score(t, p) for t, p in genes]))
    assert result["mae"] == pytest.approx(np.abs(truth - predicted).mean())
    assert result["rmse"] == pytest.approx(np.sqrt(((truth - predicted) ** 2).mean()))


def test_a_perfect_inference():
    truth, _ = pair(30, 200)
    result = evaluate(truth.copy(), truth)
    for name in ("spearman", "pearson", "auroc", "r2", "rank_correlation", "gene_pearson"):
        assert result[name] == pytest.approx(1)
    assert result["error"] == result["smape"] == result["mae"] == 0
    assert result["r95"] == result["r99"] == 200 and result["gene_recall"] == 1


def test_noise_is_recalled_by_chance():
    rng = np.random.default_rng(0)
    truth, noise = rng.normal(size=(2, 25, 1500))
    result = evaluate(noise, truth)
    # Binomial standard deviations are 0.56, 0.26 and 0.75 per cent (recall is uniform).
    assert result["r95_percent"] == pytest.approx(5, abs=2.3)
    assert result["r99_percent"] == pytest.approx(1, abs=1.1)
    assert 100 * result["gene_recall"] == pytest.approx(50, abs=3)


def test_training_means_are_what_r2_compares_with():
    truth, predicted = pair()
    train = pair(50, seed=3)[0]
    table = gene_table(predicted, truth, [f"G{i}" for i in range(40)], train)
    middle = train.mean(0)
    expected = 1 - ((truth - predicted) ** 2).sum(0) / ((truth - middle) ** 2).sum(0)
    np.testing.assert_allclose(table["r2"], expected)
    assert table["best"].sum() == evaluate(predicted, truth, train)["r95"]
    assert list(table) == ["gene", "pearson", "spearman", "r2", "mae", "recall", "best"]
    with pytest.raises(ValueError, match="Expected 40 names of genes, found 2"):
        gene_table(predicted, truth, ["A", "B"])


def test_the_floor_of_robust_z_and_constant_truths():
    x = np.array([[0.0, 1], [0, 2], [0, 9]])
    np.testing.assert_allclose(robust_z(x)[:, 1], np.array([-1, 0, 7]) / 1.4826)
    assert (robust_z(x)[:, 0] == 0).all()
    x[0, 0] = 1
    assert robust_z(x)[0, 0] == pytest.approx(1 / 0.014826)
    correlation = gene_pearson(np.array([[1.0, 1], [1, 2], [1, 4]]), np.ones((3, 2)))
    assert np.isnan(correlation[0]) and correlation[1] == 0


def test_what_cannot_be_compared_is_refused():
    truth, predicted = pair()
    with pytest.raises(ValueError, match="of one shape"):
        evaluate(predicted[:2], truth[:2])
    predicted[2, 1] = np.nan
    with pytest.raises(ValueError, match="found 1 others in the inference; did the method"):
        evaluate(predicted, truth)
