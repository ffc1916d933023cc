"""Priors that users write, in both engines: they are fitted, or refused by name."""

import jax.numpy as jnp
import jaxtyping
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest
from numpyro import handlers
from numpyro.distributions import constraints, transforms
from prior_table import FUNCTIONS, GENES, OWN, QUICK, ROWS, along_length, measured

from infosem_jax import grn
from infosem_jax.data import simulate
from infosem_jax.grn.priors import GeneCovariates

SIZES = simulate.SimulationConfig(genes=8, regulators=3, cells=40, mean_in_degree=1.5)
EXACT = grn.exact.Config(rows="regulators")
SVI = grn.converged(rows="regulators", hidden=4, knots=0, guide="normal", epochs=2)
# What the exact engine cannot integrate out, and says so.
SVI_ONLY = {
    "masked": "found MaskedDistribution",
    "mixture of families": "found MixtureGeneral",
    "mixture with learned shares": "found MixtureSameFamily",
}


@pytest.fixture(scope="module")
def data():
    """Simulate cells, with the names of genes that the table of priors knows."""
    made = simulate.simulate(SIZES, seed=0).data
    rest = iter(gene for gene in GENES if gene not in ROWS)
    rows = iter(ROWS)
    genes = tuple(next(rows if gene in made.regulators else rest) for gene in made.genes)
    return made._replace(genes=genes, regulators=tuple(g for g in genes if g in ROWS))


OFTEN = (*QUICK, *SVI_ONLY)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in OFTEN else pytest.mark.slow) for name in OWN]
)
def test_the_exact_engine_fits_it_or_says_what_does(data, name):
    prior = OWN[name](0, "g")
    if name in SVI_ONLY:
        with pytest.raises(ValueError, match=rf"{SVI_ONLY[name]}; fit it with the svi engine"):
            grn.fit(data, prior, config=EXACT)
        return
    fitted = grn.fit(data, prior, config=EXACT)
    assert np.isfinite(fitted.weight).all() and np.ptp(fitted.weight) > 0
    assert np.isfinite(fitted.prior_mean).all()
    learns = any(site.startswith("effect_prior/") for site in fitted.learned)
    assert learns == (name in {"covariates of genes", *FUNCTIONS})


@pytest.mark.parametrize("name", OFTEN)
def test_the_svi_engine_declares_model_and_guide_of_it(data, name):
    """They have the same sites, with values that the other gives a finite density."""
    raw = grn.raw(data, OWN[name](0, "g"), config=SVI)

    def of(function, given):
        seeded = handlers.seed(handlers.substitute(function, given), 0)
        return handlers.trace(seeded).get_trace(*raw.args)

    guided = of(raw.guide, {})
    drawn = {k: site["value"] for k, site in guided.items() if site["type"] == "sample"}
    modelled = of(raw.model, drawn)
    latent = {
        k: site
        for k, site in modelled.items()
        if site["type"] == "sample" and not site["is_observed"]
    }
    assert set(latent) == set(drawn)
    for site in latent.values():
        assert jnp.isfinite(site["fn"].log_prob(site["value"])).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_the_svi_engine_fits_it(data, name):
    fitted = grn.fit(data, OWN[name](0, "g"), config=SVI)
    for found in (fitted.weight, fitted.prior_mean, fitted.losses.train):
        assert np.isfinite(found).all()
    learned = [site for site in fitted.params if site.startswith("effect_prior/")]
    assert bool(learned) == (name in {"covariates of genes", *FUNCTIONS})


@pytest.mark.parametrize("engine", [EXACT, pytest.param(SVI, marks=pytest.mark.slow)])
def test_one_prior_written_in_four_ways_is_one_prior(data, engine):
    moved = dist.TransformedDistribution(
        dist.Normal(0.0, 0.5), [transforms.AffineTransform(0.1, 0.4)]
    )
    wide = dist.Normal(0.1, 0.2).expand((3, 8)).to_event(2)
    ways = (dist.Normal(0.1, 0.2), moved, wide, lambda context: moved)
    ours, *others = (grn.fit(data, prior, config=engine) for prior in ways)
    for other in others:
        np.testing.assert_allclose(other.weight, ours.weight, atol=1e-6)


def test_covariates_go_with_their_genes(data):
    """Rows of the table in another order are the same prior; values of other genes are not."""
    table = measured(0, "g")
    dealt = table.set_axis(np.roll(table.index, 1))
    ours, same, other = (
        grn.fit(data, GeneCovariates(along_length, each), config=EXACT)
        for each in (table, table[::-1], dealt)
    )
    np.testing.assert_allclose(same.prior_mean, ours.prior_mean, atol=1e-6)
    assert np.abs(other.prior_mean - ours.prior_mean).max() > 0.01
    assert ours.coverage["effect"] == {"covariates of genes": "length, is_zinc_finger"}


@pytest.mark.slow
def test_covariates_of_cells_are_taken_out_beside_an_own_prior(data):
    rng = np.random.default_rng(0)
    batch = pd.DataFrame({"batch": rng.integers(0, 2, len(data.cells))}, index=pd.Index(data.cells))
    prior = OWN["hierarchy"](0, "g")
    with_batch, without = (
        grn.fit(data, prior, config=EXACT, covariates=covariates) for covariates in (batch, None)
    )
    assert np.abs(with_batch.weight - without.weight).max() > 1e-3


def discrete(context):
    with numpyro.plate("genes", len(context.genes)):
        on = numpyro.sample("on", dist.Bernoulli(0.5))
    return dist.Normal(0.0, 0.1 + on)


def improper_site(context):
    scale = numpyro.sample("scale", dist.ImproperUniform(constraints.positive, (), ()))
    return dist.Normal(0.0, scale)


def of_cells(data) -> GeneCovariates:
    table = pd.DataFrame({"depth": np.ones(len(data.cells))}, index=pd.Index(data.cells))
    return GeneCovariates(along_length, table)


REFUSED = {
    "discrete site": (
        discrete,
        "Site 'on' of a prior: .* continuous .*found Bernoulli.*sum it out",
    ),
    "improper site": (improper_site, "Site 'scale' of a prior: .*found ImproperUniform"),
    "improper": (
        dist.ImproperUniform(constraints.real, (), ()),
        "with a mean.*found ImproperUniform .*such as a wide Normal",
    ),
    "Cauchy": (dist.Cauchy(0.0, 1.0), "with a mean.*found Cauchy"),
    "Student of one degree": (dist.StudentT(1.0, 0.0, 0.1), "with a mean.*found StudentT"),
    "positive": (dist.HalfNormal(1.0), "over real numbers, found HalfNormal"),
    "discrete": (dist.Bernoulli(0.5), "over real numbers, found Bernoulli"),
    "joint": (
        dist.MultivariateNormal(jnp.zeros(8), jnp.eye(8)),
        r"\[rows, genes\] = \[3, 8\], found batch shape \(\) and event shape \(8,\)",
    ),
    "turned": (dist.Normal(jnp.zeros((8, 3)), 1.0), r"\[rows, genes\] = \[3, 8\], found batch"),
    "too many axes": (
        dist.Normal(jnp.zeros((2, 3, 8)), 1.0).to_event(2),
        r"\[rows, genes\] = \[3, 8\], found batch",
    ),
    "shape in a function": (
        lambda context: dist.Normal(jnp.zeros(7), 1.0),
        r"\[rows, genes\] = \[3, 8\], found batch",
    ),
    "number": (lambda context: 3.0, "must return a NumPyro distribution, found float"),
    "no function": ("Laplace", "Expected a NumPyro distribution, a prior .*, found str"),
    "covariates of cells": (of_cells, r"covariates of cells go to grn.fit\(data, covariates="),
    "covariate of a gene twice": (
        lambda data: GeneCovariates(along_length, pd.concat([measured(0, "g")] * 2)),
        "one row for each gene, found more for g",
    ),
    "covariate in words": (
        lambda data: GeneCovariates(along_length, measured(0, "g").assign(length="long")),
        "expected finite numbers in column 'length', found long for g",
    ),
}


@pytest.mark.parametrize("engine", [EXACT, SVI], ids=["exact", "svi"])
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_a_prior_is_refused_by_name(data, name, engine, monkeypatch):
    prior, message = REFUSED[name]
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    if name.startswith("covariate"):
        prior = prior(data)
    with pytest.raises((ValueError, TypeError), match=message):
        grn.fit(data, prior, config=engine)
