"""Regulons: the targets of each regulator that are sure enough, and what they have in common."""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from infosem_jax.data.gene_sets import GeneSets, over_represented
from infosem_jax.grn.networks import Network

# Fewest targets of a regulon.
LEAST = 5


def false_sign_rate(net: Network) -> Float[np.ndarray, "regulators genes"]:
    """Return the probability that an edge is absent, or of the other sign than its weight.

    ``1 - probability sign_agreement``; of a network without probabilities of edges,
    ``1 - sign_agreement``. One from a gene to itself.
    """
    p = 1.0 if net.probability is None else np.asarray(net.probability)
    own = np.asarray(net.regulators)[:, None] == np.asarray(net.genes)
    return np.where(own, 1.0, 1 - p * np.asarray(net.sign_agreement))


def regulons(net: Network, *, lfsr: float = 0.2, least: int = LEAST) -> pd.DataFrame:
    """List the targets of each regulator that pass a cut of the local false sign rate.

    Parameters
    ----------
    net
        The network.
    lfsr
        Largest local false sign rate of an edge, see `false_sign_rate`.
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
        If the cut is no probability.
    """
    if not 0 < lfsr <= 1:
        raise ValueError(f"lfsr: expected a rate above 0 and at most 1, found {lfsr}.")
    rate = false_sign_rate(net)
    row, column = np.nonzero(rate <= lfsr)
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


def signed_sets(table: pd.DataFrame) -> dict[str, list[str]]:
    """Return regulons as gene sets, ``NAME(+)`` of targets activated and ``NAME(-)`` of others.

    Parameters
    ----------
    table
        As `regulons` returns it.
    """
    sign = np.where(table["weight"] >= 0, "(+)", "(-)")
    return {
        str(name): list(own)
        for name, own in table["target"].groupby(table["source"] + sign, sort=True)
    }


def enrich(table: pd.DataFrame, genes: tuple[str, ...], sets: GeneSets) -> pd.DataFrame:
    """Test which gene sets are over-represented among the targets of each regulon.

    Parameters
    ----------
    table
        As `regulons` returns it.
    genes
        All genes of the network, which targets were chosen from.
    sets
        Gene sets, as `infosem_jax.data.read_gene_sets` reads them.

    Returns
    -------
    DataFrame
        Columns ``regulon, set, hits, size, p_adjusted``, by regulon, the surest first; with a false
        discovery rate of 5 % over all regulons and sets.
    """
    found = over_represented(genes, signed_sets(table), sets)
    return pd.DataFrame(found, columns=["regulon", "set", "hits", "size", "p_adjusted"])
