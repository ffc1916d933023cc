"""Regulons and modules: the sure targets of each regulator, and genes with the same regulators."""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from infosem_jax.data.dataset import Dataset
from infosem_jax.data.gene_sets import GeneSets, over_represented
from infosem_jax.grn import exact
from infosem_jax.grn.activities import centred_cells, shrunk_effects
from infosem_jax.grn.false_signs import Shrunk
from infosem_jax.grn.networks import Network, candidate_pairs
from infosem_jax.grn.result import Fit, network

# Fewest targets of a regulon.
LEAST = 5
# Regulators that a module is told by, and their least share of its mean vector.
STRONGEST, STRONG = 3, 0.2


def false_sign_rate(
    fitted: Fit | exact.Fit, data: Dataset | None = None
) -> Float[np.ndarray, "regulators genes"]:
    """Return the probability that each edge is absent, or of the other sign than its weight.

    It is ``1 - probability sign_agreement``, and of an exact fit with its data, where smaller, the
    local false sign rate among all effects (``infosem_jax.grn.activities.shrunk_effects``), as
    probabilities of edges are too low where many are weak. One from a gene to itself.

    An effect holds given the other genes that act; where what cells share is not among these, as
    hidden states or depth, it may be no regulation. These rates know of it as far as it moves what
    is found of all pairs, not where it moves a few.

    Parameters
    ----------
    fitted
        A fit.
    data
        Its data, as read or as normalised for it.
    """
    if data is None or isinstance(fitted, Fit):
        return joined_rate(network(fitted))
    return joined_rate(network(fitted), shrunk_effects(fitted, centred_cells(fitted, data)))


def joined_rate(net: Network, told: Shrunk | None = None) -> Float[np.ndarray, "regulators genes"]:
    """Return the smaller of the false sign rates that a network and its effects have.

    Parameters
    ----------
    net
        The network, whose rate is ``1 - probability sign_agreement``.
    told
        What was learned of all its effects; it counts where its sign is that of the network.
    """
    p = 1.0 if net.probability is None else np.asarray(net.probability)
    rate = np.where(candidate_pairs(net), 1 - p * np.asarray(net.sign_agreement), 1.0)
    if told is None:
        return rate
    same = np.sign(told.mean) == np.sign(net.weight)
    return np.where(same, np.minimum(rate, told.lfsr), rate)


def regulons(
    fitted: Fit | exact.Fit,
    data: Dataset | None = None,
    *,
    lfsr: float = 0.05,
    least: int = LEAST,
) -> pd.DataFrame:
    """List the targets of each regulator that pass a cut of the local false sign rate.

    Parameters
    ----------
    fitted, data
        A fit, and its data, see `false_sign_rate`.
    lfsr
        Largest local false sign rate of an edge.
    least
        Fewest targets of a regulon; smaller ones are left out.

    Returns
    -------
    DataFrame
        Columns ``source, target, weight, lfsr``, by regulator, the surest targets first: a table
        of regulons that decoupler takes as it is.

    Raises
    ------
    ValueError
        If the cut is no probability, or the data are not those of the fit.
    """
    if not 0 < lfsr <= 1:
        raise ValueError(f"lfsr: expected a rate above 0 and at most 1, found {lfsr}.")
    net, rate = network(fitted), false_sign_rate(fitted, data)
    row, column = np.nonzero((rate <= lfsr) & candidate_pairs(net))
    order = np.lexsort((-np.abs(net.weight[row, column]), rate[row, column], row))
    row, column = row[order], column[order]
    keep = np.isin(row, np.flatnonzero(np.bincount(row, minlength=len(rate)) >= least))
    row, column = row[keep], column[keep]
    columns: dict[str, Any] = {
        "source": np.asarray(net.regulators)[row],
        "target": np.asarray(net.genes)[column],
        "weight": np.asarray(net.weight)[row, column],
        "lfsr": rate[row, column],
    }
    return pd.DataFrame(columns)


def modules(table: pd.DataFrame, *, similarity: float = 0.5, least: int = LEAST) -> pd.DataFrame:
    """Put genes together that the same regulators act on in the same way.

    Each gene is the vector of the effects on it that passed the cut, times one minus their false
    sign rate. Genes are joined by average linkage of the cosines of these vectors.

    Parameters
    ----------
    table
        As `regulons` returns it.
    similarity
        Least mean cosine between the genes of two clusters that are joined.
    least
        Fewest genes of a module; smaller ones are left out.

    Returns
    -------
    DataFrame
        Columns ``module, gene, similarity, regulators``: modules named by their place, the largest
        first; the cosine of each gene with the mean of its module, the most typical first; and the
        strongest regulators of the module, with their signs.

    Raises
    ------
    ValueError
        If the similarity is no cosine above 0.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    if not 0 < similarity <= 1:
        raise ValueError(f"similarity: expected above 0 and at most 1, found {similarity}.")
    sure = table.assign(effect=table["weight"] * (1 - table["lfsr"]))
    sure = sure.loc[sure["effect"] != 0]
    if sure["target"].nunique() < max(least, 2):
        return _modules([])
    wide = sure.pivot_table(index="target", columns="source", values="effect").fillna(0.0)
    unit = wide.div(np.sqrt((wide**2).sum(axis=1)), axis=0)
    tree = linkage(unit.to_numpy(), "average", "cosine")
    cluster = pd.Series(fcluster(tree, 1 - similarity, "distance"), unit.index)
    rows = []
    kept = cluster.value_counts().loc[lambda counts: counts >= least]
    for number, label in enumerate(kept.index, start=1):
        own = unit.loc[cluster == label]
        centre = own.mean()
        strongest = centre.abs().nlargest(STRONGEST).loc[lambda size: size >= STRONG].index
        acting = " ".join(f"{name}({'+' if centre[name] > 0 else '-'})" for name in strongest)
        typical = (own @ centre / np.sqrt((centre**2).sum())).sort_values(ascending=False)
        rows += [(f"M{number}", gene, value, acting) for gene, value in typical.items()]
    return _modules(rows)


def as_sets(table: pd.DataFrame) -> dict[str, list[str]]:
    """Return gene sets: modules, or of regulons ``NAME(+)`` and ``NAME(-)`` by the signs.

    Parameters
    ----------
    table
        As `regulons` or `modules` returns it.
    """
    if "module" in table:
        groups = table.groupby("module", sort=False)["gene"]
        return {str(name): list(own) for name, own in groups}
    sign = np.where(table["weight"] >= 0, "(+)", "(-)")
    return {
        str(name): list(own)
        for name, own in table["target"].groupby(table["source"] + sign, sort=True)
    }


def enrich(table: pd.DataFrame, genes: tuple[str, ...], sets: GeneSets) -> pd.DataFrame:
    """Test which gene sets are over-represented in each regulon or module.

    Parameters
    ----------
    table
        As `regulons` or `modules` returns it.
    genes
        All genes of the network, which targets were chosen from.
    sets
        Gene sets, as `infosem_jax.data.read_gene_sets` reads them.

    Returns
    -------
    DataFrame
        Columns ``regulon, set, hits, size, p_adjusted``, by regulon (or module), the surest first;
        with a false discovery rate of 5 % over all regulons and sets.
    """
    found = over_represented(genes, as_sets(table), sets)
    return pd.DataFrame(found, columns=pd.Index(["regulon", "set", "hits", "size", "p_adjusted"]))


def _modules(rows: list[tuple[str, str, float, str]]) -> pd.DataFrame:
    columns = pd.Index(["module", "gene", "similarity", "regulators"])
    return pd.DataFrame(rows, columns=columns).astype({"similarity": float})
