import inspect
from dataclasses import replace

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest

from infosem_jax.data import simulate as simulation
from infosem_jax.data.dataset import Dataset, dataset
from infosem_jax.data.io import read_expression, read_network
from infosem_jax.grn.config import Config
from infosem_jax.grn.fitting import fit
from infosem_jax.grn.metrics import evaluate
from infosem_jax.grn.networks import edges
from infosem_jax.grn.priors import GeneEmbedding, GraphPrior, KnownEdges, Normal
from infosem_jax.grn.result import loss_table, network

TINY = Config(
    rows="regulators",
    hidden=4,
    knots=0,
    epochs=3,
    batch_size=10,
    start="zero",
    phase_networks=0,
    phase_edges=0,
    optimiser="adam",
    rate_networks=1e-2,
    rate_edges=1e-2,
)
EDGES = replace(TINY, epochs=30, rate_priors=0.1, held_out=0.2)
SIMULATED = simulation.simulate(
    simulation.SimulationConfig(genes=10, regulators=4, cells=30, mean_in_degree=2), seed=0
)


@pytest.fixture(scope="module")
def fitted():
    return fit(SIMULATED.data, Normal(0.1), config=TINY, seeds=2)


def reordered(data: Dataset, genes=None, cells=None) -> Dataset:
    """Put genes and cells in another order."""
    genes = range(len(data.genes)) if genes is None else genes
    cells = range(len(data.cells)) if cells is None else cells
    names = [data.genes[i] for i in genes]
    x = data.x[np.ix_(list(cells), list(genes))]
    return dataset(x, names, data.regulators, cells=[data.cells[i] for i in cells], name=data.name)


def identical(a, b) -> bool:
    """Compare everything that two fits found, to the bit."""
    parts = [(f.weight, f.sd, f.positive, f.probability, f.losses, f.params) for f in (a, b)]
    pairs = zip(*map(jax.tree.leaves, parts), strict=True)
    return all(x.tobytes() == y.tobytes() for x, y in pairs)


def weights_by_name(fitted) -> pd.DataFrame:
    table = pd.DataFrame(fitted.weight[0], fitted.regulators, fitted.genes)
    return table.sort_index(axis=0).sort_index(axis=1)


def test_a_fit_reports_regulators_and_genes(fitted):
    data = SIMULATED.data
    shape = (2, len(data.regulators), len(data.genes))
    for part in (fitted.weight, fitted.sd, fitted.positive, fitted.prior_mean):
        assert part.shape == shape
        assert np.isfinite(part).all()
    assert fitted.probability is None
    assert (fitted.genes, fitted.regulators) == (data.genes, data.regulators)
    assert np.abs(fitted.weight).max() > 1e-3
    own = np.asarray(fitted.regulators)[:, None] == np.asarray(fitted.genes)
    assert (fitted.weight[:, own] == 0).all()
    assert fitted.losses.train.shape == (2, 3)
    assert np.isfinite(fitted.losses.train).all()
    assert (fitted.diverged == -1).all()


def test_same_key_same_bytes(fitted):
    again = fit(SIMULATED.data, Normal(0.1), config=TINY, seeds=2)
    assert identical(again, fitted)
    other = fit(SIMULATED.data, Normal(0.1), config=TINY, seeds=2, key=1)
    assert not np.array_equal(other.weight, fitted.weight)


def test_more_seeds_leave_the_first_ones_alone(fitted):
    one = fit(SIMULATED.data, Normal(0.1), config=TINY, seeds=1)
    np.testing.assert_allclose(one.weight[0], fitted.weight[0], rtol=1e-4, atol=1e-6)
    assert np.abs(fitted.weight[0] - fitted.weight[1]).max() > 1e-3


def test_order_of_genes_and_cells_does_not_matter(fitted):
    rng = np.random.default_rng(0)
    for order in ({"genes": rng.permutation(10)}, {"cells": rng.permutation(30)}):
        data = reordered(SIMULATED.data, **order)
        other = fit(data, Normal(0.1), config=TINY, seeds=2)
        assert other.genes == data.genes
        pd.testing.assert_frame_equal(
            weights_by_name(other), weights_by_name(fitted), check_exact=True
        )


@pytest.mark.parametrize(
    ("rows", "guide"),
    [
        ("all", "point"),
        ("regulators", "normal"),
        pytest.param("regulators+2", "normal", marks=pytest.mark.slow),
    ],
)
def test_every_kind_of_rows_and_guide_reports_regulators(rows, guide):
    config = replace(TINY, rows=rows, guide=guide, epochs=1, absorbed="location")
    edge = KnownEdges(SIMULATED.known)
    result = fit(SIMULATED.data, Normal(0.1), edge, config=config)
    assert result.weight.shape == (1, 4, 10)
    assert len(result.rows) == (10 if rows == "all" else 4)
    assert ((result.probability > 0) & (result.probability < 1)).all()
    own = np.asarray(result.regulators)[:, None] == np.asarray(result.genes)
    assert ((result.sd[:, ~own] > 0) == (guide == "normal")).all()
    summary = network(result)
    agreement = summary.sign_agreement
    assert ((agreement >= 0) & (agreement <= 1)).all()
    if guide == "normal":
        assert ((agreement[~own] > 0) & (agreement[~own] < 1)).any()
    table = edges(summary)
    assert len(table) == 4 * 9
    assert np.isfinite(table.drop(columns=["source", "target", "score"]).to_numpy()).all()


@pytest.mark.parametrize("observe", [pytest.param(False, marks=pytest.mark.slow), True])
def test_known_edges_move_the_probability(observe):
    data, known = SIMULATED.data, SIMULATED.known
    prior = KnownEdges(known, observe=observe, unknown=0.3)
    result = network(fit(data, Normal(0.1), prior, config=EDGES))
    table = edges(result).merge(known, on=["source", "target"], how="left")
    mean = table.groupby(table["label"].fillna(0.5))["probability"].mean()
    assert mean[1.0] > mean[0.5] > mean[0.0]


def test_labels_that_were_not_given_never_enter():
    known = SIMULATED.known.copy()
    given, kept_back = known.iloc[::2].copy(), known.iloc[1::2].copy()
    first = fit(SIMULATED.data, Normal(0.1), KnownEdges(given), config=EDGES)
    kept_back["label"] = 1 - kept_back["label"]
    SIMULATED.known["label"] = 1 - known["label"]
    again = fit(SIMULATED.data, Normal(0.1), KnownEdges(given), config=EDGES)
    SIMULATED.known["label"] = known["label"]
    assert identical(first, again)
    strangers = pd.DataFrame({"source": ["X"], "target": ["Y"], "label": [1]})
    more = pd.concat([given, strangers], ignore_index=True)
    ignored = fit(SIMULATED.data, Normal(0.1), KnownEdges(more), config=EDGES)
    assert identical(first, ignored)
    told = pd.concat([given, kept_back], ignore_index=True)
    other = fit(SIMULATED.data, Normal(0.1), KnownEdges(told), config=EDGES)
    assert not np.array_equal(first.probability, other.probability)


def test_knowledge_enters_through_the_priors_only():
    parameters = set(inspect.signature(fit).parameters)
    assert {"data", "effect", "edge"} <= parameters
    assert not {name for name in parameters if "network" in name or "label" in name}
    held = set(SIMULATED.data._fields)
    described = {"name", "normalisation", "totals", "notes", "covariates", "lost"}
    assert held == {"x", "observed", "genes", "cells", "regulators"} | described


def test_weight_zero_makes_a_fit_deaf_to_the_prior():
    config = replace(TINY, weight_effect=0.0)
    tables = [table[["source", "target"]] for table in (SIMULATED.network, SIMULATED.known)]
    deaf = [fit(SIMULATED.data, GraphPrior(table), config=config) for table in tables]
    assert identical(*deaf)
    hearing = [fit(SIMULATED.data, GraphPrior(table), config=TINY) for table in tables]
    assert not np.array_equal(hearing[0].weight, hearing[1].weight)


def test_start_at_the_prior_is_near_its_mean():
    config = replace(TINY, start="prior", start_noise=0.0, epochs=1, rate_edges=0.0)
    result = fit(SIMULATED.data, dist.Normal(0.03, 0.1), config=config)
    own = np.asarray(result.regulators)[:, None] == np.asarray(result.genes)
    np.testing.assert_allclose(result.weight[:, ~own], 0.03, rtol=1e-5)
    np.testing.assert_array_equal(result.weight, result.prior_mean)


@pytest.mark.slow
def test_embedding_with_edges_is_fitted_and_reported():
    config = replace(TINY, epochs=2)
    effect = GeneEmbedding(SIMULATED.embedding, hidden=4, rank=2)
    known = KnownEdges(SIMULATED.known)
    result = fit(SIMULATED.data, effect, known, config=config)
    assert "effect_prior/regulator_role$params" in result.params
    # The mean of W a priori is that of the networks of embeddings times the gate's, and the fit
    # has moved on from it; without an embedding it is zero.
    own = np.asarray(result.regulators)[:, None] == np.asarray(result.genes)
    assert (np.abs(result.prior_mean[:, ~own]) > 0).all() and (result.prior_mean[:, own] == 0).all()
    assert (result.weight[:, ~own] != result.prior_mean[:, ~own]).all()
    plain = fit(SIMULATED.data, Normal(effect.scale), known, config=config)
    assert (plain.prior_mean == 0).all()
    assert np.abs(plain.weight - result.weight).max() > 1e-4
    assert result.coverage["effect"]["genes with an embedding"] == "10 of 10"
    assert result.coverage["edge"]["pairs labelled present"] > 0


@pytest.mark.slow
def test_a_prior_may_have_unknowns_of_its_own():
    def horseshoe(context):
        scale = numpyro.sample("scale", dist.HalfCauchy(0.1))
        local = numpyro.sample("local", dist.HalfCauchy(1.0).expand(context.shape).to_event(2))
        return dist.Normal(0.0, scale * local + 1e-3)

    result = fit(SIMULATED.data, horseshoe, config=replace(TINY, guide="normal"))
    assert result.params["effect_prior/local_loc"].shape == (1, 4, 10)
    # Scales are learned: each pair has its own, and all have moved with their effects.
    assert len(np.unique(result.params["effect_prior/local_loc"])) == 40
    own = np.asarray(result.regulators)[:, None] == np.asarray(result.genes)
    assert (result.sd[:, ~own] > 0).all() and (result.prior_mean == 0).all()
    assert len(np.unique(np.abs(result.weight[:, ~own]))) == 36


def test_network_leaves_diverged_seeds_out(fitted):
    half = fitted._replace(
        diverged=np.array([-1, 7]), weight=np.stack([fitted.weight[0], np.full((4, 10), np.nan)])
    )
    np.testing.assert_array_equal(network(half).weight, fitted.weight[0])
    with pytest.raises(FloatingPointError, match="every seed diverged"):
        network(fitted._replace(diverged=np.array([3, 7])))


def test_network_adds_spread_within_and_between_seeds(fitted):
    spread = fitted._replace(sd=np.full(fitted.sd.shape, 0.3, np.float32))
    expected = np.sqrt(0.09 + fitted.weight.var(0))
    np.testing.assert_allclose(network(spread).sd, expected, rtol=1e-5)
    np.testing.assert_allclose(network(fitted).weight, fitted.weight.mean(0), rtol=1e-6)


def test_when_every_seed_diverges_the_fit_says_where():
    config = replace(TINY, rate_networks=1e30, rate_edges=1e30)
    with pytest.raises(FloatingPointError, match=r"2 of 2 seeds diverged \(seed 0 at step \d+"):
        fit(SIMULATED.data, Normal(0.1), config=config, seeds=2)


def test_loss_table_is_long(fitted):
    table = loss_table(fitted)
    assert list(table) == ["seed", "epoch", "loss", "held_out"]
    assert len(table) == 6
    last = table[(table.seed == 1) & (table.epoch == 3)]
    assert last["loss"].item() == fitted.losses.train[1, 2]


def test_seeds_must_be_positive():
    with pytest.raises(ValueError, match="at least one seed, found 0"):
        fit(SIMULATED.data, config=TINY, seeds=0)


@pytest.mark.parametrize(
    "settings", [{"held_out": 0.99}, {"held_out": 0.01, "patience": 2}], ids=["no train", "no test"]
)
def test_shares_that_leave_no_cells_are_refused(settings):
    with pytest.raises(ValueError, match="held_out"):
        fit(SIMULATED.data, Normal(0.1), config=replace(TINY, **settings))


@pytest.mark.slow
def test_an_easy_network_is_recovered():
    settings = simulation.SimulationConfig(
        genes=30, regulators=6, cells=300, mean_in_degree=2, link="linear", dropout=0.0, shared=0.0
    )
    easy = simulation.simulate(settings, seed=0)
    config = replace(
        TINY, hidden=16, knots=64, epochs=150, batch_size=100, rate_networks=3e-3, rate_edges=3e-3
    )
    result = fit(easy.data, Normal(0.1), config=config)
    metrics = evaluate(edges(network(result)), easy.network)
    assert result.losses.train[0, -1] < result.losses.train[0, 0]
    assert metrics["auprc_ratio"] > 2
    assert metrics["auroc"] > 0.75


@pytest.mark.slow
def test_a_fit_runs_on_real_data(real_data):
    folder = real_data / "beeline" / "hESC" / "TFs+500"
    known = read_network(folder / "network_specific.csv.gz")
    data = read_expression(folder, regulators=tuple(known["source"].unique()))
    config = replace(TINY, hidden=16, knots=64, epochs=2, batch_size=256)
    table = edges(network(fit(data, config=config)), top=100)
    assert len(table) == 100
    assert np.isfinite(table["weight"]).all()
    assert table["weight"].abs().min() > 0
