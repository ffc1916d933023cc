"""Posteriors of edges that users bring: AutoGuides of NumPyro, and guides of their own.

An own guide stands for the edges, and for what priors and the remainder sample; the noise of cells
keeps its posterior given those (see `infosem_jax.grn.model.guide`). It is trained as any other, and
then drawn from once: a fit holds the draws, as it does those of NUTS, and needs no guide any more.
"""

import math
from functools import partial
from typing import Any

import jax
from jax import lax, random
from jaxtyping import Array, Key
from numpyro import handlers

from infosem_jax.engine import training
from infosem_jax.grn.config import Config
from infosem_jax.grn.model import Graph, own_edges, sites
from infosem_jax.grn.objective import InfoSEM, blank, n_genes_of

# Most numbers that the draws of a seed may hold: a gigabyte.
MOST_NUMBERS = 2**28


def check(config: Config, graph: Graph) -> None:
    """Refuse an own guide that does not stand for the sites of the model, before long work starts.

    Parameters
    ----------
    config
        Settings; nothing is checked for guides with a name.
    graph
        Priors and rows.

    Raises
    ------
    ValueError
        If sites are missing, unknown, of other shapes or in an order that analytic divergences do
        not bear; if effects and logits are weighted differently; or if draws take too much memory.
    """
    if not callable(config.guide):
        return
    if graph.edge is not None and config.weight_effect != config.weight_logit:
        raise ValueError(
            "guide: expected weight_effect = weight_logit with an own guide, which may join the "
            f"two, found {config.weight_effect} and {config.weight_logit}."
        )
    n_genes = n_genes_of(graph)
    wanted = {
        name: site.shape
        for name, site in sites(blank(n_genes), graph, config=config).items()
        if site.kind == "sample" and name != "z"
    }
    found: dict[str, tuple[int, ...]] = {}

    def probe(graph: Graph) -> None:
        with handlers.block(), handlers.seed(rng_seed=0):
            drawn = own_edges(graph, n_genes, config=config)
        found.update({name: value.shape for name, value in drawn.items()})

    jax.eval_shape(probe, graph)
    if found != wanted:
        raise ValueError(f"guide: expected the sites {wanted}, with these shapes, found {found}.")
    if config.divergence == "analytic" and list(found) != list(wanted):
        raise ValueError(
            f"guide: expected its sites in the order of the model ({', '.join(wanted)}), which "
            f"analytic divergences take, found {', '.join(found)}; set divergence = 'sampled'."
        )
    numbers = config.guide_draws * sum(map(math.prod, wanted.values()))
    if numbers > MOST_NUMBERS:
        raise ValueError(
            f"guide: expected at most {MOST_NUMBERS:,} numbers in the draws of an own guide, found "
            f"{numbers:,}; lower guide_draws, now {config.guide_draws}, or take fewer rows."
        )


@partial(jax.jit, static_argnames="objective", compiler_options=training.RUNS_ONCE)
def draw(
    objective: InfoSEM, params: training.Params, graph: Graph, keys: Key[Array, " seeds"]
) -> training.Params:
    """Draw from what was trained, and return the networks with ``draws`` in place of the guide.

    Parameters
    ----------
    objective, graph
        What was trained.
    params
        Its parameters, with a leading axis of seeds.
    keys
        A random key for each seed.
    """
    config, n_genes = objective.config, n_genes_of(graph)
    declared = sites(blank(n_genes), graph, config=config)
    kept = [name for name, site in declared.items() if site.kind == "param"] + ["encoder$params"]

    def one(own: tuple[training.Params, Array]) -> dict[str, Array]:
        known = objective.constrain(own[0], graph)

        def once(key: Array) -> dict[str, Array]:
            seeded: Any = handlers.substitute(handlers.seed(own_edges, key), known)
            return seeded(graph, n_genes, config=config)

        return lax.map(once, random.split(own[1], config.guide_draws))

    networks = {name: value for name, value in params.items() if name in kept}
    return networks | {"draws": lax.map(one, (params, keys))}
