"""Small perturbation screens with a known answer, for the tests of perturbation responses."""

import anndata
import numpy as np
import pandas as pd

from infosem_jax.data import Embedding
from infosem_jax.perturbation.data import Responses
from infosem_jax.perturbation.knowledge import Knowledge, make_knowledge
from infosem_jax.perturbation.splits import Split

N_GROUPS, PER_GROUP = 3, 5
# One of the perturbed genes is measured, so that the screen can be told from one of treatments.
GENES = ("p00", *(f"g{i}" for i in range(1, 12)))


def names() -> list[str]:
    """Return the perturbed genes: groups of genes that act alike."""
    return [f"p{group}{i}" for group in range(N_GROUPS) for i in range(PER_GROUP)]


def edges() -> pd.DataFrame:
    """Return a graph in which the genes of a group are neighbours."""
    pairs = [
        (f"p{group}{i}", f"p{group}{j}")
        for group in range(N_GROUPS)
        for i in range(PER_GROUP)
        for j in range(i)
    ]
    table = pd.DataFrame(pairs, columns=pd.Index(["source", "target"]))
    return table.assign(weight=1.0, directed=False)


def knowledge(genes=GENES) -> Knowledge:
    """Return the graph with texts that tell groups apart too."""
    rng = np.random.default_rng(0)
    own = [np.eye(4)[int(name[1])] + 0.1 * rng.normal(size=4) for name in names()]
    text = Embedding(tuple(names()), np.asarray(own, np.float32))
    return make_knowledge({"groups": edges()}, text, [*names(), *genes])


def cells(seed: int = 0, n: int = 30) -> anndata.AnnData:
    """Return counts in which each group of genes moves four genes of its own."""
    rng = np.random.default_rng(seed)
    labels = [name for name in names() for _ in range(n)] + ["control"] * (4 * n)
    rate = np.full((len(labels), len(GENES)), 5.0)
    for i, label in enumerate(labels):
        if label != "control":
            group = int(label[1])
            rate[i, 4 * group : 4 * group + 2] = 12.0
            rate[i, 4 * group + 2 : 4 * group + 4] = 2.0
    batch = rng.integers(0, 2, len(labels)).astype(str)
    obs = pd.DataFrame({"perturbation": labels, "batch": batch}, index=map(str, range(len(labels))))
    return anndata.AnnData(
        rng.poisson(rate).astype(np.float32), obs=obs, var=pd.DataFrame(index=list(GENES))
    )


def values(seed: int = 0, noise: float = 0.1) -> Responses:
    """Return changes of the same kind, without cells."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(N_GROUPS), PER_GROUP)
    delta = noise * rng.normal(size=(len(group), len(GENES)))
    sign = np.zeros(delta.shape, np.int8)
    for i, own in enumerate(group):
        delta[i, 4 * own : 4 * own + 2] += 1
        delta[i, 4 * own + 2 : 4 * own + 4] -= 1
        sign[i, 4 * own : 4 * own + 2], sign[i, 4 * own + 2 : 4 * own + 4] = 1, -1
    return Responses(
        "made",
        tuple((name,) for name in names()),
        ("line",) * len(group),
        GENES,
        sign,
        np.ones(sign.shape, bool),
        np.full(delta.shape, 2.0, np.float32),
        delta.astype(np.float32),
        n_cells=np.full(len(group), 30),
    )


def signed(seed: int = 0) -> Responses:
    """Return the signs alone, a fifth of the pairs unknown."""
    known = np.random.default_rng(seed).random((len(names()), len(GENES))) < 0.8
    full = values(seed)
    return full._replace(
        control=None, delta=None, n_cells=None, known=known, sign=full.sign * known
    )


def split() -> Split:
    """Hold out the last gene of each group."""
    test = np.arange(PER_GROUP - 1, N_GROUPS * PER_GROUP, PER_GROUP)
    return Split(
        np.setdiff1d(np.arange(N_GROUPS * PER_GROUP), test), np.zeros(0, int), test, "made"
    )
