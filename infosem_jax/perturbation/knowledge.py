"""What is known of genes: graphs from tables of edges and vectors of texts, on the same nodes."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportReturnType=false, reportOperatorIssue=false, reportGeneralTypeIssues=false
# Inferred from its source, the types of pandas are unions that no call narrows.

import re
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Int
from scipy import sparse

from infosem_jax._shown import shown
from infosem_jax._typing import Path
from infosem_jax.data._edge_table import numbers, read_edge_table
from infosem_jax.data._embeddings import Embedding, read_embedding
from infosem_jax.data._files import reading
from infosem_jax.data._species import without_version
from infosem_jax.data._tables import open_text
from infosem_jax.data.gene_text import embed_genes, read_gene_text

FAR = 127


@shown("nodes", "graphs", "text")
class Knowledge(NamedTuple):
    """Graphs and texts of genes.

    Attributes
    ----------
    nodes
        Names of genes.
    graphs
        Weights of edges by source, from 0 to 1, [receivers, senders]; sparse.
    text
        Vector of each node, of length 1, or 0 where there is no text, [nodes, features].
    """

    nodes: tuple[str, ...]
    graphs: dict[str, sparse.csr_array]
    text: Float32[np.ndarray, "nodes features"]

    @property
    def has_text(self) -> Bool[np.ndarray, " nodes"]:
        """Which nodes have a text."""
        return np.any(self.text != 0, axis=1)

    @property
    def has_edges(self) -> Bool[np.ndarray, " nodes"]:
        """Which nodes have an edge of any source."""
        both = sum((g + g.T for g in self.graphs.values()), _empty(len(self.nodes)))
        return np.diff(sparse.csr_array(both).indptr) > 0


class Candidates(NamedTuple):
    """Nodes near to each perturbation, padded; those perturbed first, then by hops.

    Attributes
    ----------
    node
        Place among the nodes, [perturbations, most].
    hop
        Edges away from the nearest perturbed gene; 127 is padding, [perturbations, most].
    cut
        How many more nodes were in reach of each and are left out, the least connected ones.
    """

    node: Int[np.ndarray, "perturbations most"]
    hop: Int[np.ndarray, "perturbations most"]
    cut: Int[np.ndarray, " perturbations"]


def read_edges(path: Path, *, top: int = 0) -> pd.DataFrame:
    """Read a knowledge graph: columns ``source``, ``target``, ``weight`` and ``directed``.

    The tables of all tools that ``infosem_jax.data._edge_table`` knows, ``edges.csv`` of
    ``infosem fit`` among them. Weights are divided by the largest; their sign says how a gene acts,
    and is not part of the graph. Ensembl identifiers lose their version, as those of screens do.

    Parameters
    ----------
    path
        CSV or TSV, plain or gzipped.
    top
        Keep so many of the strongest edges of each target, where weights differ; 0 keeps all. A
        network of ``infosem fit`` lists every pair, so this should be set for one.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        On other columns, or weights that are no numbers.
    """
    table = read_edge_table(path, "knowledge graph")
    with reading(path, "knowledge graph"):
        weight = np.ones(len(table.frame))
        if table.weight:
            weight = np.abs(numbers(table.frame[table.weight], "graph"))
        if not weight.max() > 0:
            raise ValueError(f"expected numbers in the column {table.weight}, some not 0.")
        edges = table.frame[["source", "target"]]
        plain = {name: without_version(name) for name in pd.unique(edges.to_numpy().ravel())}
        edges = edges.apply(lambda column: column.map(plain)).assign(weight=weight / weight.max())
        edges = edges[(edges["source"] != edges["target"]) & (edges["weight"] > 0)]
        if top and edges["weight"].min() < edges["weight"].max():
            edges = edges.sort_values("weight", ascending=False, kind="stable")
            edges = edges.groupby("target").head(top)
        return edges.assign(directed=table.directed).reset_index(drop=True)


def read_text(path: Path) -> Embedding:
    """Read vectors of genes (npz, h5ad, CSV of numbers), or texts of genes, which are embedded.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it holds neither.
    """
    if FilePath(path).suffix in (".npz", ".h5ad", ".json"):
        return read_embedding(path)
    with open_text(path, "texts or vectors of genes") as stream:
        columns = set(re.split(r"[,;\t]", stream.readline().strip().lower()))
    if columns & {"text", "summary", "full_name", "description", "gene_summary"}:
        return embed_genes(read_gene_text(path))
    return read_embedding(path)


def make_knowledge(
    tables: Mapping[str, pd.DataFrame],
    text: Embedding | None,
    genes: Sequence[str] = (),
) -> Knowledge:
    """Bring graphs and texts to one set of nodes: all genes of the graphs and those asked for.

    Edges without direction go both ways. Names are compared as they are.

    Parameters
    ----------
    tables
        Edges by source, as `read_edges` returns them.
    text
        Vectors of genes, scaled to length 1; None for none.
    genes
        Genes that must have a node: those that are perturbed, also where nothing is known.
    """
    named = {str(name) for table in tables.values() for end in ("source", "target")
             for name in table[end]}  # fmt: skip
    nodes = tuple(sorted(named | set(genes)))
    place = {name: i for i, name in enumerate(nodes)}
    graphs = {}
    for source, table in tables.items():
        sender, receiver = (table[end].map(place).to_numpy() for end in ("source", "target"))
        weight = table["weight"].to_numpy(np.float32)
        graph = sparse.coo_array((weight, (receiver, sender)), (len(nodes), len(nodes)))
        graph = _largest(graph)
        undirected = not table["directed"].any()
        graphs[source] = sparse.csr_array(graph.maximum(graph.T)) if undirected else graph
    vectors = np.zeros((len(nodes), 1 if text is None else text.vectors.shape[1]), np.float32)
    if text is not None:
        rows = {name: i for i, name in enumerate(text.names)}
        known = [(i, rows[name]) for i, name in enumerate(nodes) if name in rows]
        if known:
            at, own = np.array(known).T
            vectors[at] = text.vectors[own]
        norm = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors = np.divide(vectors, norm, out=np.zeros_like(vectors), where=norm > 0)
    return Knowledge(nodes, graphs, vectors)


def shuffled(knowledge: Knowledge, seed: int) -> Knowledge:
    """Give the nodes of every graph to other genes at random; texts stay.

    The control for the information in edges: their number and distribution stay the same.
    """
    nodes = np.flatnonzero(knowledge.has_edges)
    order = np.arange(len(knowledge.nodes))
    order[nodes] = np.random.default_rng(seed).permutation(nodes)
    graphs = {name: sparse.csr_array(g[order][:, order]) for name, g in knowledge.graphs.items()}
    return knowledge._replace(graphs=graphs)


def union(knowledge: Knowledge, *, top: int = 0) -> sparse.csr_array:
    """Join all graphs: the weight of an edge is the mean over sources, plus what ranks ties.

    Parameters
    ----------
    knowledge
        Graphs.
    top
        Keep so many edges into each node, by weight and then by neighbours in common; 0 keeps all.
    """
    n = len(knowledge.nodes)
    joined = sum(knowledge.graphs.values(), _empty(n)) * (1.0 / max(len(knowledge.graphs), 1))
    joined = sparse.csr_array(joined)
    joined.setdiag(0)
    joined.eliminate_zeros()
    if not top:
        return joined
    coo = joined.tocoo()
    binary = sparse.csr_array(joined.astype(bool).astype(np.float32))
    degree = np.maximum(np.diff(binary.indptr), 1)
    # In pieces, as common neighbours of all pairs would be a dense matrix.
    common = np.concatenate(
        [
            np.asarray(
                binary[coo.row[i : i + 20000]].multiply(binary[coo.col[i : i + 20000]]).sum(1)
            )
            for i in range(0, len(coo.row), 20000)
        ]
        or [np.zeros(0)]
    ).ravel()
    shared = common / np.sqrt(degree[coo.row] * degree[coo.col])
    order = np.lexsort((coo.col, -shared, -coo.data, coo.row))
    rank = np.arange(len(order)) - np.searchsorted(coo.row[order], coo.row[order])
    kept = order[rank < top]
    return sparse.csr_array((coo.data[kept], (coo.row[kept], coo.col[kept])), joined.shape)


def candidates(
    knowledge: Knowledge, perturbed: Sequence[Sequence[str]], *, hops: int, most: int
) -> Candidates:
    """Find the nodes within some hops of each perturbation, nearest first.

    Nodes as many hops away are ordered by how many paths lead there, each divided by the degrees
    it passes, so that hubs do not crowd out the others.

    Parameters
    ----------
    knowledge
        Graphs; edges are followed both ways.
    perturbed
        Perturbed genes of each perturbation.
    hops
        How far to go.
    most
        Nodes to keep at most, those perturbed included.
    """
    joined = union(knowledge)
    both = sparse.csr_array(joined.maximum(joined.T))
    degree = np.maximum(np.asarray(both.sum(1)).ravel(), 1e-9)
    walk = sparse.csr_array(both.multiply(1 / degree[:, None]))
    start = indicator(knowledge, perturbed)
    width = min(most, len(knowledge.nodes))
    node = np.zeros((len(perturbed), width), np.int32)
    hop = np.full(node.shape, FAR, np.int32)
    cut = np.zeros(len(perturbed), int)
    for i in range(len(perturbed)):
        paths = start[[i]].toarray().ravel().astype(np.float64)
        away = np.where(paths > 0, 0, FAR)
        weight = paths.copy()
        for h in range(1, hops + 1):
            paths = paths @ walk
            new = (paths > 0) & (away == FAR)
            away[new], weight[new] = h, paths[new]
        reached = np.flatnonzero(away < FAR)
        order = reached[np.lexsort((-weight[reached], away[reached]))]
        kept = order[:width]
        node[i, : len(kept)], hop[i, : len(kept)] = kept, away[kept]
        cut[i] = len(order) - len(kept)
    used = max(int((hop < FAR).sum(1).max(initial=1)), 1)
    return Candidates(node[:, :used], hop[:, :used], cut)


def indicator(knowledge: Knowledge, perturbed: Sequence[Sequence[str]]) -> sparse.csr_array:
    """Return which nodes each perturbation perturbs, [perturbations, nodes]."""
    place = {name: i for i, name in enumerate(knowledge.nodes)}
    pairs = [(i, place[g]) for i, genes in enumerate(perturbed) for g in genes if g in place]
    row, col = np.array(pairs, int).reshape(-1, 2).T
    shape = (len(perturbed), len(knowledge.nodes))
    return sparse.csr_array((np.ones(len(row), np.float32), (row, col)), shape)


def text_of(
    knowledge: Knowledge, perturbed: Sequence[Sequence[str]]
) -> Float32[np.ndarray, "perturbations features"]:
    """Return the sum of the text vectors of the genes of each perturbation, scaled to length 1."""
    vectors = indicator(knowledge, perturbed) @ knowledge.text
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norm, out=np.zeros_like(vectors), where=norm > 0).astype(np.float32)


def reach(
    knowledge: Knowledge, perturbed: Sequence[Sequence[str]]
) -> tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Tell of which perturbations all genes have edges, and of which all have a text."""
    names = {name: i for i, name in enumerate(knowledge.nodes)}
    edges, text = knowledge.has_edges, knowledge.has_text

    def all_of(flags: np.ndarray) -> np.ndarray:
        return np.array([all(g in names and flags[names[g]] for g in p) for p in perturbed], bool)

    return all_of(edges), all_of(text)


def _empty(n: int) -> sparse.csr_array:
    return sparse.csr_array((n, n), dtype=np.float32)


def _largest(graph: sparse.coo_array) -> sparse.csr_array:
    """Keep the largest weight of pairs that are listed twice."""
    order = np.lexsort((-graph.data, graph.col, graph.row))
    row, col, data = graph.row[order], graph.col[order], graph.data[order]
    first = np.ones(len(row), bool)
    first[1:] = (np.diff(row) != 0) | (np.diff(col) != 0)
    return sparse.csr_array((data[first], (row[first], col[first])), graph.shape)
