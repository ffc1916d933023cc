"""The model as plain NumPyro: handlers, predictive draws, own training and guide, NUTS, ArviZ.

    python examples/numpyro_user.py

`grn.raw` returns model and guide as functions, with the data to call them with; every recipe below
is what a NumPyro user would write for a model of their own. Takes about a minute on two CPU cores.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import arviz
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
from jax import random
from numpyro import handlers
from numpyro.infer import MCMC, NUTS, SVI, Predictive, Trace_ELBO, init_to_median
from numpyro.infer.autoguide import AutoNormal

from infosem_jax import grn
from infosem_jax.data import simulate

SIZES = simulate.SimulationConfig(genes=8, regulators=3, cells=60, mean_in_degree=1.5)
# Effects and noise alone: small enough for NUTS.
SETTINGS = grn.converged(
    guide="normal", decoder="identity", latent_prior="standard", absorbed="location"
)


def hierarchical(context: grn.GeneContext) -> dist.Distribution:
    """Normal effects; each regulator has a strength of its own, and those have one in common."""
    common: Any = numpyro.sample("common", dist.HalfNormal(0.3))
    with numpyro.plate("regulators", len(context.rows)):
        own: Any = numpyro.sample("own", dist.LogNormal(0.0, 0.5))
    scale = jnp.broadcast_to((common * own)[:, None], context.shape)
    return dist.Normal(0.0, scale).to_event(2)


def main() -> None:
    data = simulate.simulate(SIZES, seed=0).data
    raw = grn.raw(data, hierarchical, config=SETTINGS)
    x = np.asarray(raw.args[0])

    print("Sites, drawn from the prior:")
    with handlers.seed(rng_seed=0):
        trace = handlers.trace(raw.model).get_trace(cells=5)
    for name, site in trace.items():
        if site["type"] == "sample":
            print(f"  {name:20s} {np.shape(site['value'])}")

    drawn = Predictive(raw.model, num_samples=200)(random.key(0))["x"]
    print(f"\nPrior predictive: sd of expression {drawn.std():.2f}, of the data {x.std():.2f}")

    svi = SVI(raw.model, raw.guide, optax.adam(1e-2), Trace_ELBO())
    trained = svi.run(random.key(1), 2000, *raw.args, progress_bar=False)
    print(f"SVI: loss {trained.losses[0]:.0f}, after training {trained.losses[-50:].mean():.0f}")

    predictive = Predictive(raw.model, guide=raw.guide, params=trained.params, num_samples=50)
    replicated = np.asarray(predictive(random.key(2))["x"])
    agreement = [np.corrcoef(draw.ravel(), x.ravel())[0, 1] for draw in replicated]
    print(f"Posterior predictive: correlation of replicated cells with theirs {agreement[0]:.2f}")

    sampler = NUTS(raw.model, max_tree_depth=6)
    chain = MCMC(sampler, num_warmup=200, num_samples=200, progress_bar=False)
    chain.run(random.key(3), *raw.args)
    exact = np.asarray(chain.get_samples()["effect"])
    approximate = Predictive(raw.guide, params=trained.params, num_samples=200)(random.key(4))
    off = np.asarray(raw.genes) != np.asarray(raw.rows)[:, None]
    pair = [np.mean(draws, 0)[off] for draws in (exact, np.asarray(approximate["effect"]))]
    print(f"NUTS against SVI: correlation of mean effects {np.corrcoef(*pair)[0, 1]:.2f}")

    silent = handlers.do(raw.model, {"effect": jnp.zeros((len(raw.rows), len(raw.genes)))})
    alone = Predictive(silent, num_samples=50)(random.key(5))["x"]
    gap = [np.corrcoef(draw, rowvar=False)[0, 1:].max() for draw in (x, alone[0])]
    print(f"Without effects: largest correlation of {raw.genes[0]} {gap[1]:.2f}, was {gap[0]:.2f}")

    near = partial(AutoNormal, init_loc_fn=init_to_median)
    longer = replace(SETTINGS, guide=near, guide_draws=100, epochs=600, rate_edges=5e-3)
    fitted = grn.fit(data, hierarchical, config=longer, seeds=2)
    apart = np.corrcoef(fitted.weight[0].ravel(), fitted.weight[1].ravel())[0, 1]
    print(f"Own guide: correlation of effects between its two seeds {apart:.2f}")

    inference: Any = grn.to_arviz(fitted, data)
    nats = inference.log_likelihood["x"].mean(("chain", "draw"))
    worst = nats["cell"].values[nats.values.argmin()]
    left_out = arviz.loo(inference).elpd_loo
    print(f"ArviZ: {left_out:.0f} nats of cells left out; the cell that fits worst is {worst}")


if __name__ == "__main__":
    main()
