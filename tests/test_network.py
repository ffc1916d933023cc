import json

import anndata
import networkx as nx
import numpy as np
import pandas as pd
import pytest

from infosem_jax.data._names import check_names
from infosem_jax.grn.networks import (
    Network,
    candidate_pairs,
    edges,
    from_anndata,
    to_anndata,
    to_decoupler,
    to_networkx,
    write_edges,
    write_graphml,
    write_ranked_edges,
)

GENES = ("E", "B", "A", "D", "C")
REGULATORS = ("B", "A", "D")
COLUMNS = ["source", "target", "score", "weight", "sd", "sign_agreement", "probability"]


def network(*, gate: bool = True, genes=GENES, regulators=REGULATORS, seed: int = 0) -> Network:
    rng = np.random.default_rng(seed)
    shape = (len(regulators), len(genes))
    weight = rng.normal(size=shape).astype(np.float32)
    weight[np.asarray(regulators)[:, None] == np.asarray(genes)] = 0
    return Network(
        regulators,
        genes,
        weight,
        rng.uniform(0.1, 0.2, shape).astype(np.float32),
        rng.uniform(0.5, 1, shape).astype(np.float32),
        rng.uniform(size=shape).astype(np.float32) if gate else None,
        "toy",
    )


def scored() -> Network:
    score = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)
    return network()._replace(score=score)


def same(a: Network, b: Network) -> bool:
    """Compare by name, so that the order of genes does not matter."""
    return a.name == b.name and edges(a).equals(edges(b))


def test_edges_hold_every_pair_once_and_no_self_pair():
    net = network()
    table = edges(net)
    assert list(table) == COLUMNS
    assert len(table) == 12
    assert not table.duplicated(["source", "target"]).any()
    assert (table.source != table.target).all()
    assert (table.weight.abs().diff().dropna() <= 0).all()
    for row in table.itertuples():
        i, j = net.regulators.index(row.source), net.genes.index(row.target)
        assert row.weight == net.weight[i, j] and row.sd == net.sd[i, j]
        assert row.sign_agreement == net.sign_agreement[i, j]
        assert row.probability == net.probability[i, j]


def test_edges_without_a_gate_have_no_probability():
    assert edges(network(gate=False)).probability.isna().all()


def test_ties_are_ordered_by_name_whatever_the_order_of_genes():
    flat = network()._replace(weight=np.full((3, 5), -0.5))
    pairs = edges(flat)[["source", "target"]].agg("".join, axis=1).tolist()
    assert pairs == sorted(pairs)
    assert edges(flat, top=4).equals(edges(flat).head(4))


@pytest.mark.parametrize("top", [1, 5, 12, 100])
def test_top_is_the_head_of_the_full_table(top):
    assert edges(network(), top=top).equals(edges(network()).head(top))


@pytest.mark.parametrize("scored", [False, True])
def test_every_gene_can_keep_its_strongest_edges(scored):
    net = network()
    net = net._replace(score=np.asarray(net.weight) ** 3) if scored else net
    table = edges(net)
    place = [table.groupby(end).cumcount() < 2 for end in ("source", "target")]
    wanted = (np.arange(len(table)) < 3) | place[0] | place[1]
    assert edges(net, top=3, each=2).equals(table.loc[wanted].reset_index(drop=True))
    assert edges(net, each=2).equals(table)


@pytest.mark.parametrize("each", [1, 2, 50])
def test_of_edges_that_are_as_strong_the_first_of_each_gene_are_kept(each):
    net = network(gate=False, genes=tuple("abcdefgh"), regulators=tuple("cbe"))
    net = net._replace(weight=np.round(np.asarray(net.weight)))
    found = {tuple(pair) for pair in edges(net, top=1, each=each)[["source", "target"]].to_numpy()}
    size = np.where(candidate_pairs(net), np.abs(net.weight), -np.inf)
    marked = size == -1
    for i in range(3):
        marked[i, np.argsort(-size[i], kind="stable")[:each]] = True
    for j in range(8):
        marked[np.argsort(-size[:, j], kind="stable")[:each], j] = True
    row, column = np.nonzero(marked & candidate_pairs(net))
    expected = {(net.regulators[i], net.genes[j]) for i, j in zip(row, column, strict=True)}
    assert found == expected | set(map(tuple, edges(net, top=1)[["source", "target"]].to_numpy()))


def test_edges_of_a_network_without_scores_have_the_column_empty():
    assert edges(network()).score.isna().all()


def test_scores_rank_edges_in_every_format(tmp_path):
    net = scored()
    table = edges(net)
    assert table.score.is_monotonic_decreasing and not table.weight.abs().is_monotonic_decreasing
    for top in (1, 5, 12):
        assert edges(net, top=top).equals(table.head(top))
    pairs = list(zip(table.source, table.target, strict=True))
    write_ranked_edges(tmp_path / "rankedEdges.csv", net)
    ranked = pd.read_csv(tmp_path / "rankedEdges.csv", sep="\t")
    assert list(zip(ranked.Gene1, ranked.Gene2, strict=True)) == pairs
    np.testing.assert_allclose(np.log(ranked.EdgeWeight), table.score, rtol=1e-5)
    regulon = to_decoupler(net, top=3)
    assert list(zip(regulon.source, regulon.target, strict=True)) == pairs[:3]
    assert set(to_networkx(net, top=4).edges) == set(pairs[:4])
    assert to_networkx(net, top=4).edges[pairs[0]]["score"] == table.score[0]
    with pytest.raises(ValueError, match="weights or scores are not finite"):
        edges(net._replace(score=np.full((3, 5), np.nan)))


def test_scores_go_through_anndata_and_files_without_them_are_read(tmp_path):
    to_anndata(scored()).write_h5ad(tmp_path / "network.h5ad")
    back = anndata.read_h5ad(tmp_path / "network.h5ad")
    assert same(from_anndata(back), scored())
    del back.varp["infosem_score"]
    assert same(from_anndata(back), network())


def test_edges_refuse_a_network_that_diverged_and_an_empty_top():
    net = network()
    with pytest.raises(ValueError, match="toy: 1 weights are not finite"):
        edges(net._replace(weight=np.where(net.weight == net.weight.max(), np.nan, net.weight)))
    with pytest.raises(ValueError, match="top=0"):
        edges(net, top=0)


def test_edges_csv_reads_back_exactly(tmp_path):
    path = tmp_path / "edges.csv"
    write_edges(path, network())
    back = pd.read_csv(path, dtype={"source": str, "target": str})
    assert list(back) == COLUMNS
    pd.testing.assert_frame_equal(
        back.astype(dict.fromkeys(COLUMNS[3:], np.float32)), edges(network())
    )
    assert [file.name for file in tmp_path.iterdir()] == ["edges.csv"]


def test_ranked_edges_have_the_form_of_beeline(tmp_path):
    write_ranked_edges(tmp_path / "rankedEdges.csv", network())
    lines = (tmp_path / "rankedEdges.csv").read_text().splitlines()
    assert lines[0] == "Gene1\tGene2\tEdgeWeight"
    first = edges(network()).iloc[0]
    assert lines[1].split("\t")[:2] == [first.source, first.target]
    assert len(lines) == 13


@pytest.mark.parametrize("name", ["A\x00B", "A\ud800", "A\nB", "A\x7f"])
def test_names_that_no_file_can_hold_are_refused(name):
    with pytest.raises(ValueError, match="1 gene names hold characters that no table can"):
        check_names(["A", name])


@pytest.mark.parametrize("name", ["=1+1", "+A", "-A", "@SUM(A1)", "\t=A"])
def test_names_that_spreadsheets_would_run_are_refused(name, tmp_path):
    net = network(genes=(name, *GENES[1:]))
    for write in (write_edges, write_ranked_edges):
        with pytest.raises(ValueError, match="formulas"):
            write(tmp_path / "edges.csv", net)
    assert not list(tmp_path.iterdir())


def test_names_of_real_genes_are_accepted():
    check_names(["HLA-A", "NKX2-1", "7SK", "H2-Ab1", "mt-Co1", "1700001C02Rik", "A=B"])


@pytest.mark.parametrize("gate", [True, False])
def test_anndata_round_trip_through_a_file(gate, tmp_path):
    net = network(gate=gate)
    record = {"seeds": 2, "loss": 1.5, "gated": gate, "clip": None, "priors": ["a", "b"]}
    nested = {**record, "files/in": {"a/b": "c"}}
    to_anndata(net, record=nested).write_h5ad(tmp_path / "network.h5ad")
    back = anndata.read_h5ad(tmp_path / "network.h5ad")
    assert back.shape == (0, 5)
    assert same(from_anndata(back), net)
    stored = back.uns["infosem"]
    assert stored["files_in"] == {"a_b": "c"}
    assert (stored["seeds"], stored["loss"], stored["gated"]) == (2, 1.5, gate)
    assert json.loads(stored["priors"]) == ["a", "b"] and json.loads(stored["clip"]) is None


def test_anndata_has_regulators_in_rows_among_all_genes_of_the_data(tmp_path):
    names = ["X1", "A", "B", "C", "D", "E", "X2"]
    adata = anndata.AnnData(np.ones((3, 7), np.float32), var=pd.DataFrame(index=names))
    result = to_anndata(network(), adata, key="grn")
    assert not adata.varp and "is_regulator" not in adata.var
    assert result.var_names[result.var.is_regulator].tolist() == ["A", "B", "D"]
    for row in edges(network()).itertuples():
        i, j = names.index(row.source), names.index(row.target)
        assert result.varp["grn"][i, j] == row.weight
        assert result.varp["grn_sd"][i, j] == row.sd
    assert result.varp["grn"].shape == (7, 7) and result.varp["grn"].nnz == 12
    assert same(from_anndata(result, key="grn"), network())


def test_anndata_must_fit_the_network():
    def data(names):
        return anndata.AnnData(np.ones((3, len(names)), np.float32), var=pd.DataFrame(index=names))

    with pytest.raises(ValueError, match=r"1 of 5 genes .* \(E\)"):
        to_anndata(network(), data(list("ABCDF")))
    twice = data(list("ABCDE"))
    twice.var_names = list("ABCDD")
    with pytest.raises(ValueError, match="more than once"):
        to_anndata(network(), twice)
    with pytest.raises(ValueError, match="without '/'"):
        to_anndata(network(), key="a/b")
    with pytest.raises(ValueError, match="no network under 'infosem'"):
        from_anndata(data(list("ABCDE")))


def test_graph_has_the_strongest_edges_as_plain_numbers(tmp_path):
    graph = to_networkx(network(), top=4)
    table = edges(network(), top=4)
    assert set(graph.edges) == set(zip(table.source, table.target, strict=True))
    assert {type(v) for *_, data in graph.edges(data=True) for v in data.values()} == {float}
    assert all(graph.nodes[node]["is_regulator"] is (node in REGULATORS) for node in graph)
    assert set(graph.edges[table.source[0], table.target[0]]) == set(COLUMNS[3:])
    ungated = to_networkx(network(gate=False))
    assert "probability" not in next(iter(ungated.edges(data=True)))[2]

    write_graphml(tmp_path / "network.graphml", network(), top=4)
    back = nx.read_graphml(tmp_path / "network.graphml")
    assert dict(back.edges) == dict(graph.edges) and dict(back.nodes) == dict(graph.nodes)


def test_decoupler_table():
    table = to_decoupler(network(), top=3)
    assert list(table) == ["source", "target", "weight"]
    assert table.equals(edges(network())[["source", "target", "weight"]].head(3))


def test_real_network_keeps_every_known_edge(real_data, tmp_path):
    folder = real_data / "beeline" / "hESC" / "TFs+500"
    known = pd.read_csv(folder / "network_specific.csv.gz")
    genes = tuple(pd.read_csv(folder / "genes.csv.gz", keep_default_na=False)["gene"])
    regulators = tuple(sorted(set(known["TF"])))
    weight = np.zeros((len(regulators), len(genes)), np.float32)
    row = pd.Index(regulators).get_indexer(known["TF"])
    weight[row, pd.Index(genes).get_indexer(known["Target"])] = 1
    net = Network(regulators, genes, weight, weight / 2, np.ones_like(weight), None, "hESC")
    write_edges(tmp_path / "edges.csv", net)
    back = pd.read_csv(tmp_path / "edges.csv", keep_default_na=False, dtype=str)
    strong = set(back.loc[back["weight"] == "1.0", ["source", "target"]].itertuples(index=False))
    assert strong == set(known[["TF", "Target"]].itertuples(index=False))
    assert same(from_anndata(to_anndata(net)), net)
