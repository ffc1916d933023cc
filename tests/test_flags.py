"""Fits work where JAX computes in double precision, looks for leaks, or promotes no ranks."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import pytest
from jax import random
from numpyro.infer import Predictive

from infosem_jax import grn
from infosem_jax.data.simulate import SimulationConfig, simulate

FITS = {
    "grn": """
from infosem_jax import grn
from infosem_jax.data.simulate import SimulationConfig, simulate
data = simulate(SimulationConfig(genes=12, regulators=4), seed=0).data
grn.fit(data)
grn.fit(data, config=grn.Config(epochs=2))
""",
    "expression": """
import numpy as np
from infosem_jax import expression
x = np.random.default_rng(0).normal(5, 1, (40, 12)).astype("f4")
genes = [f"G{i}" for i in range(12)]
data = expression.make_profiles(x, genes)
for method in ("graph", "mlp"):
    own = {"method": method, "settings": {"epochs": 2}, "inputs": tuple(genes[:5])}
    fitted = expression.fit(data, config=expression.Config(**own))
""",
    "perturbation": """
import perturbed as made
from infosem_jax import perturbation
config = perturbation.Config("adapert", "unseen", {"epochs": 2})
fitted = perturbation.fit(made.values(), made.knowledge(), config=config)
perturbation.predict(fitted, [("p01",)])
""",
    "embedding": """
import numpy as np
from infosem_jax import embedding
rng = np.random.default_rng(0)
names = [f"G{i}" for i in range(30)]
studies = [
    embedding.make_study(rng.poisson(3, (60, 30)).astype("f4"), names, name=name, tissue="x")
    for name in "ab"
]
own = embedding.configured("musegnn", {"epochs": 2}).settings
config = embedding.Config("musegnn", own, embedding.GraphSettings(30, "correlation"))
embedding.fit(embedding.study_graphs(studies, config=config), config=config)
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("system", FITS)
def test_fits_work_in_double_precision(system):
    run(FITS[system], "JAX_ENABLE_X64")


LINEAR = {"decoder": "identity", "latent_prior": "standard", "absorbed": "location"}
SVI = grn.converged(hidden=8, epochs=2, guide="normal", nuts_warmup=4, nuts_draws=4)
ENGINES = (grn.exact.Config(), SVI, replace(SVI, guide="nuts", **LINEAR))


def doors(config: grn.Config | grn.exact.Config) -> None:
    """Do all that is done with a network."""
    truth = simulate(SimulationConfig(genes=12, regulators=4, cells=30), seed=0)
    data, similar = truth.data, grn.priors.GeneSimilarity(truth.embedding)
    known = grn.priors.KnownEdges(truth.known)
    fitted = grn.fit(data, similar, known, config=config)
    grn.predict(fitted, data)
    grn.knockout(fitted, data.regulators[0], data)
    grn.evaluate(grn.network(fitted), truth.known)
    # An edge prior has no part in the model of the exact engine.
    raw = fitted.raw(data, similar, *(() if isinstance(fitted, grn.exact.Fit) else (known,)))
    trained = {"guide": raw.guide, "params": raw.params, "num_samples": 2}
    Predictive(raw.model, **trained)(random.key(0))
    grn.to_arviz(fitted, data, similar, draws=2)


def test_exact_networks_promote_no_ranks():
    truth = simulate(SimulationConfig(genes=12, regulators=4, cells=30), seed=0)
    with jax.numpy_rank_promotion("raise"):
        fitted = grn.fit(truth.data, grn.priors.GeneSimilarity(truth.embedding))
        grn.knockout(fitted, truth.data.regulators[0], truth.data)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flag", "value"), [("JAX_NUMPY_RANK_PROMOTION", "raise"), ("JAX_CHECK_TRACER_LEAKS", "1")]
)
def test_the_doors_of_networks_work_with_strict_flags(flag, value):
    run("import test_flags as own; [own.doors(each) for each in own.ENGINES]", flag, value)


def run(script: str, flag: str, value: str = "1") -> None:
    """Run a script in a process of its own where JAX has a flag set."""
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {flag: value, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
