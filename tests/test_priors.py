"""What holds for every prior of the table of constructors, and for single ones."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest
from jax import random
from numpyro import handlers
from prior_table import (
    EFFECT,
    GENES,
    LOGIT,
    LOOKS_AT_NAMES,
    ONE_NUMBER_FITS_ALL,
    OWN,
    QUICK,
    ROWS,
    context,
    embedding,
    labels,
    pairs,
    ring,
    signed_graph,
)

from infosem_jax.data.io import Embedding
from infosem_jax.grn.config import Config
from infosem_jax.grn.model import Batch, Graph, Weights, model
from infosem_jax.grn.priors import (
    GeneEmbedding,
    GeneScales,
    GeneSimilarity,
    GraphPrior,
    GraphSmooth,
    Horseshoe,
    KnownEdges,
    LabelledEdges,
    Laplace,
    LearnedEdges,
    MeanAbsolute,
    Mixture,
    Normal,
    OtherNetwork,
    RegularisedHorseshoe,
    RelaxedGate,
    SignedEdges,
    SpikeAndSlab,
    Sum,
    Weakened,
    learned_strength,
    shuffled,
)
from infosem_jax.grn.priors.binding import BoundPrior, GeneContext, bind, coverage, pair_matrix

EFFECTS = EFFECT | {name: OWN[name] for name in QUICK}
NAMES = [*EFFECTS, *LOGIT]
TRACES = []


def make(name: str, seed: int = 0, prefix: str = "g"):
    return (EFFECTS | LOGIT)[name](seed, prefix)


def context_of(name: str, prefix: str = "g") -> GeneContext:
    return context("effect" if name in EFFECTS else "logit", prefix)


def make_bound(name: str, seed: int = 0, prefix: str = "g") -> BoundPrior:
    return bind(make(name, seed, prefix), context_of(name, prefix))


@jax.jit
def draw_and_score(bound: BoundPrior, key, value):
    """Draw from a bound prior, and score the draw and a given value."""
    TRACES.append(bound)
    with handlers.seed(rng_seed=key):
        prior = bound.distribution()
        draw = prior.sample(random.key(1))
    return draw, prior.log_prob(draw), prior.log_prob(value)


def values(seed: int = 0):
    return 0.3 * random.normal(random.key(seed), (3, 8))


def scale_of(site: dict):
    """Return how many times a site's log density counts."""
    return 1.0 if site["scale"] is None else site["scale"]


@jax.jit
def prior_of(bound: BoundPrior) -> dist.Distribution:
    """Return the prior with its networks' parameters drawn."""
    with handlers.seed(rng_seed=0):
        return bound.distribution()


@pytest.mark.parametrize("name", NAMES)
def test_draws_fit_the_genes_in_one_compilation(name):
    before = len(TRACES)
    draw, at_draw, at_value = draw_and_score(make_bound(name), random.key(0), values())
    assert draw.shape == (3, 8)
    assert at_draw.shape == ()
    assert bool(jnp.isfinite(draw).all() & jnp.isfinite(at_draw) & jnp.isfinite(at_value))
    other = draw_and_score(make_bound(name, seed=1), random.key(0), values())
    if name not in ONE_NUMBER_FITS_ALL:
        assert float(other[2]) != float(at_value)
    if name not in LOOKS_AT_NAMES:
        draw_and_score(make_bound(name, prefix="gene"), random.key(0), values())
    assert len(TRACES) <= before + 1


@pytest.mark.parametrize("name", NAMES)
def test_stacked_priors_score_as_one_at_a_time(name):
    bound = [make_bound(name, seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *bound)
    keys, value = random.split(random.key(0), 3), values()

    expected = [draw_and_score(*one, value)[2] for one in zip(bound, keys, strict=True)]
    axes = 0 if jax.tree.leaves(stacked) else None
    many = jax.jit(jax.vmap(draw_and_score, in_axes=(axes, 0, None)))
    found = many(stacked, keys, value)[2]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_weight_zero_silences_a_prior(name):
    bound = bind(Weakened(make(name), 0.0), context_of(name))

    @jax.jit
    @jax.grad
    def slope(value, bound):
        with handlers.seed(rng_seed=0), handlers.trace() as labels:
            score = bound.distribution().log_prob(value)
            if bound.observe is not None:
                bound.observe(value)
        for site in labels.values():
            if site["type"] == "sample" and site["is_observed"]:
                score += (scale_of(site) * site["fn"].log_prob(site["value"])).sum()
        return score

    np.testing.assert_allclose(slope(values(), bound), 0, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_at_weight_zero_of_its_site_the_model_ignores_the_prior(name):
    """Everything else given, the density is the same whatever the prior's numbers."""
    config = Config(rows="regulators", hidden=2, knots=0, latent_prior="standard")
    x, sites = values(1)[:, :8], {"effect": values(), "logit": values(2), "z": values(3)}
    batch = Batch(x, jnp.ones(x.shape, bool), jnp.ones(3, bool), 3.0)
    rows = jnp.array([GENES.index(row) for row in ROWS])

    @jax.jit
    def density(bound, weight):
        neutral = bind(Normal(), context())
        effect, edge = (bound, None) if name in EFFECTS else (neutral, bound)
        seeded = handlers.seed(handlers.substitute(model, sites), random.key(0))
        weights = Weights(1.0, weight if name in EFFECTS else 1.0, weight)
        trace = handlers.trace(seeded).get_trace(
            batch, Graph(effect, edge, rows), weights, config=config
        )
        drawn = [site for site in trace.values() if site["type"] == "sample"]
        return sum(jnp.sum(site["fn"].log_prob(site["value"]) * scale_of(site)) for site in drawn)

    silent, loud = [
        [float(density(make_bound(name, seed), weight)) for seed in (0, 1)] for weight in (0.0, 1.0)
    ]
    assert silent[0] == silent[1]
    assert name in ONE_NUMBER_FITS_ALL or loud[0] != loud[1]


def test_horseshoe_scores_its_draws_in_a_large_model():
    genes = tuple(map(str, range(1000)))
    prior = prior_of(bind(Horseshoe(), GeneContext(genes, genes[:300], 40)))
    assert bool(jnp.isfinite(prior.log_prob(prior.sample(random.key(0)))))


def test_mean_absolute_is_the_penalty_of_deepsem():
    """Minus log density over cells x genes = alpha mean |W|, up to a constant."""
    prior = prior_of(bind(MeanAbsolute(5.0, rows=None), context()))
    a, b = values(0), values(1)
    found = (prior.log_prob(b) - prior.log_prob(a)) / (40 * 8)
    np.testing.assert_allclose(found, 5 * (jnp.abs(a).mean() - jnp.abs(b).mean()), rtol=1e-4)


def test_mean_absolute_weighs_an_effect_alike_however_many_rows():
    for rows, scale in ((1000.0, 1000), (None, 2), (30.0, 30)):
        few = bind(MeanAbsolute(2.0, rows), GeneContext(GENES, ROWS[:2], 40, "effect"))
        expected = dist.Laplace(0.0, scale / (2 * 40)).log_prob(values()[:2])
        np.testing.assert_allclose(prior_of(few).log_prob(values()[:2]), expected.sum(), rtol=1e-5)


def test_spike_and_slab_is_the_mixture():
    prior = prior_of(bind(SpikeAndSlab(0.01, 0.5, 0.2), context()))
    value = values()
    density = 0.2 * np.exp(dist.Normal(0, 0.5).log_prob(value))
    density += 0.8 * np.exp(dist.Normal(0, 0.01).log_prob(value))
    np.testing.assert_allclose(prior.log_prob(value), np.log(density).sum(), rtol=1e-5)


def test_embedding_says_nothing_of_genes_it_does_not_know():
    prior = prior_of(make_bound("GeneEmbedding"))
    known = np.array([name in embedding().names for name in GENES])
    mean = np.asarray(prior.mean)
    assert (mean[:, ~known] == 0).all()
    assert (mean[:, known] != 0).all()
    rows = ("g1", "g7")
    mean = prior_of(bind(GeneEmbedding(embedding()), GeneContext(GENES, rows, 40))).mean
    np.testing.assert_array_equal(mean[1], 0)


def test_embedding_is_matched_by_name_whatever_its_order_and_scale():
    names, vectors = embedding()
    prior = prior_of(bind(GeneEmbedding(embedding()), context()))
    other = Embedding(names[::-1], 7 * vectors[::-1].copy() + 3)
    moved = prior_of(bind(GeneEmbedding(other), context()))
    np.testing.assert_allclose(moved.mean, prior.mean, rtol=1e-3, atol=1e-6)


def test_shuffled_embedding_deals_the_same_vectors_to_other_genes():
    prior = GeneEmbedding(embedding(), scale=0.3)
    control = shuffled(prior, seed=1)
    assert control.scale == 0.3
    assert control.embedding.names == prior.embedding.names
    before, after = prior.embedding.vectors, control.embedding.vectors
    assert not np.array_equal(before, after)
    np.testing.assert_array_equal(np.sort(before, 0), np.sort(after, 0))
    np.testing.assert_array_equal(after, shuffled(prior, seed=1).embedding.vectors)


def test_known_edges_are_log_odds():
    table = pd.DataFrame({"source": ["g1", "g4"], "target": ["g0", "g5"], "label": [1, 0]})
    prior = prior_of(bind(KnownEdges(table, 0.9, 0.2, 0.3, scale=0.7), context("logit")))
    probability = np.full((3, 8), 0.3)
    probability[0, 0], probability[1, 5] = 0.9, 0.2
    np.testing.assert_allclose(jax.nn.sigmoid(prior.mean), probability, rtol=1e-5)
    np.testing.assert_allclose(prior.variance, 0.49, rtol=1e-5)


@pytest.mark.parametrize(("column", "expected"), [({"label": [1, 0, 0, 0]}, 0.25), ({}, 4 / 24)])
def test_unlabelled_pairs_have_the_share_of_present_ones(column, expected):
    table = pd.DataFrame({"source": ["g1"] * 4, "target": list(GENES[2:6]), **column})
    prior = prior_of(bind(KnownEdges(table), context("logit")))
    assert float(jax.nn.sigmoid(prior.mean[2, 0])) == pytest.approx(expected, rel=1e-4)


def test_observed_labels_are_draws_of_the_gate():
    table = labels()
    bound = bind(KnownEdges(table, observe=True, unknown=0.3), context("logit"))
    np.testing.assert_allclose(jax.nn.sigmoid(prior_of(bound).mean), 0.3, rtol=1e-5)
    logit = values()
    trace = handlers.trace(lambda: bound.observe(logit)).get_trace()
    site = trace["known_edges"]
    gate = np.asarray(jax.nn.sigmoid(logit))
    expected = 0.0
    for row in table.itertuples():
        p = gate[ROWS.index(row.source), GENES.index(row.target)]
        expected += np.log(p if row.label else 1 - p)
    np.testing.assert_allclose(site["fn"].log_prob(site["value"]), expected, rtol=1e-5)


def test_graph_moves_and_widens_its_edges():
    table = pd.DataFrame(
        {"source": ["g1", "g4"], "target": ["g0", "g5"], "weight": [4.0, -2.0], "sign": [1, -1]}
    )
    prior = prior_of(bind(GraphPrior(table, scale=0.1, elsewhere=0.2), context()))
    mean, sd = np.zeros((3, 8)), np.full((3, 8), 0.02)
    mean[0, 0], mean[1, 5] = 0.1, -0.05
    sd[0, 0], sd[1, 5] = 0.1, 0.06
    np.testing.assert_allclose(prior.mean, mean, atol=1e-7)
    np.testing.assert_allclose(prior.variance**0.5, sd, rtol=1e-5)


def test_graph_on_the_logit_raises_the_probability_of_its_edges():
    table = pd.DataFrame({"source": ["g1", "g4"], "target": ["g0", "g5"]})
    prior = prior_of(bind(GraphPrior(table, probability=0.7), context("logit")))
    probability = np.full((3, 8), 2 / 24)
    probability[0, 0] = probability[1, 5] = 0.7
    np.testing.assert_allclose(jax.nn.sigmoid(prior.mean), probability, rtol=1e-5)


def test_undirected_graph_works_in_both_directions():
    table = pd.DataFrame({"source": ["g0", "g1"], "target": ["g4", "g6"]})
    for directed, edges in ((True, {(0, 6)}), (False, {(0, 6), (1, 0), (2, 1)})):
        prior = prior_of(bind(GraphPrior(table, directed=directed), context("logit")))
        strong = zip(*np.nonzero(np.asarray(prior.mean) > 0), strict=True)
        assert {(int(i), int(j)) for i, j in strong} == edges


def test_sum_adds_log_densities_and_its_labels():
    a, b = Normal(0.2), GraphPrior(signed_graph(0, "g"))
    total = prior_of(bind(a + b, context()))
    parts = [prior_of(bind(part, context())) for part in (a, b)]
    difference = [
        total.log_prob(value) - sum(part.log_prob(value) for part in parts)
        for value in (values(0), values(1))
    ]
    assert float(difference[0]) == pytest.approx(float(difference[1]), abs=1e-2)
    both = KnownEdges(labels(), observe=True) + KnownEdges(labels(1), observe=True)
    bound = bind(both, context("logit"))
    sites = handlers.trace(lambda: bound.observe(values())).get_trace()
    assert len(sites) == 2


def test_weight_multiplies_the_labels_too():
    def score(prior):
        observe = bind(prior, context("logit")).observe
        trace = handlers.trace(lambda: observe(values())).get_trace()
        (site,) = trace.values()
        return float(site["fn"].log_prob(site["value"])) * float(scale_of(site))

    prior = KnownEdges(labels(), observe=True)
    assert score(0.25 * prior) == pytest.approx(0.25 * score(prior), rel=1e-5)


def test_weight_multiplies_what_a_prior_samples_and_observes_of_its_own():
    @jax.jit
    def scales(bound):
        with handlers.seed(rng_seed=0):
            trace = handlers.trace(bound.distribution).get_trace()
        return {name: scale_of(site) for name, site in trace.items()}

    prior = 0.25 * LearnedEdges(labels(), rank=0)
    sites = ("intercept", "regulator", "target", "known_edges")
    assert scales(bind(prior, context("logit"))) == dict.fromkeys(sites, 0.25)


def test_coverage_counts_what_a_prior_knows():
    assert coverage(Laplace(), context()) == {}
    assert coverage(dist.Normal(0.0, 1.0), context()) == {}
    report = coverage(GeneEmbedding(embedding()), context())
    assert report["genes with an embedding"] == "7 of 8"
    assert report["regulators with an embedding"] == "3 of 3"
    assert report["features"] == 5
    table = pd.DataFrame(
        {"source": ["g1", "g4", "x"], "target": ["g0", "g5", "g1"], "label": [1, 0, 1]}
    )
    report = coverage(KnownEdges(table), context("logit"))
    assert report["pairs labelled present"] == report["pairs labelled absent"] == 1
    assert report["pairs in all"] == 24
    assert report["regulators with a label"] == "2 of 3"
    assert report["probability of an unlabelled pair"] == 0.5
    report = coverage(GraphPrior(table[["source", "target"]]), context())
    assert report["edges of the graph between the genes"] == 2
    assert report["regulators with an edge"] == "2 of 3"


def test_coverage_of_sums_and_weakened_priors_tells_their_parts():
    prior = 0.5 * (GeneEmbedding(embedding()) + GraphPrior(pairs()))
    report = coverage(prior, context())
    assert report["GeneEmbedding: features"] == 5
    assert report["GraphPrior: edges of the graph between the genes"] == 10
    assert report["weight"] == 0.5


STRANGERS = pd.DataFrame({"source": ["A", "B"], "target": ["C", "D"], "label": [1, 0]})


@pytest.mark.parametrize(
    ("prior", "site", "names"),
    [
        (KnownEdges(STRANGERS), "logit", "A -> C"),
        (KnownEdges(STRANGERS, observe=True), "logit", "A -> C"),
        (LearnedEdges(STRANGERS), "logit", "A -> C"),
        (LabelledEdges(STRANGERS), "logit", "A -> C"),
        (GraphPrior(STRANGERS), "logit", "A -> C"),
        (GraphPrior(STRANGERS), "effect", "A -> C"),
        (GraphPrior(STRANGERS, directed=False), "effect", "A -> C"),
        (Normal() + GraphPrior(STRANGERS), "effect", "A -> C"),
        (0.5 * GraphPrior(STRANGERS), "effect", "A -> C"),
        (SignedEdges(STRANGERS.assign(sign=1)), "effect", "A -> C"),
        (OtherNetwork(STRANGERS.assign(weight=1.0)), "effect", "A -> C"),
        (Mixture((Normal(), GraphPrior(STRANGERS))), "effect", "A -> C"),
        (learned_strength(GraphPrior(STRANGERS)), "effect", "A -> C"),
        (GraphSmooth(STRANGERS), "effect", "A - C"),
    ],
)
def test_table_that_covers_nothing_shows_symbols_of_both(prior, site, names):
    with pytest.raises(ValueError, match=rf"{names}.*g0, g1, g2"):
        bind(prior, context(site))


def test_embedding_that_covers_nothing_is_refused():
    with pytest.raises(ValueError, match="none of the 8 genes"):
        bind(GeneEmbedding(embedding(prefix="other")), context())


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("prior", "field", "site"),
    [
        (Laplace, "scale", "effect"),
        (MeanAbsolute, "alpha", "effect"),
        (MeanAbsolute, "rows", "effect"),
        (Normal, "scale", "effect"),
        (Horseshoe, "scale", "effect"),
        (SpikeAndSlab, "spike", "effect"),
        (SpikeAndSlab, "slab", "effect"),
        (partial(GeneEmbedding, embedding()), "scale", "effect"),
        (partial(GraphPrior, pairs()), "scale", "effect"),
        (partial(GraphPrior, pairs()), "elsewhere", "effect"),
        (partial(KnownEdges, labels()), "scale", "logit"),
        (partial(GeneSimilarity, embedding()), "scale", "effect"),
        (partial(LearnedEdges, labels()), "scale", "logit"),
        (partial(LabelledEdges, labels()), "scale", "logit"),
        (partial(LearnedEdges, labels()), "gene_scale", "logit"),
        (partial(LearnedEdges, labels()), "factor_scale", "logit"),
        (partial(LearnedEdges, labels()), "pair_scale", "logit"),
        (partial(LearnedEdges, labels()), "weight_scale", "logit"),
        (partial(LearnedEdges, labels()), "role_scale", "logit"),
        (RegularisedHorseshoe, "scale", "effect"),
        (RegularisedHorseshoe, "slab", "effect"),
        (RelaxedGate, "temperature", "logit"),
        (GeneScales, "scale", "effect"),
        (partial(SignedEdges, pairs(sign=[-1, 1])), "strength", "effect"),
        (partial(SignedEdges, pairs(sign=[-1, 1])), "scale", "effect"),
        (partial(OtherNetwork, pairs(weight=[1.0])), "size", "effect"),
        (partial(OtherNetwork, pairs(weight=[1.0])), "scale", "effect"),
        (partial(Mixture, (Normal(), Normal())), "concentration", "effect"),
        (partial(GraphSmooth, ring(0, "g")), "scale", "effect"),
        (partial(GraphSmooth, ring(0, "g")), "strength", "effect"),
    ],
)
def test_scales_must_be_positive(prior, field, site, value):
    with pytest.raises(ValueError, match=rf"expected a positive {field}, found {value}"):
        bind(prior(**{field: value}), context(site))


@pytest.mark.parametrize("value", [0.0, 1.0, -0.2, float("nan")])
@pytest.mark.parametrize(
    ("prior", "field", "site"),
    [
        (SpikeAndSlab, "probability", "effect"),
        (partial(KnownEdges, labels()), "present", "logit"),
        (partial(KnownEdges, labels()), "absent", "logit"),
        (partial(KnownEdges, labels()), "unknown", "logit"),
        (partial(GraphPrior, pairs()), "probability", "logit"),
        (RelaxedGate, "probability", "logit"),
    ],
)
def test_probabilities_must_be_inside_zero_and_one(prior, field, site, value):
    with pytest.raises(ValueError, match=rf"expected 0 < {field} < 1, found {value}"):
        bind(prior(**{field: value}), context(site))


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_weights_must_be_finite_and_not_negative(weight):
    with pytest.raises(ValueError, match="weight"):
        bind(weight * Normal(), context())


@pytest.mark.parametrize("wrap", [lambda p: p, lambda p: 0.5 * p, lambda p: Normal() + p])
@pytest.mark.parametrize("kind", [KnownEdges, LabelledEdges, LearnedEdges])
def test_known_edges_are_no_prior_of_effects(wrap, kind):
    with pytest.raises(ValueError, match="use it as the edge prior"):
        bind(wrap(kind(labels())), context())


@pytest.mark.parametrize("label", [2, -1])
def test_labels_are_present_or_absent(label):
    table = labels().assign(label=label)
    with pytest.raises(ValueError, match="label"):
        bind(KnownEdges(table), context("logit"))


def test_tables_need_their_columns():
    table = pd.DataFrame({"tf": ["g1"], "target": ["g0"]})
    with pytest.raises(ValueError, match="expected columns source and target, found tf, target"):
        bind(GraphPrior(table), context())


def test_pair_matrix_lays_out_a_table():
    table = pd.DataFrame(
        {"source": ["g4", "g1", "g0"], "target": ["g0", "g7", "g2"], "score": [2.0, 3.0, 4.0]}
    )
    expected = np.full((3, 8), np.nan)
    expected[1, 0], expected[0, 7] = 2, 3
    np.testing.assert_array_equal(pair_matrix(table, context(), "score", "table"), expected)
    present = pair_matrix(table, context(), None, "table")
    np.testing.assert_array_equal(present, np.where(np.isnan(expected), np.nan, 1))


def test_only_normal_priors_add():
    with pytest.raises(TypeError, match="Only normal priors can be added, found Laplace"):
        bind(Sum((Normal(), Laplace())), context()).distribution()


def test_priors_with_equal_settings_are_equal():
    assert Laplace(0.2) == Laplace(0.2) != Laplace(0.3)
    assert 0.5 * Normal() == Weakened(Normal(), 0.5)


def test_a_table_of_the_wrong_direction_or_case_says_so():
    own = context("logit")
    rows, genes = own.rows[:2], [gene for gene in own.genes if gene not in own.rows][:2]
    for source, target, said in (
        (genes, rows, "2 do the other way round: the source is the regulator"),
        (genes, genes, "check which genes are regulators"),
        ([g.upper() for g in rows], [g.upper() for g in genes], "4 match when case is ignored"),
    ):
        table = pd.DataFrame({"source": source, "target": target})
        with pytest.raises(ValueError, match=said):
            bind(KnownEdges(table), own)
