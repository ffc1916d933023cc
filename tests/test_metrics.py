import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from infosem_jax.grn.metrics import evaluate, score_matrix

METRICS = ("auprc", "auprc_ratio", "auroc", "epr", "hit_at_1pct")


def problem(seed=0, regulators=14, genes=90, density=0.2):
    rng = np.random.default_rng(seed)
    candidate = np.arange(regulators)[:, None] != np.arange(genes)
    truth = (
        rng.uniform(size=candidate.shape) < density * rng.uniform(0, 2, (regulators, 1))
    ) & candidate
    return truth + rng.normal(size=candidate.shape), truth, candidate


def tables(seed=0):
    """Return the same problem as tables of edges and known edges."""
    scores, truth, candidate = problem(seed)
    names = np.array([f"G{i:02d}" for i in range(scores.shape[1])])
    row, column = np.nonzero(candidate)
    edges = pd.DataFrame(
        {"source": names[row], "target": names[column], "weight": scores[row, column]}
    )
    return edges, edges.loc[truth[row, column], ["source", "target"]]


def brute_force(scores, truth):
    """Walk down a ranking without ties."""
    ranked = [
        bool(t) for _, t in sorted(zip(-scores, truth, strict=True), key=lambda pair: pair[0])
    ]
    n, positives = len(ranked), sum(ranked)
    precision = [sum(ranked[:k]) / k for k in range(1, n + 1)]
    auprc = sum(p for p, hit in zip(precision, ranked, strict=True) if hit) / positives
    couples = [scores[i] > scores[j] for i in np.flatnonzero(truth) for j in np.flatnonzero(~truth)]
    return {
        "auprc": auprc,
        "auprc_ratio": auprc / (positives / n),
        "auroc": sum(couples) / len(couples),
        "epr": precision[positives - 1] / (positives / n),
        "hit_at_1pct": precision[max(1, n // 100) - 1],
    }


def test_metrics_equal_a_walk_down_the_ranking():
    scores, truth, candidate = problem()
    result = score_matrix(scores, truth, candidate)
    expected = brute_force(scores[candidate], truth[candidate])
    assert {key: result[key] for key in METRICS} == pytest.approx(expected)
    rows = [
        brute_force(scores[i, candidate[i]], truth[i, candidate[i]])
        for i in range(len(scores))
        if truth[i].sum() >= 10
    ]
    assert 2 <= len(rows) < len(scores) and result["regulators_scored"] == len(rows)
    for key in METRICS:
        mean = np.mean([row[key] for row in rows])
        assert result[f"{key}_per_regulator"] == pytest.approx(mean)
    ratios = [row["auprc_ratio"] for row in rows]
    error = np.std(ratios, ddof=1) / len(ratios) ** 0.5
    assert result["auprc_ratio_per_regulator_se"] == pytest.approx(error)


@pytest.mark.parametrize("seed", range(3))
def test_metrics_equal_scikit_learn_without_ties(seed):
    scores, truth, candidate = problem(seed)
    result = score_matrix(scores, truth, candidate, seed)
    y, s = truth[candidate], scores[candidate]
    assert result["auprc"] == pytest.approx(average_precision_score(y, s))
    assert result["auroc"] == pytest.approx(roc_auc_score(y, s))
    assert result["base_rate"] == y.mean() and result["positives"] == y.sum()


def test_ties_average_to_what_chance_gives():
    scores, truth, candidate = problem()
    rounded = np.round(scores)
    runs = [score_matrix(rounded, truth, candidate, seed) for seed in range(40)]
    assert len({run["auprc"] for run in runs}) > 30
    y, s = truth[candidate], rounded[candidate]
    assert np.mean([run["auroc"] for run in runs]) == pytest.approx(roc_auc_score(y, s), abs=0.005)
    constant = [score_matrix(0.1 * candidate, truth, candidate, seed) for seed in range(40)]
    for key in ("auprc_ratio", "epr", "auprc_ratio_regulator_mean", "auprc_ratio_target_mean"):
        values = [run[key] for run in constant]
        assert np.mean(values) == pytest.approx(1, abs=0.05) and np.std(values) > 0
    per_regulator = np.mean([run["auprc_ratio_per_regulator"] for run in constant])
    chance = {run["auprc_ratio_per_regulator_chance"] for run in constant}
    assert len(chance) == 1 and per_regulator == pytest.approx(chance.pop(), abs=0.05)
    assert per_regulator > 1.05
    assert constant[0] == score_matrix(0.1 * candidate, truth, candidate, 0)


def test_equal_means_tie_although_their_sums_are_rounded():
    _, truth, candidate = problem(regulators=60)  # target means are over 59 or 60 pairs
    result = score_matrix(np.full(truth.shape, 0.1), truth, candidate)
    assert result["auprc_ratio_target_mean"] == result["auprc_ratio"]


def test_self_pairs_and_other_pairs_outside_the_candidates_do_not_count():
    scores, truth, candidate = problem()
    other = np.where(candidate, scores, 99.0)
    assert score_matrix(other, truth | ~candidate, candidate) == score_matrix(
        scores, truth, candidate
    )


def test_only_the_order_of_scores_matters():
    scores, truth, candidate = problem()
    a, b = (score_matrix(s, truth, candidate) for s in (scores, np.exp(scores)))
    assert all(a[key] == b[key] for key in METRICS)
    best = score_matrix(truth + 0.0, truth, candidate)
    assert best["auprc"] == best["auroc"] == best["hit_at_1pct"] == 1
    assert best["epr"] == best["auprc_ratio"] == pytest.approx(1 / best["base_rate"])


def test_means_tell_regulators_from_pairs():
    rng = np.random.default_rng(0)
    candidate = np.ones((20, 100), bool)
    truth = rng.uniform(size=(20, 100)) < np.linspace(0.05, 0.6, 20)[:, None]
    by_regulator = score_matrix(np.tile(truth.mean(1, keepdims=True), 100), truth, candidate)
    assert by_regulator["auprc_ratio"] > 1.3
    assert by_regulator["auprc_ratio_regulator_mean"] == by_regulator["auprc_ratio"]
    assert by_regulator["auprc_ratio_target_mean"] == pytest.approx(1, abs=0.1)
    chance = by_regulator["auprc_ratio_per_regulator_chance"]
    assert by_regulator["auprc_ratio_per_regulator"] == pytest.approx(chance, abs=0.15)
    swapped = score_matrix(np.tile(truth.mean(1), (100, 1)), truth.T, candidate.T)
    assert swapped["auprc_ratio_target_mean"] == swapped["auprc_ratio"] > 1.3
    assert swapped["auprc_ratio_per_regulator"] > 1.3 > swapped["auprc_ratio_per_regulator_chance"]


def test_degrees_are_worth_nothing_where_they_are_matched():
    rng = np.random.default_rng(1)
    candidate = ~np.eye(30, 80, dtype=bool)
    regulator, target = rng.normal(size=(30, 1)), rng.normal(size=80)
    mechanism = rng.normal(size=(30, 80))
    truth = rng.uniform(size=(30, 80)) < 1 / (1 + np.exp(2 - regulator - target - mechanism))

    def matched(score):
        found = score_matrix(np.broadcast_to(score, truth.shape), truth, candidate)
        return found["auroc"], found["auroc_degree_matched"]

    for score in (regulator, target):
        plain, alone = matched(score)
        assert plain > 0.6 and alone == pytest.approx(0.5, abs=0.02)
    plain, alone = matched(regulator + target)
    assert plain > 0.7 and alone == pytest.approx(0.5, abs=0.03)
    assert matched(mechanism)[1] > 0.65
    assert matched(truth + 0.0)[1] == 1.0
    one = np.zeros_like(truth)
    one[3, 7] = True
    assert np.isnan(score_matrix(mechanism, one, candidate)["auroc_degree_matched"])


def test_means_count_unscored_pairs_as_no_edge():
    candidate, truth = np.ones((2, 20), bool), np.zeros((2, 20), bool)
    truth[0, :15] = True
    scores = np.full((2, 20), np.nan)
    scores[0] = 0.5
    scores[1, 0] = 0.9  # one strong pair does not make a strong regulator
    result = score_matrix(scores, truth, candidate)
    expected = score_matrix(np.repeat([[1.0], [0.0]], 20, 1), truth, candidate)
    assert result["auprc_ratio_regulator_mean"] == expected["auprc_ratio"]
    assert result["unscored_pairs"] == 19


def test_unscored_pairs_rank_last():
    scores, truth, candidate = problem()
    keep = scores > 0.8
    result = score_matrix(np.where(keep, scores, np.nan), truth, candidate, 3)
    filled = score_matrix(np.where(keep, scores, -5.0), truth, candidate, 3)
    assert result["unscored_pairs"] == (~keep & candidate).sum()
    assert all(result[key] == filled[key] for key in METRICS)


def test_a_reference_of_more_genes_is_scored_among_those_of_the_table():
    edges, known = tables()
    more = pd.DataFrame(
        [("G00", "X1"), ("X1", "G01"), ("G80", "G01")], columns=["source", "target"]
    )
    expected, wide = evaluate(edges, known), pd.concat([known, more])
    assert evaluate(edges, wide)["unscored_pairs"] > 0
    found = evaluate(edges, wide, scored_only=True)
    assert found.pop("universe") != expected.pop("universe")
    assert found == pytest.approx(expected)
    with pytest.raises(ValueError, match="None of the 1246 scored pairs is a candidate"):
        evaluate(edges, more.iloc[1:2].replace("G01", "X2"), scored_only=True)


def test_without_a_regulator_of_enough_edges_the_means_are_nan():
    scores, truth, candidate = problem(density=0.02)
    result = score_matrix(scores, truth, candidate)
    assert result["regulators_scored"] == 0
    assert np.isnan(result["auprc_per_regulator"]) and np.isfinite(result["auprc"])
    assert np.isnan(result["auprc_ratio_per_regulator_se"])


@pytest.mark.parametrize("known", [np.zeros, np.ones])
def test_a_truth_without_edges_or_without_other_pairs_is_refused(known):
    scores, truth, candidate = problem()
    with pytest.raises(ValueError, match="true edges and other pairs"):
        score_matrix(scores, known(truth.shape, bool), candidate)


def test_tables_agree_with_matrices():
    edges, known = tables()
    scores, truth, candidate = problem()
    regulators = np.flatnonzero(truth.any(1))
    genes = np.flatnonzero(truth.any(0) | np.isin(np.arange(truth.shape[1]), regulators))
    block = np.ix_(regulators, genes)
    expected = score_matrix(scores[block], truth[block], candidate[block])
    result = evaluate(edges, known, absolute=False)
    assert {key: result[key] for key in expected} == expected
    assert (result["regulators"], result["genes"]) == (len(regulators), len(genes))
    for word in ("without self pairs", "last", "seed", "average precision", "signed weight"):
        assert word in str(result["universe"])


def test_weights_are_ranked_by_size_unless_told():
    edges, known = tables()
    result = evaluate(edges, known)
    negated = edges.assign(weight=-edges["weight"])
    assert evaluate(negated, known) == result
    assert evaluate(negated, known, absolute=False)["auprc"] < result["auprc"]


@pytest.mark.parametrize("digits", [0, 6])
def test_order_of_rows_does_not_matter_even_among_ties(digits):
    edges, known = tables()
    edges["weight"] = edges["weight"].round(digits)
    result = evaluate(edges, known, seed=5)
    shuffled = evaluate(edges.sample(frac=1, random_state=0), known[::-1], seed=5)
    assert result == shuffled


def test_what_is_outside_the_known_network_is_left_aside():
    edges, known = tables()
    result = evaluate(edges, known)
    extra = pd.DataFrame(
        {"source": ["G00", "new", "G01"], "target": ["new", "G00", "G01"], "weight": 99.0}
    )
    assert evaluate(pd.concat([edges, extra]), known) == result
    loops = pd.DataFrame({"source": ["G00"], "target": ["G00"]})
    assert evaluate(edges, pd.concat([known, known[:5], loops])) == result


def test_labels_tell_edges_from_other_pairs():
    edges, known = tables()
    pairs = edges[["source", "target"]].merge(known, how="left", indicator=True)
    labelled = pairs.assign(label=(pairs["_merge"] == "both").astype(int))
    result = evaluate(edges, labelled)
    assert result["positives"] == len(known) and result["genes"] == 90


def test_tables_that_cannot_be_scored_are_refused():
    edges, known = tables()
    for bad, message in (
        (edges.drop(columns="weight"), "edge table lacks weight"),
        (edges.assign(weight=np.nan), "no finite number .*G00 to G01"),
        (edges.assign(weight=np.inf), "no finite number"),
        (edges.assign(weight="high"), "no finite number"),
        (pd.concat([edges, edges[:1]]), "1 rows .* came before .*G00 to G01"),
        (edges.assign(target="new" + edges["target"]), "same kind of gene name"),
        (edges.assign(source=edges["source"].str.lower()), "match known regulators when case"),
        (edges[:0], "None of the 0 scored pairs"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate(bad, known)
    with pytest.raises(ValueError, match="known network lacks source"):
        evaluate(edges, known[["target"]])
    with pytest.raises(ValueError, match="holds no edge"):
        evaluate(edges, known[:0])
    with pytest.raises(ValueError, match="holds no edge"):
        evaluate(edges, known.assign(label=0))


def test_correlation_on_embryonic_stem_cells(real_data):
    folder = real_data / "beeline" / "hESC" / "TFs+500"
    known = pd.read_csv(folder / "network_specific.csv.gz").set_axis(["source", "target"], axis=1)
    with np.load(folder / "expression.npz") as file:
        genes, x = file["genes"], file["X"].astype(float)
    row, column = np.nonzero(~np.eye(len(genes), dtype=bool))
    weight = np.corrcoef(x.T)[row, column]
    edges = pd.DataFrame({"source": genes[row], "target": genes[column], "weight": weight})
    size = evaluate(edges, known)
    assert (size["candidates"], size["positives"], size["regulators_scored"]) == (27676, 4545, 28)
    assert size["auprc_ratio"] == pytest.approx(1.08, abs=0.005)
    assert size["auprc_ratio_per_regulator"] == pytest.approx(1.05, abs=0.005)
    assert size["auprc_ratio_target_mean"] == pytest.approx(0.94, abs=0.005)
    assert size["auprc_ratio_regulator_mean"] == pytest.approx(1.30, abs=0.01)
    signed = evaluate(edges, known, absolute=False)
    assert signed["auprc_ratio_per_regulator"] == pytest.approx(1.12, abs=0.005)
