"""Exact fits through their door: priors, scores, coverage, and hyper-parameters."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest
from compilations import compilations
from jaxtyping import TypeCheckError
from numpyro.infer import MCMC, NUTS, Predictive
from scipy.stats import spearmanr

from infosem_jax.data.dataset import dataset, normalise
from infosem_jax.data.io import Embedding, read_expression
from infosem_jax.data.simulate import SimulationConfig, simulate
from infosem_jax.data.sparse_simulation import write_sparse_simulation
from infosem_jax.data.stream import open_stream
from infosem_jax.grn import exact, priors
from infosem_jax.grn.exact import deviations, score, statistics
from infosem_jax.grn.exact import posterior as closed
from infosem_jax.grn.exact.fitting import decomposed
from infosem_jax.grn.exact.grid import fit_many
from infosem_jax.grn.exact.hyper import scale_of
from infosem_jax.grn.exact.worth import TYPICAL, worth
from infosem_jax.grn.metrics import score_matrix
from infosem_jax.grn.networks import edges
from infosem_jax.grn.priors.binding import Priors

SMALL = SimulationConfig(genes=24, regulators=6, cells=80, link="linear", dropout=0)


@pytest.fixture(scope="module")
def simulation():
    return simulate(SMALL, 0)


def network_prior(simulation, noise, seed=0):
    """Vectors whose similarity tells edges: those of the network's symmetric adjacency."""
    rng = np.random.default_rng(seed)
    linked = np.abs(simulation.effect) > 0
    linked = (linked | linked.T) + noise * rng.normal(size=linked.shape)
    mean = jnp.asarray((linked + linked.T) / 2, jnp.float32)
    return mean - mean.mean()


def quality(fitted, simulation):
    at = {gene: i for i, gene in enumerate(simulation.data.genes)}
    rows = [at[name] for name in fitted.regulators]
    truth = simulation.effect[rows] != 0
    candidate = np.asarray(rows)[:, None] != np.arange(truth.shape[1])
    return score_matrix(fitted.score, truth, candidate)["auprc"]


def known(simulation):
    return simulation.network.assign(label=1)[["source", "target", "label"]]


EFFECTS = {
    "normal": lambda s: priors.Normal(),
    "distribution": lambda s: dist.Normal(0.0, 0.1),
    "similarity": lambda s: priors.GeneSimilarity(s.embedding),
    "embedding": lambda s: priors.GeneEmbedding(s.embedding, hidden=4, rank=2),
    "graph": lambda s: priors.GraphPrior(s.network[["source", "target"]]),
    "signed graph": lambda s: priors.GraphPrior(s.network[["source", "target", "sign"]]),
    "signed": lambda s: priors.SignedEdges(s.network),
    "other": lambda s: priors.OtherNetwork(s.network),
    "scales": lambda s: priors.GeneScales(),
    "mixture": lambda s: priors.Mixture(
        (priors.GeneSimilarity(s.embedding), priors.SignedEdges(s.network))
    ),
    "sum": lambda s: priors.GeneSimilarity(s.embedding) + priors.SignedEdges(s.network),
    "weakened": lambda s: 0.5 * priors.GeneSimilarity(s.embedding),
    "smooth": lambda s: priors.GraphSmooth(s.network),
    "learned": lambda s: priors.learned_strength(priors.GeneSimilarity(s.embedding)),
    "laplace": lambda s: priors.Laplace(),
    "horseshoe": lambda s: priors.Horseshoe(),
    "regularised": lambda s: priors.RegularisedHorseshoe(),
    "spike": lambda s: priors.SpikeAndSlab(),
}


def student(context):
    return dist.StudentT(3.0, 0.0, 0.1).expand(context.shape).to_event(2)


QUICK = exact.Config(steps=5, sweeps=2, draws=5, warmup=5)


@pytest.mark.parametrize("name", EFFECTS)
def test_takes_priors_of_effects_as_they_are(simulation, name):
    fitted = exact.fit(simulation.data, EFFECTS[name](simulation), config=QUICK)
    for values in (fitted.score, fitted.weight, fitted.sd, fitted.positive, fitted.log_evidence):
        assert np.isfinite(values).all()
    own = np.asarray(fitted.regulators)[:, None] == np.asarray(fitted.genes)
    assert (fitted.weight[own] == 0).all()
    assert (fitted.sd[~own] > 0).all()
    assert ((fitted.probability >= 0) & (fitted.probability <= 1)).all()


@pytest.mark.parametrize(
    "prior",
    [
        dist.Laplace(0.1, 0.1),
        student,
    ],
)
def test_refuses_priors_without_closed_form(simulation, prior):
    with pytest.raises(ValueError, match="svi engine"):
        exact.fit(simulation.data, prior, config=QUICK)


@pytest.mark.parametrize("over", ["regulators", "both"])
def test_refuses_graphs_that_tie_effects_of_one_target_together(simulation, over):
    with pytest.raises(ValueError, match="svi engine"):
        exact.fit(simulation.data, priors.GraphSmooth(simulation.network, over=over), config=QUICK)


@pytest.mark.parametrize(
    "edge",
    [
        lambda table: priors.KnownEdges(table, unknown=0.1),
        lambda table: priors.KnownEdges(table, unknown=0.1, observe=True),
        lambda table: priors.GraphPrior(table[["source", "target"]]),
        lambda table: priors.LearnedEdges(table.drop(columns="label")),
    ],
)
def test_known_edges_raise_the_odds_of_their_pairs(simulation, edge):
    table = known(simulation).iloc[::2]
    plain = exact.fit(simulation.data, config=QUICK)
    fitted = exact.fit(simulation.data, None, edge(table), config=QUICK)
    gain = pd.DataFrame(fitted.score - plain.score, fitted.regulators, fitted.genes).stack()
    named = gain.index.isin(list(zip(table["source"], table["target"], strict=True)))
    spread = gain[~named].std() * np.sqrt(1 / named.sum() + 1 / (~named).sum())
    assert gain[named].mean() > gain[~named].mean() + 4 * spread


def ingredients(simulation, mean):
    """Quality of what a fit is made of: the prior alone, and partial correlation by size."""
    data = simulation.data
    z = normalise(data).x.astype(np.float64)
    precision = np.linalg.inv(0.05 * z.T @ z / len(z) + 0.95 * np.eye(z.shape[1]))
    rows = [data.genes.index(name) for name in data.regulators]
    size = np.sqrt(np.diag(precision))
    partial_correlation = np.abs(precision / size[:, None] / size)[rows]
    at = exact.fit(data, config=QUICK)
    ranked = (np.asarray(mean)[rows], partial_correlation)
    return [quality(at._replace(score=each), simulation) for each in ranked]


def test_knowledge_of_edges_helps_and_that_of_other_genes_does_not_hurt():
    config = SimulationConfig(genes=120, regulators=30, cells=150)
    simulation = simulate(config, 1)
    mean = network_prior(simulation, 0.3)
    order = np.random.default_rng(0).permutation(len(mean))
    none = exact.fit(simulation.data)
    told = exact.fit(simulation.data, dist.Normal(mean, 1.0))
    dealt = exact.fit(simulation.data, dist.Normal(mean[order][:, order], 1.0))
    alone, ridge = ingredients(simulation, mean)
    assert quality(none, simulation) > 0.95 * ridge
    assert quality(told, simulation) > max(alone, quality(none, simulation))
    assert quality(dealt, simulation) > 0.95 * quality(none, simulation)
    assert told.learned["trust"] > 0.95 and dealt.learned["trust"] < 0.5
    assert told.log_evidence.sum() > none.log_evidence.sum() > dealt.log_evidence.sum() - 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("noise", "cells"), [(0.5, 1000), (1.0, 1000), (3.0, 1000), (0.5, 60), (1.0, 60)]
)
def test_a_posterior_does_not_lose_to_what_it_is_made_of(noise, cells):
    ratios, shuffled = [], []
    for seed in range(4):
        simulation = simulate(SimulationConfig(genes=100, regulators=25, cells=cells), seed)
        mean = network_prior(simulation, noise)
        order = np.random.default_rng(seed).permutation(len(mean))
        none = quality(exact.fit(simulation.data), simulation)
        alone, ridge = ingredients(simulation, mean)
        told = exact.fit(simulation.data, dist.Normal(mean, 1.0))
        dealt = exact.fit(simulation.data, dist.Normal(mean[order][:, order], 1.0))
        ratios.append(quality(told, simulation) / max(alone, none, ridge))
        shuffled.append(quality(dealt, simulation) / none)
    assert np.mean(ratios) > 0.97
    assert np.mean(shuffled) > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_vectors_that_follow_from_expression_but_not_from_edges_do_not_drown_it(seed):
    simulation = simulate(SimulationConfig(), seed)
    none = exact.fit(simulation.data)
    told = exact.fit(simulation.data, priors.GeneSimilarity(simulation.embedding))
    assert quality(told, simulation) > 0.95 * quality(none, simulation)


def test_edges_are_shrunk_as_far_as_the_evidence_asks():
    clear = SimulationConfig(genes=120, regulators=20, cells=600, link="linear", dropout=0.1)
    simulation = simulate(clear, 0)
    config = exact.Config(rows="regulators", steps=1)
    found, much = (
        exact.fit(simulation.data, config=replace(config, shrinkage=share))
        for share in (None, 0.93)
    )
    assert quality(found, simulation) > 1.1 * quality(much, simulation)
    # Noise tells no gene from another: what is left of partial correlations is correlations.
    x = np.random.default_rng(0).permuted(simulation.data.x, axis=0)
    noise = simulation.data._replace(x=x, observed=x > 0)
    one, other, least = (
        exact.fit(noise, config=replace(config, shrinkage=share)).score.ravel()
        for share in (None, 0.999, 0.3)
    )
    assert spearmanr(one, other).statistic > 0.99 > spearmanr(least, other).statistic


def test_edges_of_ten_cells_and_twenty_thousand_genes_are_scored():
    x = np.random.default_rng(0).gamma(9.0, size=(10, 20000))
    genes = [f"g{i}" for i in range(x.shape[1])]
    fitted = exact.fit(dataset(x, genes, genes[:3]), config=exact.Config(steps=1))
    assert np.isfinite(fitted.score).all() and 0 < fitted.learned["reliability"] < 1


@pytest.mark.parametrize("regulators", [1, 2])
@pytest.mark.parametrize("told", [False, True])
def test_few_pairs_are_scored(regulators, told):
    x, genes = np.random.default_rng(1).gamma(2.0, size=(50, 2)), ("a", "b")
    known = pd.DataFrame({"source": ["a"], "target": ["b"]})
    edge = priors.KnownEdges(known) if told else None
    fitted = exact.fit(dataset(x, genes, genes[:regulators]), edge=edge)
    assert np.isfinite(fitted.score).all()
    assert 0 < fitted.probability[0, 1] < (0.95 if told else 0.3)


def planted(sign=False, strength=0.5, seed=0):
    """What the expression says of pairs whose odds follow from what a prior says of them."""
    rng = np.random.default_rng(seed)
    told = np.clip(rng.normal(size=(100, 300)), -2, 2).astype(np.float32)
    up = 0.05 * 0.7 * np.exp(strength * told)
    down = 0.05 * 0.3 * np.exp((-strength if sign else strength) * told)
    draw = rng.random(told.shape) * (1 + up + down)
    group = np.where(draw < up, 1, np.where(draw < up + down, -1, 0))
    deviation = jnp.asarray(deviations.SHIFT * group + rng.normal(size=told.shape), jnp.float32)
    pairs = jnp.ones(told.shape, bool)
    edges, activating = deviations.groups(deviation, pairs, 0.7, deviations.SHIFT)
    found = deviations.Evidence(
        deviation, jnp.ones(()), edges, activating, jnp.ones(deviation.shape)
    )
    return found, jnp.asarray(told), pairs, group


def test_groups_are_those_that_were_planted():
    found, _, pairs, group = planted()
    n = (group != 0).sum()
    # Groups overlap: about a third of their pairs is told apart.
    error = 1 / np.sqrt(n / 3)
    assert float(found.edges) == pytest.approx(n / group.size, rel=4 * error)
    assert float(found.activating) == pytest.approx((group > 0).sum() / n, abs=4 * error)
    # Without knowing, pairs that are told apart least are taken for either.
    _, unknown = deviations.groups(found.deviation, pairs, 0.5, deviations.SHIFT)
    assert 0.5 < float(unknown) < float(found.activating)


@pytest.mark.parametrize("sign", [False, True])
def test_a_strength_is_learned_from_pairs_that_stand_out_and_not_from_those_of_other_genes(sign):
    found, told, pairs, _ = planted(sign)
    borne = score.strength(found, told, pairs, sign=sign)
    value = float(borne.value)
    if sign:
        value *= deviations.SHIFT / float(found.reliability) / (1 - value / score.MOST)
    assert 0.3 < value < 0.8 and float(borne.trust) > 0.99
    rng = np.random.default_rng(1)
    dealt = [score.strength(found, told[rng.permutation(100)], pairs, sign=sign) for _ in range(10)]
    assert np.mean([float(each.trust) for each in dealt]) < 0.5
    assert np.mean([float(each.value) for each in dealt]) < 0.1 * float(borne.value)
    opposed = score.strength(found, -told, pairs, sign=sign)
    assert float(opposed.value) == 0


@pytest.mark.parametrize("slope", [1.0, 2.0, 3.0])
def test_a_prior_shows_what_the_expression_is_worth(slope):
    rng = np.random.default_rng(3)
    factor = np.linspace(-1.0, 6.0, 200)
    count = 1 + 200_000 * np.exp(-((factor + 0.5) ** 2) / 0.5)
    p = 1 / (1 + np.exp(4.5 - slope * factor))
    mean = 0.8 * (p - (count * p).sum() / count.sum())

    def found(mean, excess=1.0):
        said = count * mean + np.sqrt(count) * rng.normal(size=len(factor))
        return float(worth(*map(jnp.asarray, (factor, count, said, excess)), 100))

    assert found(mean) == pytest.approx(slope, rel=0.25)
    # Where a prior says nothing, or is as good as nothing, what is typical holds.
    assert found(0 * mean) == pytest.approx(TYPICAL, rel=0.3)
    assert found(mean, 1e6) == pytest.approx(TYPICAL, rel=0.05)


def test_little_knowledge_does_not_drown_clear_cells():
    simulation = simulate(SimulationConfig(cells=500), 0)
    mean = network_prior(simulation, 2.0)
    told = exact.fit(simulation.data, dist.Normal(mean, 1.0))
    assert quality(told, simulation) > quality(exact.fit(simulation.data), simulation)
    assert told.learned["trust"] > 0.95 and told.learned["worth"] > 1


def test_intervals_hold_the_true_effects():
    rng = np.random.default_rng(0)
    cells, sources, targets = 200, 20, 60
    x = rng.normal(size=(cells, sources))
    truth = rng.normal(0, (0.4 / 0.6 / sources) ** 0.5, (sources, targets))
    y = x @ truth + rng.normal(size=(cells, targets))
    names = [f"R{i:02}" for i in range(sources)] + [f"T{i:02}" for i in range(targets)]
    values = np.concatenate([x, y], 1)
    data = dataset(values - values.min(), names, names[:sources])
    data = data._replace(x=(values - values.mean(0)).astype(np.float32), normalisation="zscore")
    fitted = exact.fit(data, config=exact.Config(rows="regulators"))
    weight, sd = fitted.weight[:, sources:], fitted.sd[:, sources:]
    covered = (np.abs(weight - truth) < 1.645 * sd).mean()
    # Effects of a target share its noise, so that targets are what is independent.
    assert covered == pytest.approx(0.9, abs=4 * np.sqrt(0.09 / targets / sources * 2))
    assert fitted.learned["r2"] == pytest.approx(0.4, abs=0.08)


def test_cells_of_one_state_that_err_together_are_worth_less():
    rng = np.random.default_rng(0)
    states, regulators, targets = 12, 10, 30
    centres = rng.normal(size=(states, regulators))
    noise = rng.normal(size=(states, targets))

    def measured(cells, shared):
        x, own = rng.normal(size=(cells, regulators)), rng.normal(size=(cells, targets))
        if shared:
            # Regulators tell the states apart, and what is not theirs differs between states.
            state = rng.integers(0, states, cells)
            x, own = centres[state] + 0.3 * x, noise[state] + 0.3 * own
        y = 0.3 * x @ np.ones((regulators, targets)) / regulators
        values = np.concatenate([x, y + own], 1)
        names = [f"G{i:02}" for i in range(regulators + targets)]
        return dataset((values - values.min()).astype(np.float32), names, names[:regulators])

    config = exact.Config(rows="regulators", cells="effective", steps=20)
    alone, together = (exact.fit(measured(600, shared), config=config) for shared in (False, True))
    assert alone.learned["cells"] > 0.8 * 600
    assert together.learned["cells"] < 0.3 * 600
    plain = exact.fit(measured(600, False), config=exact.Config(rows="regulators", steps=20))
    assert "cells" not in plain.learned


def test_scores_do_not_depend_on_the_order_of_genes_or_cells(simulation):
    data, rng = simulation.data, np.random.default_rng(0)
    order, cells = rng.permutation(len(data.genes)), rng.permutation(len(data.cells))
    regulators = set(data.regulators)
    genes = tuple(np.asarray(data.genes)[order].tolist())
    moved = dataset(data.x[cells][:, order], genes, [g for g in genes if g in regulators])
    prior = priors.GeneSimilarity(simulation.embedding)
    one, other = (edges(exact.network(exact.fit(each, prior))) for each in (data, moved))
    both = one.merge(other, on=["source", "target"])
    for name in ("score", "weight", "sd", "sign_agreement"):
        np.testing.assert_allclose(both[f"{name}_x"], both[f"{name}_y"], atol=2e-3)


def test_edges_are_listed_by_score(simulation):
    fitted = exact.fit(simulation.data, config=QUICK)
    table = edges(exact.network(fitted))
    names = "source,target,score,weight,sd,sign_agreement,probability"
    assert ",".join(table.columns) == names
    assert table["score"].is_monotonic_decreasing
    assert len(table) == 6 * 23
    assert len(edges(exact.network(fitted), top=5)) == 5
    assert (table["sign_agreement"] >= 0.5).all()
    assert exact.network(fitted).regulators == simulation.data.regulators


def test_sums_serve_a_second_network(simulation):
    config = exact.Config(rows="regulators", steps=5)
    first = exact.fit(simulation.data, config=config)
    data = simulation.data
    rows = np.array([data.genes.index(name) for name in data.regulators])
    basis = exact.spectrum(exact.moments(normalise(data).x, rows, block=32), rows)
    again = exact.fit(data, config=config, basis=basis)
    np.testing.assert_allclose(first.weight, again.weight, atol=1e-5)


@pytest.mark.parametrize("streamed", [pytest.param(False, marks=pytest.mark.slow), True])
def test_sums_are_kept_for_other_networks_of_the_same_cells(tmp_path, monkeypatch, streamed):
    scale, config = "log1p_cpm_zscore", exact.Config(rows="regulators", sums=str(tmp_path / "sums"))
    config = replace(config, normalisation=scale, steps=5)

    def read(seed, regulators=None):
        file = tmp_path / f"{seed}.h5ad"
        if not file.exists():
            write_sparse_simulation(file, genes=40, regulators=8, cells=70, density=0.3, seed=seed)
        if streamed:
            return open_stream(file, normalisation=scale, regulators=regulators)
        return read_expression(file, regulators=regulators)

    first = exact.fit(read(0), config=config)
    fewer = exact.fit(read(0, first.regulators[1:5]), config=replace(config, sums=None))
    calls = []

    def counted(*arguments, **settings):
        calls.append(arguments)
        return statistics.moments(*arguments, **settings)

    monkeypatch.setattr("infosem_jax.grn.exact.fitting.moments", counted)
    again = exact.fit(read(0, first.regulators[1:5]), priors.Normal(), config=config)
    assert not calls
    np.testing.assert_allclose(again.weight, fewer.weight, atol=1e-5)
    exact.fit(read(1), config=config)
    exact.fit(read(0, read(0).genes[:12]), config=config)
    assert len(calls) == 2 and len(list((tmp_path / "sums").iterdir())) == 2
    for file in (tmp_path / "sums").iterdir():
        file.write_bytes(b"PK")
    with pytest.raises(ValueError, match="damaged"):
        exact.fit(read(1), config=config)


@pytest.mark.parametrize("told", [False, True])
def test_fits_of_one_shape_share_programs(simulation, told):
    def fit(seed):
        other = simulate(SMALL, seed)
        return exact.fit(other.data, priors.GeneSimilarity(other.embedding) if told else None)

    fit(0)
    with compilations() as names:
        fit(1)
    assert not names


def test_groups_of_few_cells_share_programs():
    sizes = {"genes": 90, "regulators": 8}
    for seed, cells in ((0, 40), (1, 23), (2, 71)):
        data = simulate(SimulationConfig(**sizes, cells=cells), seed).data
        with compilations() as names:
            exact.fit(data)
    # Copies of the cells to the device are all that is left.
    assert set(names) <= {"convert_element_type"}


def test_all_genes_act_where_they_or_the_cells_are_few(monkeypatch):
    simulation = simulate(SimulationConfig(genes=20, regulators=4, cells=12), 0)
    monkeypatch.setattr("infosem_jax.grn.exact.fitting.FEW", 12)
    everything = exact.fit(simulation.data, config=QUICK)
    assert everything.rows == simulation.data.genes and everything.config.rows == "all"
    monkeypatch.setattr("infosem_jax.grn.exact.fitting.FEW", 11)
    some = exact.fit(simulation.data, config=QUICK)
    assert some.rows == simulation.data.regulators and some.config.rows == "regulators"
    monkeypatch.setattr("infosem_jax.grn.exact.fitting.MOST", 11)
    with pytest.raises(ValueError, match='20 genes and 12 cells; set rows = "regulators"'):
        exact.fit(simulation.data, config=exact.Config(rows="all"))
    exact.fit(simulation.data, config=QUICK)


@pytest.mark.parametrize(
    ("name", "how", "stays"),
    [
        ("scales", "map", False),
        pytest.param("scales", "nuts", True, marks=pytest.mark.slow),
        ("embedding", "map", False),
    ],
)
def test_says_which_parameters_of_a_prior_stay_where_they_are(simulation, caplog, name, how, stays):
    config = replace(QUICK, hyper=how)
    exact.fit(simulation.data, EFFECTS[name](simulation), config=config)
    assert ("leaves those parameters where their own prior has them" in caplog.text) == stays


def unequal(seed, cells=60):
    """Cells in which half of the regulators act strongly and half hardly, and their effects."""
    rng = np.random.default_rng(seed)
    size = np.repeat([0.4, 0.02], 5)
    effect = size[:, None] * rng.normal(size=(10, 30))
    acting = rng.normal(size=(cells, 10))
    x = np.hstack([acting, acting @ effect + rng.normal(size=(cells, 30))])
    sd = x.std(0)
    genes = [f"g{i:02}" for i in range(40)]
    data = dataset((x - x.min(0)) / sd, genes, genes[:10])
    return data, effect / sd[10:] * sd[:10, None]


def test_scales_of_regulators_and_targets_are_learned_from_the_evidence():
    data, effect = unequal(0)
    config = exact.Config(rows="regulators", sweeps=10)
    one = exact.fit(data, config=config)
    each = exact.fit(data, priors.GeneScales(), config=config)
    assert each.log_evidence.sum() > one.log_evidence.sum() + 10
    size = each.learned["effect_prior/regulator_size"]
    assert size[:5].min() > size[5:].max()
    errors = [((fitted.weight[:, 10:] - effect) ** 2).mean() for fitted in (each, one)]
    assert errors[0] < 0.95 * errors[1]
    # What cells tell of scales is no knowledge beside them, and edges are ranked without it.
    np.testing.assert_allclose(each.score, one.score, atol=1e-4)
    assert "trust_in_scale" not in each.learned


@pytest.mark.slow
def test_what_is_known_of_scales_still_tells_of_edges_where_others_are_learned():
    data, effect = unequal(0)
    config = exact.Config(rows="regulators", sweeps=10)
    source, target = np.nonzero(np.abs(effect) > 0.3)
    graph = pd.DataFrame(
        {"source": np.take(data.genes, source), "target": np.take(data.genes[10:], target)}
    )
    both = exact.fit(data, priors.GraphPrior(graph) + priors.GeneScales(), config=config)
    assert both.learned["trust_in_scale"] > 0.9


@pytest.mark.slow
def test_learned_scales_are_at_a_maximum_of_evidence_and_prior():
    data, _ = unequal(1)
    rows, spread = np.arange(10), 1.0
    config = exact.Config(rows="regulators", sweeps=40, r2=0.3)
    prior = priors.GeneScales(regulator_spread=spread, target_spread=0.0)
    found = exact.fit(data, prior, config=config).learned["effect_prior/regulator_size"]
    basis = decomposed(normalise(data), rows)

    def density(size):
        pattern = np.broadcast_to((1 + np.exp(size))[:, None], (10, 40))
        t = float(scale_of(0.3, 10)) * pattern / np.sqrt((pattern**2).mean())
        solved = closed.posterior_by_pair(basis, jnp.asarray(t), jnp.zeros(t.shape))
        return float(solved.log_evidence.sum()) - (size**2).sum() / (2 * spread**2)

    best = density(found)
    for i in rows:
        for step in (-0.5, 0.5):
            assert density(found + step * (rows == i)) < best


def test_regulators_act_where_scales_of_every_pair_would_take_long(simulation, monkeypatch, caplog):
    prior = priors.GraphPrior(simulation.network[["source", "target"]])
    assert exact.fit(simulation.data, prior, config=QUICK).rows == simulation.data.genes
    monkeypatch.setattr("infosem_jax.grn.exact.fitting.LONG", 1.0)
    caplog.set_level("INFO", "infosem_jax")
    each = {"graph": Priors(prior), "none": Priors(priors.Normal()), "again": Priors(prior)}
    fits = {job.prior: found for job, found in fit_many(
        {"data": simulation.data}, each, {"": QUICK})}  # fmt: skip
    assert fits["graph"].rows == simulation.data.regulators
    assert "the 6 regulators act" in caplog.text
    assert fits["none"].rows == simulation.data.genes
    alone = exact.fit(simulation.data, prior, config=exact.Config(rows="regulators", steps=5))
    for name in ("graph", "again"):
        np.testing.assert_allclose(fits[name].score, alone.score, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("cells", "rows"), [(70, "all"), (70, "regulators"), (30, "all")])
def test_streams_are_fitted_as_the_cells_in_memory(tmp_path, cells, rows):
    file, scale = tmp_path / "cells.h5ad", "log1p_cpm_zscore"
    write_sparse_simulation(file, genes=40, regulators=8, cells=cells, density=0.3, seed=0)
    data, stream = read_expression(file), open_stream(file, normalisation=scale)
    config = exact.Config(normalisation=scale, rows=rows)
    told: list[str] = []
    one = exact.fit(data, config=config, on_chunk=lambda now: told.append(now.text))
    assert told[0].endswith("cells, 0%" if cells > 30 else "decomposing the cells")
    other = exact.fit(stream, config=config)
    assert one.genes == other.genes and one.regulators == other.regulators
    for name in ("score", "weight", "sd", "log_evidence"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=1e-3)
    x, acting = normalise(data, scale).x, np.arange(0, 40, 3)
    np.testing.assert_allclose(statistics.in_memory(stream, block=9), x, atol=1e-5)
    sums = statistics.moments(x, acting), statistics.moments(stream, acting, block=16)
    for a, b in zip(*sums, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3)


def test_priors_of_a_grid_are_checked_before_the_first_fit(simulation):
    def student(context):
        return dist.StudentT(3.0, 0.0, 1.0).expand(context.shape).to_event(2)

    with pytest.raises(ValueError, match="svi engine"):
        fit_many({"a": simulation.data}, {"a": Priors(), "b": Priors(student)}, {"": QUICK})


@pytest.mark.parametrize(
    "setting",
    [
        {"rows": "some"},
        {"r2": 1.0},
        {"edges": 0.0},
        {"steps": 0},
        {"hyper": "svi"},
        {"cells": "few"},
    ],
)
def test_settings_that_cannot_be_are_refused(setting):
    # Choices are annotated, so that tests see the check of annotations first.
    with pytest.raises((ValueError, TypeCheckError), match=next(iter(setting))):
        exact.Config(**setting)


@pytest.mark.slow
def test_the_collapsed_model_is_the_full_one_with_effects_integrated_out():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 4)).astype(np.float32)
    x[:, 3] += 0.8 * x[:, 0] - 0.5 * x[:, 1]
    rows = np.array([0, 1, 2])
    basis = exact.spectrum(exact.moments(x, rows), rows)

    def full():
        r2 = numpyro.sample("r2", dist.Beta(1.0, 1.0))
        scale = jnp.sqrt(r2 / (1 - r2) / 3)
        variance = numpyro.sample("variance", dist.InverseGamma(0.5, 0.5).expand([4]).to_event(1))
        unit = numpyro.sample("unit", dist.Normal(0, 1).expand([3, 4]).to_event(2))
        effect = numpyro.deterministic(
            "effect", jnp.where(jnp.eye(3, 4), 0.0, unit * scale * jnp.sqrt(variance))
        )
        noise = dist.Normal(x[:, rows] @ effect, jnp.sqrt(variance)).to_event(2)
        numpyro.sample("x", noise, obs=x)

    def run(model, *arguments):
        chain = MCMC(NUTS(model), num_warmup=500, num_samples=3000, progress_bar=False)
        chain.run(jax.random.key(0), *arguments)
        return chain.get_samples()

    want, got = run(full), run(exact.collapsed, basis)
    assert float(got["r2"].mean()) == pytest.approx(float(want["r2"].mean()), abs=0.03)
    assert float(got["r2"].std()) == pytest.approx(float(want["r2"].std()), abs=0.03)
    drawn = Predictive(partial(exact.collapsed, effects=True), got)(jax.random.key(1), basis)
    there = ~np.eye(3, 4, dtype=bool)
    for moment in (np.mean, np.std):
        one, other = moment(want["effect"], 0), moment(drawn["effect"], 0)
        np.testing.assert_allclose(one[there], other[there], atol=0.02)


@pytest.mark.slow
def test_nuts_averages_over_hyper_parameters(simulation):
    config = exact.Config(hyper="nuts", warmup=50, draws=40)
    drawn = exact.fit(simulation.data, config=config)
    point = exact.fit(simulation.data)
    assert drawn.learned["r2"].shape == (40,)
    assert np.corrcoef(drawn.weight.ravel(), point.weight.ravel())[0, 1] > 0.98
    assert drawn.sd.mean() > 0.9 * point.sd.mean()


def test_embeddings_without_the_genes_are_refused(simulation):
    other = Embedding(("no", "such"), np.ones((2, 3), np.float32))
    with pytest.raises(ValueError):
        exact.fit(simulation.data, priors.GeneSimilarity(other), config=QUICK)


def test_rare_genes_that_share_cells_by_chance_are_not_the_strongest_edges():
    rng = np.random.default_rng(0)
    x = rng.gamma(4.0, size=(400, 60))
    x[:, 1:6] += 0.35 * x[:, :1]
    x[:, 10:] = 0
    for gene in range(10, 58):
        x[rng.choice(400, 6, replace=False), gene] = 1 + rng.random(6)
    x[:24, 58:] = 1 + rng.random((24, 2))
    x[20:22, 58], x[22:24, 59] = 0, 0
    fitted = exact.fit(dataset(np.log1p(x), [f"G{i:02}" for i in range(60)]))
    top = edges(exact.network(fitted), top=12)
    known = {*fitted.genes[:6], "G58", "G59"}
    assert {*top["source"], *top["target"]} <= known
    assert "G58" in set(top["source"])
    assert fitted.probability[10:58, 10:58].max() < 0.5
