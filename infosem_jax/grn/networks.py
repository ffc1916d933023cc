"""The result of a fit: ranked edges with their uncertainty, in the formats of the field."""

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from infosem_jax._shown import shown
from infosem_jax._typing import Array, Path
from infosem_jax.data._files import atomic_write
from infosem_jax.data._names import check_names

if TYPE_CHECKING:
    import anndata
    import networkx
    import scipy.sparse

COLUMNS = ("source", "target", "score", "weight", "sd", "sign_agreement", "probability")
LAYERS = tuple(name for name in COLUMNS[2:] if name != "weight")


@shown("weight", "regulators", "genes", "score", "probability")
class Network(NamedTuple):
    """Posterior summary of every candidate edge, over the seeds of a fit.

    Attributes
    ----------
    regulators, genes
        Names of the rows and columns.
    weight
        Mean effect over seeds and posterior, [regulators, genes]; zero from a gene to itself.
    sd
        Standard deviation of the effect, [regulators, genes]: within the posterior and across
        seeds, ``sqrt(mean(sd_seed^2) + var(mean_seed))``.
    sign_agreement
        Posterior share, over seeds, of the sign of ``weight``, [regulators, genes], in [0, 1].
    probability
        Of the edge to exist, [regulators, genes]: the mean gate, or that of the exact engine; None
        where the model has neither.
    name
        What the data were called.
    score
        Log-odds of the edge, prior and expression together, [regulators, genes], which edges are
        ranked by; None where the engine has none and ``|weight|`` ranks.
    """

    regulators: tuple[str, ...]
    genes: tuple[str, ...]
    weight: Float[Array, "regulators genes"]
    sd: Float[Array, "regulators genes"]
    sign_agreement: Float[Array, "regulators genes"]
    probability: Float[Array, "regulators genes"] | None = None
    name: str = "data"
    score: Float[Array, "regulators genes"] | None = None


def candidate_pairs(found: Any) -> Bool[np.ndarray, "regulators genes"]:
    """Tell which pairs of a network or fit can be edges: all but those of a gene with itself."""
    return np.asarray(found.regulators)[:, None] != np.asarray(found.genes)


def edges(network: Network, *, top: int | None = None, each: int = 0) -> pd.DataFrame:
    """List the candidate edges, strongest first.

    Parameters
    ----------
    network
        The network.
    top
        How many edges to keep; None keeps every pair of a regulator and another gene.
    each
        How many edges of every regulator and of every target to keep in any case.

    Returns
    -------
    DataFrame
        Columns ``source, target, score, weight, sd, sign_agreement, probability``, sorted by
        ``score``, or by ``|weight|`` where there is none, and then by the names; what the network
        lacks is NaN.

    Raises
    ------
    ValueError
        If ``top`` is not positive, or a weight or score is not finite.
    """
    if top is not None and top < 1:
        raise ValueError(f"Expected a positive number of edges, found top={top}; None keeps all.")
    kept = candidate_pairs(network)
    strength = _strengths(network, kept)
    always = _first_of_each(strength, each)
    if top is not None and top < kept.sum():
        kept &= always | (strength >= np.partition(strength, -top, axis=None)[-top])
    row, column = np.nonzero(kept)
    source, target = np.asarray(network.regulators), np.asarray(network.genes)
    order = np.lexsort((_places(target)[column], _places(source)[row], -strength[row, column]))
    if top is not None:
        order = order[(np.arange(len(order)) < top) | always[row, column][order]]
    row, column = row[order], column[order]
    columns: dict[str, Any] = {"source": source[row], "target": target[column]}
    for name in COLUMNS[2:]:
        values = getattr(network, name)
        columns[name] = np.nan if values is None else np.asarray(values)[row, column]
    return pd.DataFrame(columns)


def write_edges(path: Path, network: Network, *, top: int | None = None) -> None:
    """Write the table of :func:`edges` as CSV.

    Parameters
    ----------
    path
        The file.
    network, top
        As in :func:`edges`.

    Raises
    ------
    ValueError
        As :func:`edges` and ``check_names``.
    """
    check_names(network.genes)
    with atomic_write(path) as temporary:
        edges(network, top=top).to_csv(temporary, index=False)


def write_ranked_edges(path: Path, network: Network) -> None:
    """Write all edges as BEELINE's ``rankedEdges.csv``: Gene1, Gene2, EdgeWeight, split by tabs.

    ``EdgeWeight`` is the weight, or the odds ``exp(score)`` where edges have scores, since BEELINE
    ranks by the size of what stands there.

    Raises
    ------
    ValueError
        As :func:`edges` and ``check_names``.
    """
    check_names(network.genes)
    table, ranked = edges(network), "weight"
    if network.score is not None:
        table, ranked = table.assign(odds=np.exp(table["score"].astype(np.float64))), "odds"
    table = table.loc[:, ["source", "target", ranked]]
    with atomic_write(path) as temporary:
        header = ["Gene1", "Gene2", "EdgeWeight"]
        table.to_csv(temporary, index=False, sep="\t", header=header)


def to_decoupler(network: Network, *, top: int | None = None) -> pd.DataFrame:
    """Return the edges as a regulon table for decoupler: columns ``source, target, weight``.

    Weights keep their signs, which decoupler needs; their order is that of `edges`.

    Parameters
    ----------
    network
        The network.
    top
        How many of the strongest edges to keep; None for all.
    """
    return edges(network, top=top).loc[:, ["source", "target", "weight"]]


def to_networkx(network: Network, *, top: int | None = 1000) -> "networkx.DiGraph":
    """Return the strongest edges as a directed graph, with the genes that they touch.

    Edges carry ``weight``, ``sd``, ``sign_agreement`` and, where the network has them, ``score``
    and ``probability``; nodes carry ``is_regulator``.

    Parameters
    ----------
    network
        The network.
    top
        How many of the strongest edges to keep; None for all.
    """
    import networkx as nx

    table = edges(network, top=top).dropna(axis="columns", how="all")
    values = table.iloc[:, 2:].astype(float).to_dict("records")
    graph = nx.DiGraph(name=network.name)
    graph.add_edges_from(zip(table["source"], table["target"], values, strict=True))
    regulators = set(network.regulators)
    nx.set_node_attributes(graph, {node: node in regulators for node in graph}, "is_regulator")
    return graph


def write_graphml(path: Path, network: Network, *, top: int | None = 1000) -> None:
    """Write the graph of :func:`to_networkx` as GraphML, for Cytoscape, Gephi or igraph.

    Parameters
    ----------
    path
        The file.
    network, top
        As in :func:`to_networkx`.
    """
    import networkx as nx

    with atomic_write(path) as temporary:
        nx.write_graphml(to_networkx(network, top=top), temporary)


def to_anndata(
    network: Network,
    adata: "anndata.AnnData | None" = None,
    *,
    key: str = "infosem",
    record: dict[str, Any] | None = None,
) -> "anndata.AnnData":
    """Put the network beside the expression data that it came from.

    ``varp[key]`` holds the weights, sparse, [genes, genes], with regulators in rows and targets
    in columns; ``varp[key + "_sd"]``, ``varp[key + "_sign_agreement"]`` and, where there are such,
    ``varp[key + "_score"]`` and ``varp[key + "_probability"]`` hold the rest.
    ``var["is_regulator"]`` and ``var["in_network"]`` mark genes, and ``uns[key]`` holds the record.

    Parameters
    ----------
    network
        The network.
    adata
        Data with at least the genes of the network, copied; None makes an object without cells.
    key
        Name of the entries.
    record
        What is to be known about the run, of the types of JSON. Dictionaries, text, numbers and
        truth values are kept; lists and None become JSON text, which every version of the file
        format can hold; "/" in keys becomes "_", since HDF5 reads it as a path.

    Raises
    ------
    ValueError
        If genes of the network are missing from ``adata`` or occur in it twice, or a key has "/".
    """
    import anndata

    if not key or "/" in key:
        raise ValueError(f"Expected a key without '/', found {key!r}.")
    names = pd.Index(network.genes) if adata is None else adata.var_names
    _check_genes(names, network)
    result = anndata.AnnData(var=pd.DataFrame(index=names)) if adata is None else adata.copy()
    pattern = _pattern(network, names)
    for suffix, values in _layers(network):
        result.varp[key + suffix] = _spread(values, pattern)
    result.var["is_regulator"] = names.isin(network.regulators)
    result.var["in_network"] = names.isin(network.genes)
    result.uns[key] = {"name": network.name, **_storable(record or {})}
    return result


def from_anndata(adata: "anndata.AnnData", *, key: str = "infosem") -> Network:
    """Read the network that :func:`to_anndata` stored, with genes in the order of ``adata``.

    Raises
    ------
    ValueError
        If there is none under this key.
    """
    from scipy.sparse import csr_array

    needed = [key + suffix for suffix in ("", "_sd", "_sign_agreement")]
    missing = [name for name in needed if name not in adata.varp]
    missing += [name for name in ("is_regulator", "in_network") if name not in adata.var]
    if missing:
        raise ValueError(
            f"Found no network under {key!r}: {', '.join(missing)} missing; varp holds "
            f"{', '.join(adata.varp) or 'nothing'}. Expected an object made by to_anndata."
        )
    rows = np.flatnonzero(adata.var["is_regulator"])
    columns = np.flatnonzero(adata.var["in_network"])
    layers = {
        field: csr_array(adata.varp[name])[rows][:, columns].toarray()
        for field, name in [("weight", key), *((f, f"{key}_{f}") for f in LAYERS)]
        if name in adata.varp
    }
    return Network(
        regulators=tuple(adata.var_names[rows]),
        genes=tuple(adata.var_names[columns]),
        name=str(adata.uns.get(key, {}).get("name", "data")),
        **layers,
    )


def _strengths(
    network: Network, candidate: Bool[np.ndarray, "regulators genes"]
) -> Float[np.ndarray, "regulators genes"]:
    """Return what edges are ranked by; minus infinity where a pair is no candidate."""
    size = np.abs(np.asarray(network.weight))
    if network.score is not None:
        size = np.where(np.isfinite(size), np.asarray(network.score), np.nan)
    if not (np.isfinite(size) | ~candidate).all():
        what = "weights" if network.score is None else "weights or scores"
        raise ValueError(
            f"{network.name}: {(~np.isfinite(size) & candidate).sum()} {what} are not finite, so "
            "the fit diverged; lower the learning rate or leave out the seed at fault."
        )
    return np.where(candidate, size, -np.inf)


def _first_of_each(
    strength: Float[np.ndarray, "regulators genes"], n: int
) -> Bool[np.ndarray, "regulators genes"]:
    """Mark the n strongest edges of every regulator and of every target, ties in order."""
    marked = np.zeros(strength.shape, bool)
    for axis in (0, 1) if n else ():
        last = max(strength.shape[axis] - n, 0)
        least = np.partition(strength, last, axis=axis).take([last], axis)
        above, tied = strength > least, strength == least
        room = n - above.sum(axis, keepdims=True)
        marked |= above | tied & (tied.cumsum(axis, dtype=np.int32) <= room)
    return marked & np.isfinite(strength)


def _places(names: np.ndarray) -> np.ndarray:
    """Return the place of each name in the sorted names."""
    return np.argsort(np.argsort(names))


def _check_genes(names: pd.Index, network: Network) -> None:
    if not names.is_unique:
        raise ValueError("Gene names of the AnnData occur more than once; merge or rename them.")
    missing = [gene for gene in network.genes if gene not in names]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(network.genes)} genes of the network are not in the AnnData "
            f"({', '.join(missing[:3])}); its genes look like {', '.join(map(str, names[:3]))}. "
            "Give the data that the network was fitted on."
        )


def _layers(network: Network) -> list[tuple[str, np.ndarray]]:
    layers = [("", network.weight)]
    layers += [(f"_{name}", getattr(network, name)) for name in LAYERS]
    return [(suffix, np.asarray(values)) for suffix, values in layers if values is not None]


class _Pattern(NamedTuple):
    """Where candidate pairs are in a sparse matrix of all genes: rows and columns in its order."""

    rows: np.ndarray
    columns: np.ndarray
    kept: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray


def _pattern(network: Network, names: pd.Index) -> _Pattern:
    row, column = (names.get_indexer(pd.Index(of)) for of in (network.regulators, network.genes))
    rows, columns = np.argsort(row), np.argsort(column)
    kept = candidate_pairs(network)[np.ix_(rows, columns)]
    size = np.zeros(len(names) + 1, np.int64)
    size[row[rows] + 1] = kept.sum(1)
    indices = np.broadcast_to(column[columns].astype(np.int32), kept.shape)[kept]
    return _Pattern(rows, columns, kept, indices, size.cumsum())


def _spread(values: np.ndarray, pattern: _Pattern) -> "scipy.sparse.csr_array":
    """Place [regulators, genes] among all genes, with an entry for every candidate pair."""
    from scipy.sparse import csr_array

    n = len(pattern.indptr) - 1
    data = values[np.ix_(pattern.rows, pattern.columns)][pattern.kept]
    return csr_array((data, pattern.indices, pattern.indptr), shape=(n, n))


def _storable(record: dict[str, Any]) -> dict[str, Any]:
    stored = {}
    for key, value in record.items():
        if isinstance(value, dict):
            value = _storable(value)
        elif not isinstance(value, str | bool | int | float):
            value = json.dumps(value, default=str)
        stored[key.replace("/", "_")] = value
    return stored
