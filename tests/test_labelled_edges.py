"""What labels teach, to which pairs it carries over, and that nothing is made of nothing."""

from dataclasses import replace

import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest

from infosem_jax import grn
from infosem_jax.data import simulate as simulation
from infosem_jax.data.io import embedding, write_embedding
from infosem_jax.grn import exact
from infosem_jax.grn.priors import LabelledEdges, bind, coverage, label_parts, label_weights
from infosem_jax.grn.priors.binding import GeneContext
from infosem_jax.grn.priors.registry import build

ROWS, GENES, FEATURES = 40, 120, 6
NAMES = [f"G{i:03d}" for i in range(GENES)]


class Planted:
    """Labels of a network whose edges follow rates and what kind of genes a regulator acts on."""

    def __init__(self, *, rates: float = 1.0, kinds: float = 2.0, seed: int = 0):
        rng = np.random.default_rng(seed)
        self.rows = np.arange(ROWS)
        self.vectors = rng.normal(size=(GENES, FEATURES))
        self.vectors /= np.linalg.norm(self.vectors, axis=1, keepdims=True)
        role = self.vectors[:ROWS] @ rng.normal(size=(FEATURES, FEATURES))
        z = kinds * role @ self.vectors.T - 1.5
        z += rates * (rng.normal(size=(ROWS, 1)) + rng.normal(size=GENES))
        self.z = z
        self.truth = (rng.uniform(size=z.shape) < 1 / (1 + np.exp(-z))).astype(float)
        np.fill_diagonal(self.truth, np.nan)

    def known(self, held: np.ndarray) -> np.ndarray:
        return np.where(held, np.nan, self.truth)


def held_out(kind: str) -> np.ndarray:
    rng = np.random.default_rng(1)
    if kind == "pairs":
        return rng.uniform(size=(ROWS, GENES)) < 0.3
    row, column = np.arange(ROWS)[:, None] >= 30, np.arange(GENES) % 4 == 3
    both = np.ones((ROWS, GENES), bool)
    return both & {"regulators": row, "targets": column, "both": row | column}[kind]


def area(score: np.ndarray, truth: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    seen = ~np.isnan(truth)
    return float(roc_auc_score(truth[seen], score[seen]))


def precision(score: np.ndarray, truth: np.ndarray) -> float:
    from sklearn.metrics import average_precision_score

    seen = ~np.isnan(truth)
    return float(average_precision_score(truth[seen], score[seen]))


def table(labels: np.ndarray) -> pd.DataFrame:
    row, column = np.nonzero(~np.isnan(labels))
    names = np.asarray(NAMES)
    return pd.DataFrame(
        {"source": names[row], "target": names[column], "label": labels[row, column]}
    )


CONTEXT = GeneContext(tuple(NAMES), tuple(NAMES[:ROWS]), 50, "logit")


def logits(prior: LabelledEdges, context: GeneContext = CONTEXT) -> np.ndarray:
    found = bind(prior, context).distribution()
    assert isinstance(found, dist.Independent)
    return np.asarray(found.base_dist.loc)  # pyright: ignore


@pytest.mark.parametrize("kind", label_parts.KINDS)
def test_planted_structure_is_found_for_every_kind_of_pairs(kind: str):
    made, held = Planted(), held_out(kind)
    asked = label_parts.kinds(~np.isnan(made.known(held)))[kind] & held
    told = label_parts.learn(made.known(held), made.rows, {"texts": made.vectors}, {})
    best = area(made.z[asked], made.truth[asked])
    assert area(told.log_odds[asked], made.truth[asked]) > 0.5 + 0.6 * (best - 0.5)
    # The other genes' vectors say nothing, and get less weight.
    other = np.random.default_rng(5).permutation(made.vectors)
    dealt = label_parts.learn(made.known(held), made.rows, {"texts": other}, {})
    assert area(told.log_odds[asked], made.truth[asked]) > area(
        dealt.log_odds[asked], made.truth[asked]
    )


def test_what_does_not_carry_over_to_unknown_regulators_has_no_weight():
    made = Planted(kinds=0.0, rates=2.0)
    held = held_out("both")
    labels = made.known(held)
    told = label_parts.learn(labels, made.rows, {"texts": made.vectors}, {})
    assert told.weights["pairs"]["rate of the regulator"] > 0.5
    assert told.weights["targets"]["rate of the regulator"] > 0.5
    assert told.weights["regulators"]["rate of the target"] > 0.5
    for kind in ("regulators", "both"):
        assert told.weights[kind]["rate of the regulator"] == 0
        assert told.weights[kind]["factors"] == 0
    assert told.weights["both"]["rate of the target"] == 0


@pytest.mark.parametrize("as_targets", [True, False])
def test_regulators_are_held_out_as_unknown_ones_are_known(as_targets: bool):
    known = np.ones((ROWS, GENES), bool)
    np.fill_diagonal(known, False)
    known[30:] = False
    known[:, 30:ROWS] = as_targets & known[:, 30:ROWS]
    for held, left in label_parts.hold_out("regulators", known, np.arange(ROWS)):
        aside = held.any(1)
        assert aside.any() and not left[aside].any()
        assert left[:, :ROWS][:, aside].any() == as_targets
        assert not (held[:, :ROWS] & left[:, :ROWS].T).any()


def test_few_regulators_are_few_examples_however_many_pairs_they_have():
    def weights(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        regulator = np.repeat(np.arange(10), 100)
        rate, noise, told = (
            rng.normal(size=10)[regulator],
            rng.normal(size=10),
            rng.normal(size=1000),
        )
        y = (rng.uniform(size=1000) < 1 / (1 + np.exp(1 - rate - told))).astype(float)
        x = np.stack([noise[regulator], told])
        own = [regulator], np.zeros((0, 1000), int)
        most = np.full(2, np.inf)
        each = (label_weights.weigh(x, y, np.zeros(2), most, np.array(genes)) for genes in own)
        return np.array([weight for _, weight in each])

    known, pooled = np.mean([weights(seed) for seed in range(20)], 0)
    # Of what differs between regulators alone, ten of them say little; pairs tell of the other.
    assert known[0] < 0.75 * pooled[0]
    assert known[1] > pooled[1] > 0.5


@pytest.mark.parametrize("useful", [False, True])
def test_labels_of_other_data_sets_add_what_carries_over_and_take_nothing_away(useful: bool):
    def gain(seed: int) -> float:
        """Teach by 16 regulators with few edges, and ask for others that none of them is."""
        rng = np.random.default_rng(seed)
        regulators, genes, features = 48, 150, 24
        texts, expression = rng.normal(size=(2, genes, features))
        texts /= np.linalg.norm(texts, axis=1, keepdims=True)
        expression /= np.linalg.norm(expression, axis=1, keepdims=True)
        role = texts[:regulators] @ rng.normal(size=(features, features))
        z = rng.normal(size=(regulators, 1)) - 4.2 + 2.0 * useful * role @ texts.T
        truth = (rng.uniform(size=z.shape) < 1 / (1 + np.exp(-z))).astype(float)
        # Log Bayes factor of the expression: normals that are 1.5 apart.
        evidence = 1.5 * (rng.normal(size=z.shape) + 1.5 * truth) - 1.5**2 / 2
        np.fill_diagonal(truth, np.nan)
        labels = np.where(np.arange(regulators)[:, None] < 16, truth, np.nan)
        vectors = {"texts": texts, "expression": expression}
        pairs = {"similarity": texts[:regulators] @ texts.T, "expression": evidence}
        told = label_parts.learn(labels, np.arange(regulators), vectors, pairs, "expression")
        with_labels, without = (
            precision(score[16:], truth[16:]) for score in (told.log_odds, evidence)
        )
        return with_labels - without

    gains = np.array([gain(seed) for seed in range(24)])
    error = gains.std(ddof=1) / np.sqrt(len(gains))
    if useful:
        assert gains.mean() > 5 * error
        assert gains.mean() > 0.04
    else:
        # With one wide prior of the weights, gains are four standard errors below 0.
        assert gains.mean() > -2 * error
        assert gains.mean() > -0.003


def test_few_labels_give_no_part_that_says_nothing_a_weight(monkeypatch):
    def weights(seed: int, pairs: int, truth: float) -> np.ndarray:
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(20, pairs))
        log_odds = truth * x[:5].sum(0) - 2
        y = (rng.uniform(size=pairs) < 1 / (1 + np.exp(-log_odds))).astype(float)
        most = np.full(20, np.inf)
        return label_weights.weigh(x, y, np.zeros(20), most, np.zeros((0, pairs), int))[1]

    found = weights(0, 10000, 0.5)
    np.testing.assert_allclose(found[:5], 0.5, atol=0.12)
    assert found[5:].max() < 0.12
    learned = np.mean([(weights(seed, 300, 0.0) ** 2).sum() for seed in range(20)])
    monkeypatch.setattr(label_weights, "PRECISIONS", label_weights.PRECISIONS[:1])
    wide = np.mean([(weights(seed, 300, 0.0) ** 2).sum() for seed in range(20)])
    assert learned < 0.2 * wide


def test_what_says_log_odds_counts_once_at_most():
    rng = np.random.default_rng(0)
    said = 0.2 * rng.normal(size=(2, 4000))
    y = (rng.uniform(size=4000) < 1 / (1 + np.exp(1 - 4 * said.sum(0)))).astype(float)
    most = np.array([1.0, np.inf])
    _, weight = label_weights.weigh(said, y, np.zeros(2), most, np.zeros((0, 4000), int))
    assert weight[0] == pytest.approx(1)
    assert weight[1] > 3


def test_labels_permuted_among_pairs_give_next_to_no_prior():
    made, held = Planted(), held_out("both")
    labels = made.known(held)
    seen = ~np.isnan(labels)
    labels[seen] = np.random.default_rng(2).permutation(labels[seen])
    told = label_parts.learn(labels, made.rows, {"texts": made.vectors}, {})
    true = label_parts.learn(made.known(held), made.rows, {"texts": made.vectors}, {})
    for kind, asked in label_parts.kinds(seen).items():
        assert told.log_odds[asked].std() < 0.35 * true.log_odds[asked].std(), kind
        assert abs(told.log_odds[asked].mean() - np.log(labels[seen].mean())) < 1


def test_what_is_known_of_pairs_counts_once_where_labels_say_nothing_else():
    labels = np.full((ROWS, GENES), np.nan)
    labels[0, 1:9] = [1, 0, 0, 0, 1, 0, 0, 0]
    evidence = np.random.default_rng(0).normal(size=labels.shape)
    told = label_parts.learn(labels, np.arange(ROWS), {}, {"expression": evidence}, "expression")
    unknown = label_parts.kinds(~np.isnan(labels))["both"]
    slope = np.polyfit(evidence[unknown], told.log_odds[unknown], 1)[0]
    assert abs(slope - 1) < 1e-5
    assert "both" not in told.weights


def test_few_busy_regulators_among_many_idle_ones_have_finite_odds():
    rng = np.random.default_rng(0)
    z = -7 + 2.5 * rng.normal(size=(200, 1)) + rng.normal(size=400)
    labels = (rng.uniform(size=z.shape) < 1 / (1 + np.exp(-z))).astype(float)
    labels[rng.uniform(size=z.shape) < 0.4] = np.nan
    told = label_parts.learn(labels, np.arange(200), {}, {})
    assert np.isfinite(told.log_odds).all()
    assert np.corrcoef(told.log_odds[np.isnan(labels)], z[np.isnan(labels)])[0, 1] > 0.7


def test_order_of_genes_and_regulators_does_not_matter():
    made = Planted()
    prior = LabelledEdges(table(made.known(held_out("both"))), embedding(NAMES, made.vectors))
    rng = np.random.default_rng(3)
    rows, genes = rng.permutation(ROWS), rng.permutation(GENES)
    other = replace(
        CONTEXT,
        rows=tuple(np.asarray(CONTEXT.rows)[rows].tolist()),
        genes=tuple(np.asarray(NAMES)[genes].tolist()),
    )
    shuffled = replace(prior, table=prior.table.sample(frac=1, random_state=0))
    np.testing.assert_allclose(
        logits(shuffled, other), logits(prior)[np.ix_(rows, genes)], rtol=1e-3, atol=1e-3
    )


def test_own_label_of_a_pair_counts_as_far_as_labels_are_right():
    made = Planted()
    labels = made.known(held_out("pairs"))
    sure, unsure = (LabelledEdges(table(labels), error=e) for e in (0.01, 0.2))
    shift = logits(sure) - logits(unsure)
    apart = shift[labels == 1].mean()
    np.testing.assert_allclose(shift[labels == 1], apart, rtol=1e-3)
    np.testing.assert_allclose(shift[labels == 0], -apart, rtol=1e-3)
    assert apart > 2
    assert not shift[np.isnan(labels)].any()


def test_without_labels_of_absence_unnamed_genes_and_regulators_stay_unknown():
    edges = pd.DataFrame({"source": ["G000", "G001"], "target": ["G002", "G003"]})
    report = coverage(LabelledEdges(edges), CONTEXT)
    assert report["pairs labelled present"] == 2
    # Two regulators with four named genes, less themselves and the edges.
    assert report["pairs labelled absent"] == 2 * 4 - 2 - 2
    assert report["regulators with a label"] == f"2 of {ROWS}"
    assert report["of unknown regulators"] == (ROWS - 2) * 4
    assert report["of both"] == (ROWS - 2) * (GENES - 4)


def test_fit_with_labels_is_not_below_expression_or_labels_alone():
    config = simulation.SimulationConfig(genes=80, regulators=20, cells=150, mean_in_degree=4.0)
    made = simulation.simulate(config, seed=0)
    regulators, genes = made.data.regulators, made.data.genes
    edges = set(zip(made.network["source"], made.network["target"], strict=True))
    truth = np.array([[(row, gene) in edges for gene in genes] for row in regulators])
    known = np.random.default_rng(0).uniform(size=truth.shape) < 0.6
    known &= np.asarray(regulators)[:, None] != np.asarray(genes)
    row, column = np.nonzero(known)
    labels = pd.DataFrame(
        {
            "source": np.asarray(regulators)[row],
            "target": np.asarray(genes)[column],
            "label": truth[row, column].astype(int),
        }
    )
    asked = ~known & (np.asarray(regulators)[:, None] != np.asarray(genes))
    prior = LabelledEdges(labels)
    plain, fitted = exact.fit(made.data), exact.fit(made.data, edge=prior)
    context = GeneContext(genes, regulators, 150, "logit")
    alone = logits(prior, context)
    both, expression, taught = (
        area(score[asked], truth[asked].astype(float))
        for score in (fitted.score, plain.score, alone)
    )
    assert both > max(expression, taught)
    assert expression > 0.55
    # A grid of one finds the same, from the levels of genes as they were read.
    np.testing.assert_array_equal(grn.fit(made.data, edge=prior).score, fitted.score)
    # The more is expected, the more is found: log-odds are calibrated.
    p = fitted.probability[asked]
    spread = np.sqrt((p * (1 - p)).sum())
    assert abs(p.sum() - truth[asked].sum()) < 5 * spread


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"error": 0.5}, "0 < error < 0.5, found 0.5"),
        ({"scale": 0.0}, "positive scale, found 0"),
        ({"table": table(np.ones((ROWS, GENES)))}, "labels 1 and 0, found 4760 present and 0"),
    ],
)
def test_refuses(change: dict, message: str):
    prior = LabelledEdges(table(Planted().known(held_out("pairs"))))
    with pytest.raises(ValueError, match=message):
        bind(replace(prior, **change), CONTEXT)
    with pytest.raises(ValueError, match="not on effects"):
        bind(prior, replace(CONTEXT, site="effect"))


def test_is_read_with_texts_and_other_networks(tmp_path):
    made = Planted()
    known = table(made.known(held_out("regulators")))
    known.to_csv(tmp_path / "known.csv", index=False)
    known[known["label"] == 1][["source", "target"]].to_csv(tmp_path / "other.csv", index=False)
    text = pd.DataFrame({"symbol": NAMES, "text": [f"kind {i % 7} gene" for i in range(GENES)]})
    text.to_csv(tmp_path / "texts.csv", index=False)
    write_embedding(tmp_path / "vectors.npz", embedding(NAMES, made.vectors))
    files = [str(tmp_path / name) for name in ("known.csv", "other.csv", "vectors.npz")]
    prior = build("labels", ",".join(files), "logit", {"error": 0.1})
    assert isinstance(prior, LabelledEdges)
    assert prior.error == 0.1
    assert len(prior.networks) == 1
    assert prior.embedding is not None
    report = coverage(prior, CONTEXT)
    assert report["other networks"] == 1
    assert report["genes with an embedding"] == f"{GENES} of {GENES}"
    with pytest.raises(ValueError, match="at most one file of texts or vectors"):
        build("labels", ",".join([*files, str(tmp_path / "texts.csv")]), "logit", {})
