"""Every fit works where a user has JAX compute in double precision, or look for leaks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize(
    "system",
    [name if name == "grn" else pytest.param(name, marks=pytest.mark.slow) for name in FITS],
)
def test_fits_work_in_double_precision(system):
    run(system, "JAX_ENABLE_X64")


@pytest.mark.slow
def test_networks_leak_no_tracers():
    run("grn", "JAX_CHECK_TRACER_LEAKS")


def run(system: str, flag: str) -> None:
    """Run fits in a process of their own where JAX has a flag set."""
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-c", FITS[system]],
        env=os.environ | {flag: "1", "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
