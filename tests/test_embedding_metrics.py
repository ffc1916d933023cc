"""Measures of gene embeddings against brute force, known answers, and what they must not see."""

import numpy as np
import pytest
from test_embedding_model import graph

from infosem_jax.benchmark.embedding.compare import (
    average_ranks,
    rank_estimates,
    undefined,
)
from infosem_jax.benchmark.embedding.sources import Source, rename
from infosem_jax.embedding import (
    GraphSettings,
    clustering,
    embedded,
    enrichment,
    evaluate,
    function_recovery,
    gene_vectors,
    make_study,
    metrics,
    nearest_genes,
    read_gene_sets,
    retrieve_orthologues,
    study_graph,
)
from infosem_jax.embedding.metrics import SIX
from infosem_jax.embedding.orthologues import retrieval_scores, withhold
from infosem_jax.scores import mean_interval


def vectors(graphs, seed=0, joined=True):
    """Genes at places of their own name (or of their own study), with little noise."""
    rng = np.random.default_rng(seed)
    place = {f"G{i}": rng.normal(size=6) for i in range(200)}
    found = []
    for own in graphs:
        own_place = place if joined else {gene: rng.normal(size=6) for gene in own.genes}
        rows = [own_place[gene] + 0.05 * rng.normal(size=6) for gene in own.genes]
        found.append(np.array(rows, np.float32))
    return found


def measures(graphs, vectors, sets=None):
    return evaluate(embedded(graphs, vectors, "made by hand"), graphs, sets)


STUDIES = [graph(60), graph(60, first=20, seed=1), graph(50, first=10, seed=2)]


def test_joined_studies_measure_above_studies_apart():
    joined = measures(STUDIES, vectors(STUDIES))
    apart = measures(STUDIES, [z + 20 * i for i, z in enumerate(vectors(STUDIES, joined=False))])
    for name in ("ilisi", "common_ratio"):
        assert joined[name] > apart[name] + 0.2
    assert joined["common_genes"] == 40
    assert set(SIX) <= set(joined)
    assert apart["ilisi"] < 0.05 and apart["common_ratio"] == 0


def test_measures_do_not_depend_on_the_order_of_genes_or_turns():
    z = vectors(STUDIES)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0].astype(np.float32)
    found, turned = measures(STUDIES, z), measures(STUDIES, [own @ turn for own in z])
    for name in ("auc", "ilisi"):
        assert turned[name] == pytest.approx(found[name], abs=1e-4)


def test_edge_auc_counts_pairs():
    own, z = STUDIES[0], vectors(STUDIES)[0]
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    won = total = 0.0
    pairs = [(i, j) for i in range(60) for j in range(i)]
    yes = [unit[i] @ unit[j] for i, j in pairs if own.adjacency[i, j]]
    no = [unit[i] @ unit[j] for i, j in pairs if not own.adjacency[i, j]]
    for a in yes:
        won += sum((a > b) + 0.5 * (a == b) for b in no)
        total += len(no)
    assert metrics.edge_auc(own, z) == pytest.approx(won / total, abs=1e-4)


def test_ilisi_is_its_definition():
    rng = np.random.default_rng(0)
    z, study = rng.normal(size=(40, 3)), np.arange(40) % 2
    k, perplexity = 12, 4.0
    index = []
    for i in range(40):
        distance = np.linalg.norm(z - z[i], axis=1)
        near = np.argsort(distance)[1 : k + 1]
        low, high = 1e-3, 1e3
        for _ in range(200):
            beta = np.sqrt(low * high)
            p = np.exp(-beta * (distance[near] - distance[near].min()))
            p /= p.sum()
            entropy = -(p * np.log(np.maximum(p, 1e-300))).sum()
            low, high = (beta, high) if entropy > np.log(perplexity) else (low, beta)
        index.append(1 / sum(p[study[near] == s].sum() ** 2 for s in (0, 1)))
    assert metrics.ilisi(z, study, perplexity) == pytest.approx(np.median(index) - 1, abs=1e-3)


def test_silhouettes_of_studies_leave_out_clusters_of_one():
    from sklearn.metrics import silhouette_samples

    rng = np.random.default_rng(0)
    z, study = rng.normal(size=(30, 3)), np.arange(30) % 2
    cluster = np.repeat([0, 1, 2], 10)
    study[20:] = 0
    wanted = [1 - np.abs(silhouette_samples(z[at], study[at])).mean()
              for at in (cluster == 0, cluster == 1)]  # fmt: skip
    assert metrics.silhouette_of_studies(z, study, cluster) == pytest.approx(np.mean(wanted))
    assert np.isnan(metrics.silhouette_of_studies(z, 0 * study, cluster))


def test_connectivity_and_common_ratio_have_known_answers():
    far = np.concatenate([np.zeros((20, 2)), 100 + np.zeros((20, 2))])
    z = far + np.random.default_rng(0).normal(size=far.shape)
    assert metrics.connectivity(z, np.repeat([0, 1], 20)) == 1
    assert metrics.connectivity(z, np.zeros(40, int)) == 0.5
    assert metrics.common_ratio("ABAB", np.array([0, 0, 0, 1])) == 0.25
    assert metrics.common_ratio("ABAB", np.array([0, 1, 0, 1])) == 0.5


def test_shared_neighbours_of_clusters_are_counted_pair_by_pair():
    studies = [graph(12), graph(12, first=4, seed=1)]
    cluster, study = np.arange(24) % 3, np.repeat([0, 1], 12)
    near = [
        {own.genes[k] for k in np.flatnonzero(own.adjacency[i])}
        for own in studies
        for i in range(12)
    ]
    total = 0.0
    for c in range(3):
        at = np.flatnonzero(cluster == c)
        found = [
            len(near[i] & near[j]) / len(near[i] | near[j])
            for i in at
            for j in at
            if study[i] < study[j]
        ]
        total += len(at) / 24 * np.mean(found)
    assert metrics.overlap(studies, [cluster[:12], cluster[12:]]) == pytest.approx(total)


def test_clusters_are_groups_that_lie_apart_and_follow_the_seed():
    centres = 30 * np.eye(4)[np.arange(120) % 4]
    z = centres + np.random.default_rng(0).normal(size=(120, 4))
    cluster = clustering.clusters(z)
    assert len(np.unique(cluster)) == 4
    assert all(len(np.unique(cluster[np.arange(120) % 4 == i])) == 1 for i in range(4))
    assert (clustering.clusters(z) == cluster).all()


def test_measures_that_need_several_studies_are_not_made_up():
    one = measures(STUDIES[:1], vectors(STUDIES[:1]))
    assert np.isfinite(one["auc"]) and np.isnan(one["asw"]) and np.isnan(one["common_ratio"])
    strangers = [graph(30), graph(30, first=90, seed=1)]
    apart = measures(strangers, vectors(strangers))
    assert np.isnan(apart["ilisi"]) and apart["common_genes"] == 0
    bad = vectors(STUDIES)
    bad[1][3] = np.nan
    with pytest.raises(ValueError, match="1 of them not finite"):
        measures(STUDIES, bad)
    with pytest.raises(ValueError, match="graphs that were embedded, of s0; found others"):
        evaluate(embedded(STUDIES[:1], vectors(STUDIES[:1]), "pca"), STUDIES[1:2])


def test_gene_sets_are_measured_by_collection():
    rng = np.random.default_rng(0)
    z = [np.eye(2)[np.arange(60) % 2] + 0.1 * rng.normal(size=(60, 2)) for _ in range(2)]
    sets = {"even": frozenset(f"G{i}" for i in range(0, 80, 2))}
    found = measures(STUDIES[:2], z, {"parity": sets})
    assert found["function_auroc_parity"] > 0.99 and found["function_sets_parity"] == 1


def test_functions_are_found_where_they_are_and_not_elsewhere():
    rng = np.random.default_rng(0)
    genes = [f"G{i}" for i in range(120)]
    group = np.arange(120) % 6
    sets = {f"S{g}": frozenset(f"G{i}" for i in range(120) if i % 6 == g) for g in range(3)}
    z = np.eye(6)[group] + 0.1 * rng.normal(size=(120, 6))
    found = function_recovery(genes, z, sets)
    assert found["function_auroc"] > 0.99 and found["function_precision"] > 0.95
    assert found["function_precision_ratio"] > 2 and found["function_sets"] == 3
    chance = function_recovery(genes, rng.normal(size=(120, 6)), sets)
    assert 0.4 < chance["function_auroc"] < 0.6
    assert 0.8 < chance["function_precision_ratio"] < 1.2
    assert np.isnan(function_recovery(genes, z, {"small": frozenset(["G1"])})["function_auroc"])


def test_a_gene_counts_as_no_neighbour_of_itself():
    # Of five genes at right angles none is near another: no better than chance.
    z = np.eye(30)
    sets = {"five": frozenset(f"G{i}" for i in range(5))}
    found = function_recovery([f"G{i}" for i in range(30)], z, sets)
    assert found["function_auroc"] == pytest.approx(0.5)


def test_enriched_sets_are_those_of_the_hypergeometric_distribution():
    from scipy import stats

    genes = [f"G{i}" for i in range(100)]
    cluster = np.repeat([0, 1], 50)
    sets = {
        "first": frozenset(f"G{i}" for i in range(10)),
        "even": frozenset(f"G{i}" for i in range(0, 100, 10)),
    }
    ((c, name, hits, size, q),) = enrichment(genes, cluster, sets)
    assert (c, name, hits, size) == (0, "first", 10, 10)
    p = [stats.hypergeom.sf(9, 100, 10, 50), stats.hypergeom.sf(4, 100, 10, 50)]
    assert q == pytest.approx(stats.false_discovery_control([p[0], p[1], p[1]])[0])


def test_vectors_of_a_gene_are_averaged_at_unit_length_and_neighbours_are_listed():
    names, z = gene_vectors(
        [["A", "B"], ["B"]], [np.array([[2.0, 0], [0, 3]]), np.array([[4.0, 0]])]
    )
    assert names == ("A", "B")
    np.testing.assert_allclose(z, [[1, 0], [0.5, 0.5]])
    near = nearest_genes(["A", "B", "C"], np.array([[1, 0], [1, 1], [0, 1.0]]), "A", 2)
    assert [gene for gene, _ in near] == ["B", "C"]
    assert near[0][1] == pytest.approx(0.5**0.5)
    with pytest.raises(ValueError, match="did you mean"):
        nearest_genes(["ACTB", "B"], np.eye(2), "ACTG", 1)


def test_gene_sets_are_read_from_both_kinds_of_file(tmp_path):
    (tmp_path / "a.gmt").write_text("S1\turl\tA\tB\nS2\turl\tC\n")
    assert read_gene_sets(tmp_path / "a.gmt") == {"S1": {"A", "B"}, "S2": {"C"}}
    (tmp_path / "go.tsv").write_text("go_id\tgene_symbols\nGO:1\tA|B\n")
    assert read_gene_sets(tmp_path / "go.tsv") == {"GO:1": {"A", "B"}}
    (tmp_path / "no.tsv").write_text("name\tgenes\nGO:1\tA|B\n")
    with pytest.raises(ValueError, match="expected a GMT file or columns"):
        read_gene_sets(tmp_path / "no.tsv")


@pytest.fixture
def species():
    rng = np.random.default_rng(0)
    x = rng.poisson(3, (60, 40)).astype(np.float32)
    human = make_study(x, [f"G{i}" for i in range(40)], name="h", species="human")
    mouse = make_study(x[::-1], [f"g{i}" for i in range(40)], name="m", species="mouse")
    table = {"mouse": {f"g{i}": f"G{i}" for i in range(40)}}
    source = Source("both", (human, mouse), table)
    settings = GraphSettings(edges="knn", neighbours=3)
    return source, [study_graph(study, settings) for study in source.studies]


def test_withheld_orthologues_reach_no_name_of_what_methods_are_given(species):
    source, graphs = species
    prepared = rename(source, graphs, 0)
    hidden = prepared.withheld["mouse"]
    assert len(hidden) == 12
    human, mouse = prepared.graphs
    counterparts = {source.orthologues["mouse"][symbol] for symbol in hidden}
    assert not counterparts & set(mouse.genes)
    assert set(mouse.genes) == {f"G{i}" for i in range(40)} - counterparts | {
        f"{symbol} (mouse)" for symbol in hidden
    }
    # With other counterparts of withheld genes methods are given the very same.
    swapped = dict(zip(sorted(hidden), sorted(counterparts)[::-1], strict=True))
    other = source._replace(orthologues={"mouse": source.orthologues["mouse"] | swapped})
    assert rename(other, graphs, 0).graphs[1].genes == mouse.genes
    assert human.genes == graphs[0].genes


def test_orthologues_are_retrieved_by_cosine_and_by_chance_they_are_not(species):
    source, graphs = species
    prepared = rename(source, graphs, 0)
    rng = np.random.default_rng(1)
    z = rng.normal(size=(40, 8))
    table = source.orthologues
    asked = (prepared.graphs, [z, z], table, prepared.withheld)
    found = retrieval_scores(retrieve_orthologues(*asked))
    assert found["orthologue_mrr"] == 1 and found["orthologue_recall"] == 1
    assert found["orthologue_pairs"] == 12 and found["orthologue_recall_chance"] == 0.25
    flat = retrieve_orthologues(prepared.graphs, [z, 0 * z], table, prepared.withheld)
    assert retrieval_scores(flat)["orthologue_percentile"] == pytest.approx(0.5)
    nothing = retrieve_orthologues(prepared.graphs, [z, z], table, {"mouse": frozenset()})
    assert np.isnan(retrieval_scores(nothing)["orthologue_mrr"])
    assert withhold(source.studies, {}, seed=0) == {}


def test_ranks_are_averaged_over_metrics_that_all_methods_have():
    import pandas as pd

    rows = [
        {"dataset": "d", "method": m, "seed": s, "asw": a, "auc": b, "ilisi": np.nan,
         "connectivity": 1.0, "common_ratio": a, "neighbour_overlap": a}
        for s in (0, 1)
        for m, a, b in (("x", 0.9, 0.5), ("y", 0.5, 0.6))
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    ranks = average_ranks(table).set_index(["method", "seed"])["rank"]
    # Three wins, a tie and a loss.
    assert ranks["x", 0] == pytest.approx((3 * 1 + 1.5 + 2) / 5)
    assert rank_estimates(average_ranks(table))["d"]["y"].mean == pytest.approx(8.5 / 5)
    table.loc[table["method"] == "x", "auc"] = np.nan
    last = average_ranks(table).set_index(["method", "seed"])["rank"]
    assert last["x", 0] == pytest.approx((3 * 1 + 1.5 + 2) / 5)
    table.loc[table["method"] == "x", "asw"] = np.nan
    last = average_ranks(table).set_index(["method", "seed"])["rank"]
    assert last["x", 0] == pytest.approx((2 + 2 + 1 + 1.5 + 1) / 5)
    assert average_ranks(table.iloc[:3])["seed"].tolist() == [0, 0]
    assert undefined(table) == ["ilisi"]
    # A control changes no rank.
    control = table.loc[table["method"] == "y"].assign(method="degree")
    with_control = average_ranks(pd.concat([table, control]))
    pd.testing.assert_frame_equal(with_control, average_ranks(table))
    assert undefined(pd.concat([table, control.assign(ilisi=1.0)])) == ["ilisi"]
    mean, low, high, n, _ = mean_interval([1.0, 2.0, 3.0, np.nan])
    assert (mean, n) == (2, 3) and low == pytest.approx(2 - 4.302653 / 3**0.5) and high > mean
