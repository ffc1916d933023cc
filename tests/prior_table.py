"""One table of constructors of priors: it drives the tests that hold for every prior.

Each takes a seed, which numbers differ by, and a prefix of the names of genes. `OWN` holds what
users write themselves, `REFUSED` what they cannot, with the message that says so.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
from numpyro.contrib.module import flax_module, random_flax_module
from numpyro.distributions import constraints, transforms
from numpyro.infer.reparam import LocScaleReparam

from infosem_jax.data.io import Embedding
from infosem_jax.grn.priors import (
    GeneCovariates,
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
    Relabelled,
    RelaxedGate,
    SignedEdges,
    SpikeAndSlab,
    learned_strength,
)
from infosem_jax.grn.priors.binding import GeneContext

GENES = tuple(f"g{i}" for i in range(8))
ROWS = ("g1", "g4", "g6")


def context(site: str = "effect", prefix: str = "g") -> GeneContext:
    """Return three regulators among eight genes, called by a prefix and a number."""
    rename = lambda names: tuple(name.replace("g", prefix) for name in names)
    return GeneContext(rename(GENES), rename(ROWS), 40, site)


def embedding(seed: int = 0, prefix: str = "g") -> Embedding:
    """Return vectors of all genes but the last."""
    vectors = np.random.default_rng(seed).normal(size=(7, 5)).astype(np.float32)
    return Embedding(tuple(f"{prefix}{i}" for i in range(7)), vectors)


def pairs(seed: int = 0, prefix: str = "g", **columns) -> pd.DataFrame:
    """Draw ten different pairs, with columns drawn from their choices."""
    rng = np.random.default_rng(seed)
    row, gene = np.unravel_index(rng.choice(24, 10, replace=False), (3, 8))
    source = [f"{prefix}{ROWS[i][1:]}" for i in row]
    drawn = {name: rng.choice(choices, 10) for name, choices in columns.items()}
    return pd.DataFrame({"source": source, "target": [f"{prefix}{i}" for i in gene], **drawn})


def labels(seed: int = 0, prefix: str = "g") -> pd.DataFrame:
    return pairs(seed, prefix, label=[0, 1])


def numbers(seed: int) -> float:
    """Return a scale that differs between seeds."""
    return 0.1 * (1 + seed)


def user_prior(context: GeneContext) -> dist.Distribution:
    scale = numpyro.sample("scale", dist.HalfNormal(0.2))
    centre = numpyro.param("centre", jnp.zeros(len(context.genes)))
    return dist.Normal(centre, scale + 0.1)


def signed_graph(seed: int, prefix: str) -> pd.DataFrame:
    return pairs(seed, prefix, weight=[0.2, 0.5, 2.0], sign=[-1, 1])


def ring(seed: int, prefix: str) -> pd.DataFrame:
    """Link the genes to a ring in an order of their own."""
    order = np.random.default_rng(seed).permutation(8)
    names = [f"{prefix}{i}" for i in order]
    return pd.DataFrame({"source": names, "target": np.roll(names, 1)})


def triangle(seed: int, prefix: str) -> pd.DataFrame:
    """Link the rows to each other, beside other genes."""
    names = [f"{prefix}{i}" for i in (1, 4, 6)]
    weight = 1.0 + np.random.default_rng(seed).random(3)
    return pd.DataFrame({"source": names, "target": np.roll(names, 1), "weight": weight})


EFFECT = {
    "Laplace": lambda seed, prefix: Laplace(numbers(seed)),
    "MeanAbsolute": lambda seed, prefix: MeanAbsolute(1.0 + seed),
    "Normal": lambda seed, prefix: Normal(numbers(seed)),
    "Horseshoe": lambda seed, prefix: Horseshoe(numbers(seed)),
    "SpikeAndSlab": lambda seed, prefix: SpikeAndSlab(slab=numbers(seed)),
    "GeneEmbedding": lambda seed, prefix: GeneEmbedding(embedding(seed, prefix), numbers(seed)),
    "GeneSimilarity": lambda seed, prefix: GeneSimilarity(
        embedding(seed, prefix), scale=numbers(seed)
    ),
    "GraphPrior": lambda seed, prefix: GraphPrior(signed_graph(seed, prefix), numbers(seed)),
    "RegularisedHorseshoe": lambda seed, prefix: RegularisedHorseshoe(numbers(seed), slab=0.5),
    "GeneScales": lambda seed, prefix: GeneScales(numbers(seed)),
    "GeneScales of regulators": lambda seed, prefix: GeneScales(numbers(seed), target_spread=0.0),
    "SignedEdges": lambda seed, prefix: SignedEdges(pairs(seed, prefix, sign=[-1, 1])),
    "OtherNetwork": lambda seed, prefix: OtherNetwork(pairs(seed, prefix, weight=[-2.0, 1.0, 3.0])),
    "Mixture": lambda seed, prefix: Mixture(
        (GeneSimilarity(embedding(seed, prefix)), GeneEmbedding(embedding(seed + 5, prefix)))
    ),
    "GraphSmooth": lambda seed, prefix: GraphSmooth(ring(seed, prefix), strength=3.0),
    "GraphSmooth over regulators": lambda seed, prefix: GraphSmooth(
        triangle(seed, prefix), strength=3.0, over="regulators"
    ),
    "GraphSmooth over both": lambda seed, prefix: GraphSmooth(
        triangle(seed, prefix), numbers(seed), over="both"
    ),
    "learned strength": lambda seed, prefix: learned_strength(
        GeneSimilarity(embedding(seed, prefix), slope=0.2)
    ),
    "learned strength of Laplace": lambda seed, prefix: learned_strength(Laplace(numbers(seed))),
    "Relabelled": lambda seed, prefix: Relabelled(
        GeneSimilarity(embedding(seed, prefix), slope=0.3), seed
    ),
    "Weakened scales": lambda seed, prefix: numbers(seed) * GeneScales(target_spread=0.1),
    "Sum with another network": lambda seed, prefix: (
        OtherNetwork(pairs(seed, prefix, weight=[1.0, 2.0])) + GeneScales(numbers(seed))
    ),
    "Sum": lambda seed, prefix: (
        GeneEmbedding(embedding(seed, prefix)) + GraphPrior(pairs(seed, prefix)) + Normal()
    ),
    "Weakened normal": lambda seed, prefix: 0.5 * Normal(numbers(seed)),
    "Weakened horseshoe": lambda seed, prefix: Horseshoe() * numbers(seed),
    "Weakened sum": lambda seed, prefix: 0.5 * (Normal(numbers(seed)) + Normal()),
    "NumPyro distribution": lambda seed, prefix: dist.StudentT(4.0, 0.0, numbers(seed)),
    "user function": lambda seed, prefix: user_prior,
}
LOGIT = {
    "RelaxedGate": lambda seed, prefix: RelaxedGate(numbers(seed)),
    "Relabelled labels": lambda seed, prefix: Relabelled(
        KnownEdges(labels(seed, prefix), scale=2.0 + seed, observe=True), seed
    ),
    "KnownEdges prior": lambda seed, prefix: KnownEdges(labels(seed, prefix)),
    "KnownEdges observed": lambda seed, prefix: KnownEdges(
        labels(seed, prefix), scale=1.0 + seed, observe=True
    ),
    "LearnedEdges": lambda seed, prefix: LearnedEdges(
        labels(seed, prefix), embedding(seed, prefix), scale=numbers(seed), hidden=3
    ),
    "LabelledEdges": lambda seed, prefix: LabelledEdges(
        labels(seed, prefix), embedding(seed, prefix), scale=numbers(seed)
    ),
    "GraphPrior on logit": lambda seed, prefix: GraphPrior(pairs(seed, prefix)),
    "Sum on logit": lambda seed, prefix: (
        KnownEdges(labels(seed, prefix), observe=True) + GraphPrior(pairs(seed, prefix))
    ),
    "Sum with learned edges": lambda seed, prefix: (
        LearnedEdges(labels(seed, prefix), rank=0) + GraphPrior(pairs(seed, prefix))
    ),
    "Weakened learned edges": lambda seed, prefix: (
        numbers(seed) * LearnedEdges(labels(seed, prefix), rank=0)
    ),
    "Weakened labels": lambda seed, prefix: (
        numbers(seed) * KnownEdges(labels(seed, prefix), observe=True)
    ),
}


def plates(context: GeneContext) -> dist.Distribution:
    with (
        numpyro.plate("regulators", len(context.rows), dim=-2),
        numpyro.plate("genes", len(context.genes), dim=-1),
    ):
        scale: Any = numpyro.sample("scale", dist.HalfNormal(0.1))
    return dist.Normal(0.0, scale).to_event(2)


def hierarchy(context: GeneContext) -> dist.Distribution:
    with numpyro.plate("regulators", len(context.rows)):
        strength: Any = numpyro.sample("strength", dist.LogNormal(0.0, 0.5))
    with numpyro.plate("genes", len(context.genes)):
        centre: Any = numpyro.sample("centre", dist.Normal(0.0, 0.1))
    return dist.Normal(strength[:, None] * centre[None], 0.1)


def vectors_in_plate(context: GeneContext) -> dist.Distribution:
    with numpyro.plate("regulators", len(context.rows)):
        unit = dist.Normal(jnp.zeros(len(context.genes)), 0.1).to_event(1)
        centre: Any = numpyro.sample("centre", unit)
    return dist.Normal(centre, 0.1)


def reparameterised(context: GeneContext) -> dist.Distribution:
    common: Any = numpyro.sample("common", dist.Normal(0.0, 0.1))
    with (
        numpyro.handlers.reparam(config={"centre": LocScaleReparam(0)}),
        numpyro.plate("genes", len(context.genes)),
    ):
        centre: Any = numpyro.sample("centre", dist.Normal(common, 0.1))
    return dist.Normal(centre, 0.1)


def simplex(context: GeneContext) -> dist.Distribution:
    weight: Any = numpyro.sample("weight", dist.Dirichlet(jnp.ones(3)))
    return dist.Normal(0.0, 0.1 * weight.max()).expand(context.shape).to_event(2)


def parameter(context: GeneContext) -> dist.Distribution:
    scale: Any = numpyro.param("scale", 0.1, constraint=constraints.positive)
    return dist.Normal(0.0, scale)


def observed(context: GeneContext) -> dist.Distribution:
    centre: Any = numpyro.sample("centre", dist.Normal(0.0, 0.1))
    numpyro.sample("elsewhere", dist.Normal(centre, 0.1), obs=0.05)
    return dist.Normal(centre, 0.1)


def numbered(context: GeneContext) -> jnp.ndarray:
    """Return features of pairs, [rows, genes, 2]."""
    return jnp.moveaxis(jnp.indices(context.shape) / 8.0, 0, -1)


def network(context: GeneContext) -> dist.Distribution:
    of_pair = flax_module("of_pair", nn.Dense(1), input_shape=(2,))
    return dist.Normal(of_pair(numbered(context))[..., 0], 0.1)


def random_network(context: GeneContext) -> dist.Distribution:
    of_pair = random_flax_module("of_pair", nn.Dense(1), dist.Normal(0.0, 0.1), input_shape=(2,))
    return dist.Normal(of_pair(numbered(context))[..., 0], 0.1)


def moved(context: GeneContext) -> dist.Distribution:
    size: Any = numpyro.sample("size", dist.HalfNormal(0.1))
    return dist.TransformedDistribution(
        dist.Normal(0.0, 1.0), transforms.AffineTransform(0.05, size)
    )


def along_length(context: GeneContext, rows: Any, genes: Any) -> dist.Distribution:
    slope: Any = numpyro.sample("slope", dist.Normal(0.1, 0.1))
    return dist.Normal(slope * genes["length"][None] + rows["is_zinc_finger"][:, None], 0.1)


def measured(seed: int, prefix: str) -> pd.DataFrame:
    """Return covariates of more genes than there are, in an order of their own."""
    rng = np.random.default_rng(seed)
    names = pd.Index([f"{prefix}{i}" for i in rng.permutation(12)])
    zinc = rng.integers(0, 2, 12).astype(bool)
    return pd.DataFrame({"length": rng.normal(size=12), "is_zinc_finger": zinc}, index=names)


def spike_and_slab(weights: Any) -> dist.Distribution:
    return dist.MixtureSameFamily(
        dist.Categorical(probs=weights), dist.Normal(0.0, jnp.array([0.01, 0.2]))
    )


def learned_shares(context: GeneContext) -> dist.Distribution:
    return spike_and_slab(numpyro.sample("shares", dist.Dirichlet(jnp.ones(2))))


def two_families(seed: int) -> dist.Distribution:
    weights = dist.Categorical(probs=jnp.array([0.9, 0.1]))
    return dist.MixtureGeneral(weights, [dist.Normal(0.0, 0.01), dist.Laplace(0.0, numbers(seed))])


FUNCTIONS = {
    "plates": plates,
    "hierarchy": hierarchy,
    "vectors in a plate": vectors_in_plate,
    "reparameterised": reparameterised,
    "simplex": simplex,
    "parameter": parameter,
    "observed site": observed,
    "Flax module": network,
    "random Flax module": random_network,
    "affine normal in a function": moved,
    "mixture with learned shares": learned_shares,
}
OWN = {
    "distribution": lambda seed, prefix: dist.Normal(0.1, numbers(seed)),
    "expanded": lambda seed, prefix: dist.Normal(0.1, numbers(seed)).expand((8,)),
    "affine normal": lambda seed, prefix: dist.TransformedDistribution(
        dist.Normal(0.0, numbers(seed)), [transforms.AffineTransform(0.05, -0.5)]
    ),
    "masked": lambda seed, prefix: dist.Normal(0.0, numbers(seed)).mask(np.arange(8) > 2),
    "mixture": lambda seed, prefix: spike_and_slab(jnp.array([1 - numbers(seed), numbers(seed)])),
    "mixture of families": lambda seed, prefix: two_families(seed),
    "covariates of genes": lambda seed, prefix: GeneCovariates(
        along_length, measured(seed, prefix)
    ),
    **{
        name: lambda seed, prefix, function=function: function
        for name, function in FUNCTIONS.items()
    },
}
# Those that every test of the table is of; the others are fitted.
QUICK = ("affine normal", "hierarchy", "covariates of genes")
# A function may look at names, so that other names are another program.
LOOKS_AT_NAMES = {"user function", "covariates of genes", *FUNCTIONS}
ONE_NUMBER_FITS_ALL = {"user function", *FUNCTIONS}
