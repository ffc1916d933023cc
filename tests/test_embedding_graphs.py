"""Graphs of studies: CS-CORE against its formulas, edges, genes that vary, names, and refusals."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from infosem_jax.data._species import regulators_of
from infosem_jax.embedding import (
    Config,
    GraphSettings,
    coexpression,
    fit,
    harmonise,
    make_study,
    read_study,
    study_graph,
    study_graphs,
)
from infosem_jax.embedding.coexpression import correlate, cosine, cscore, nearest, significant
from infosem_jax.embedding.genes import choose_genes, features, pearson_residuals, spatial_test
from infosem_jax.embedding.graph import common
from infosem_jax.embedding.orthologues import withhold


def counts(cells=120, genes=30, seed=0, joined=10):
    """Counts of which the first genes share a factor."""
    rng = np.random.default_rng(seed)
    depth = rng.lognormal(0, 0.4, cells)
    level = rng.gamma(2, 1, (cells, genes))
    level[:, :joined] *= np.exp(0.8 * rng.normal(size=(cells, 1)))
    x = rng.poisson(depth[:, None] * level * rng.lognormal(0.5, 0.5, genes))
    return x.astype(np.float32), x.sum(1).astype(float)


def brute_force(x, s):
    """CS-CORE with a loop for every sum, in double precision."""
    x, s = x.astype(float), s / s.mean()
    n, p = x.shape

    def moments(w, h):
        mean = [sum(s[i] * x[i, j] / w[i, j] for i in range(n)) for j in range(p)]
        mean = np.array(mean) / [sum(s[i] ** 2 / w[i, j] for i in range(n)) for j in range(p)]
        h = h(mean)
        var = np.empty(p)
        for j in range(p):
            e = (x[:, j] - s * mean[j]) ** 2 - s * mean[j]
            var[j] = (s**2 * e / h[:, j]).sum() / (s**4 / h[:, j]).sum()
        return mean, var

    flat = np.ones((n, p))
    mean, var = moments(flat, lambda mean: flat)
    for _ in range(11):
        r = np.median((mean**2 / var)[var > 0])
        w = np.outer(s, mean) + np.outer(s, mean) ** 2 / r
        old = mean**2 / var
        was = var > 0

        def square(mean, r=r):
            level = np.outer(s, mean)
            return (level + level**2 / r) ** 2

        mean, var = moments(w, square)
        both = was & (var > 0)
        if np.abs(np.log((mean**2 / var)[both] / old[both])).max() <= 0.05:
            break
    r = np.median((mean**2 / var)[var > 0])
    w = np.outer(s, mean) + np.outer(s, mean) ** 2 / r
    kept = np.maximum(var, 0)
    v = np.outer(s, mean) + np.outer(s**2, kept)
    e = x - np.outer(s, mean)
    corr, z = np.eye(p), np.zeros((p, p))
    for j in range(p):
        for k in range(p):
            top = sum(s[i] ** 2 * e[i, j] * e[i, k] / (w[i, j] * w[i, k]) for i in range(n))
            low = sum(s[i] ** 4 / (w[i, j] * w[i, k]) for i in range(n))
            if j != k and kept[j] * kept[k] > 0:
                corr[j, k] = np.clip(top / low / np.sqrt(kept[j] * kept[k]), -1, 1)
            elif j != k:
                corr[j, k] = 0
            top = sum(s[i] ** 2 * e[i, j] * e[i, k] / (v[i, j] * v[i, k]) for i in range(n))
            z[j, k] = top / np.sqrt(sum(s[i] ** 4 / (v[i, j] * v[i, k]) for i in range(n)))
    return corr, z


def test_cscore_equals_its_formulas():
    x, depth = counts(60, 12)
    found = cscore(x, depth)
    corr, z = brute_force(x, depth)
    np.testing.assert_allclose(found.correlation, corr, atol=1e-4)
    np.testing.assert_allclose(found.z, z, atol=1e-4 * np.abs(z).max())


def test_cscore_does_not_depend_on_order_blocks_or_the_unit_of_depth(monkeypatch):
    x, depth = counts(80, 40)
    found = cscore(x, depth)
    genes, cells = (
        np.random.default_rng(1).permutation(40),
        np.random.default_rng(2).permutation(80),
    )
    moved = cscore(x[cells][:, genes], 7 * depth[cells])
    np.testing.assert_allclose(moved.z, found.z[np.ix_(genes, genes)], atol=2e-4)
    monkeypatch.setattr(coexpression, "BLOCK", 17)
    coexpression._cscore.clear_cache()
    blocks = cscore(x, depth)
    coexpression._cscore.clear_cache()
    np.testing.assert_allclose(blocks.z, found.z, atol=2e-4)
    np.testing.assert_allclose(blocks.correlation, found.correlation, atol=1e-4)


def test_cscore_finds_what_is_joined_and_little_else():
    x, depth = counts(800, 40, joined=10)
    # Depth over other genes, as users have it: these few are joined themselves.
    edges = significant(cscore(x, depth).z, 0.005)
    joined = np.zeros((40, 40), bool)
    joined[:10, :10] = True
    np.fill_diagonal(joined, False)
    assert edges[joined].mean() > 0.95
    assert not edges.diagonal().any() and (edges == edges.T).all()
    corrected = significant(cscore(x, depth).z, 0.005, correct=True)
    assert (edges | ~corrected).all()


def test_the_statistic_is_standard_normal_without_coexpression():
    rng = np.random.default_rng(3)
    depth = rng.lognormal(0, 0.3, 1500)
    x = rng.poisson(depth[:, None] * rng.gamma(3, 1, (1500, 40))).astype(np.float32)
    z = cscore(x, depth).z[np.triu_indices(40, 1)]
    assert abs(z.mean()) < 0.15
    assert 0.85 < z.std() < 1.15


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x + 0.5, "whole numbers"),
        (lambda x: x * (np.arange(x.shape[1]) > 0), "found 1 genes without"),
        (lambda x: x * (np.arange(len(x)) > 0)[:, None], "depth above 0"),
    ],
)
def test_cscore_refuses_what_are_no_counts(change, message):
    x, _ = counts(40, 12)
    x = change(x).astype(np.float32)
    with pytest.raises(ValueError, match=message):
        cscore(x, x.sum(1).astype(float))


def test_correlation_cosine_and_neighbours_are_those_of_numpy():
    x = np.random.default_rng(0).normal(size=(12, 30)).astype(np.float32)
    np.testing.assert_allclose(correlate(x).correlation, np.corrcoef(x), atol=1e-5)
    length = np.linalg.norm(x, axis=1)
    np.testing.assert_allclose(cosine(x), x @ x.T / np.outer(length, length), atol=1e-5)
    near = nearest(np.corrcoef(x), 3)
    assert (near == near.T).all() and not near.diagonal().any()
    best = np.corrcoef(x) - 2 * np.eye(12)
    assert near[np.arange(12), best.argmax(1)].all() and (near.sum(1) >= 3).all()


def test_significance_is_that_of_the_normal_distribution():
    z = np.array([[0, 3.0, 1.9], [3.0, 0, -2.9], [1.9, -2.9, 0]], np.float32)
    assert significant(z, 0.005).tolist() == [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    p = 2 * stats.norm.sf([3.0, 1.9, 2.9])
    wanted = stats.false_discovery_control(p) < 0.01
    assert significant(z, 0.01, correct=True)[np.triu_indices(3, 1)].tolist() == wanted.tolist()


def test_residuals_are_those_of_the_formula():
    x, _ = counts(30, 8)
    mean = np.outer(x.sum(1), x.sum(0)) / x.sum()
    wanted = np.clip((x - mean) / np.sqrt(mean + mean**2 / 100), -np.sqrt(30), np.sqrt(30))
    np.testing.assert_allclose(pearson_residuals(x), wanted, atol=1e-4)


def test_genes_that_vary_are_chosen():
    x = np.random.default_rng(0).poisson(4, (200, 40)).astype(np.float32)
    x[:, :5] *= 1 + 5 * (np.arange(200) % 2)[:, None]
    study = make_study(x, [f"G{i}" for i in range(40)], name="a")
    chosen = choose_genes(study, features(study), 5)
    assert chosen.tolist() == [0, 1, 2, 3, 4]


def test_spatial_genes_are_those_that_go_with_place():
    rng = np.random.default_rng(0)
    places = rng.uniform(0, 10, (300, 2))
    y = rng.normal(size=(300, 200)).astype(np.float32)
    y[:, 0] += places[:, 0]
    y[:, 1] += 3 * np.exp(-np.square(places - 5).sum(1) / 8)
    p, _ = spatial_test(y, places)
    assert p[:2].max() < 1e-6
    # Nothing but chance elsewhere; moving and turning the slice changes little of that.
    assert 0.01 < (p[2:] < 0.05).mean() < 0.12
    np.testing.assert_allclose(spatial_test(y, places + 100)[0], p, rtol=1e-3, atol=1e-12)


def test_one_pattern_is_tested_as_its_share_of_variance():
    rng = np.random.default_rng(1)
    places = rng.normal(size=(50, 2))
    y = rng.normal(size=(50, 1)).astype(np.float32)
    design = np.column_stack([np.ones(50), places])
    left = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    share = 1 - (left**2).sum() / ((y - y.mean()) ** 2).sum()
    assert spatial_test(y, places)[1][0] >= share - 1e-6


def test_studies_say_what_is_wrong_with_them():
    x, _ = counts(40, 30)
    genes = [f"G{i}" for i in range(30)]
    with pytest.raises(ValueError, match="at least 20 cells, found 12"):
        make_study(x[:12], genes, name="a")
    with pytest.raises(ValueError, match="at least 20 genes, found 0"):
        make_study(0 * x, genes, name="a")
    with pytest.raises(ValueError, match="finite values of at least 0"):
        make_study(x - 1, genes, name="a")
    with pytest.raises(ValueError, match="two coordinates"):
        make_study(x, genes, name="a", places=np.zeros((39, 2)))
    with pytest.raises(ValueError, match="with 29 genes"):
        make_study(x, genes[:29], name="a")


@pytest.mark.parametrize("transposed", [False, True])
def test_genes_in_rows_are_refused(tmp_path, transposed):
    symbols = [*regulators_of("human")[:20], *(f"LNC-{i}" for i in range(20))]
    x = np.random.default_rng(0).poisson(2, (30, 40)).astype(np.float32)
    cells = [f"AAACCTG-{i}" for i in range(30)]
    adata = anndata.AnnData(x, pd.DataFrame(index=cells), pd.DataFrame(index=symbols))
    (adata.T if transposed else adata).write_h5ad(tmp_path / "s.h5ad")
    if transposed:
        with pytest.raises(ValueError, match=r"found genes in rows .* transpose it \(adata\.T\)"):
            read_study(tmp_path / "s.h5ad")
    else:
        assert read_study(tmp_path / "s.h5ad").genes == tuple(symbols)


def test_studies_that_no_chain_of_genes_joins_are_refused():
    a, b, c = (
        make_study(counts(30, 40)[0], [f"G{i}" for i in range(first, first + 40)], name=name)
        for name, first in (("a", 0), ("b", 60), ("c", 30))
    )
    assert len(study_graphs([a, b, c])) == 3
    with pytest.raises(ValueError, match=r"no gene in common between a \(G0, .*\) and b \(G60, "):
        study_graphs([a, b])
    # Genes of c that a has too do not vary there.
    wide = c._replace(x=np.where(np.arange(40) < 10, 1, c.x).astype(np.float32))
    few = Config("pca", graph=GraphSettings(genes=20))
    with pytest.raises(ValueError, match=r"no variable gene in common .* take more genes"):
        study_graphs([a, wide], config=few)
    graphs = [study_graph(each) for each in (a, b)]
    with pytest.raises(ValueError, match="no variable gene in common between a"):
        fit(graphs, config=few)


def test_of_linear_values_logarithms_are_taken(caplog):
    x, depth = counts(40, 30)
    linear = (1e4 * x / depth[:, None]).astype(np.float32)
    genes = [f"G{i}" for i in range(30)]
    with caplog.at_level("INFO", "infosem_jax"):
        found = make_study(linear, genes, name="a")
    np.testing.assert_allclose(found.x, make_study(np.log1p(linear), genes, name="a").x)
    assert caplog.text.count("of which log(1 + x) is taken") == 1
    np.testing.assert_array_equal(make_study(x, genes, name="a").x, x)


def test_silent_and_repeated_genes_are_left_out():
    x, _ = counts(40, 30)
    x[:, 3] = 0
    genes = [f"G{i}" for i in range(30)]
    genes[5] = "G4"
    study = make_study(x, genes, name="a")
    assert "G3" not in study.genes and study.genes.count("G4") == 1
    kept = max((4, 5), key=lambda i: x[:, i].sum())
    assert (study.x[:, study.genes.index("G4")] == x[:, kept]).all()


def test_species_share_names_by_orthologues_only():
    x, _ = counts(40, 30)
    human = make_study(x, [f"G{i}" for i in range(30)], name="h", species="human")
    mouse = make_study(x, [f"g{i}" for i in range(30)], name="m", species="mouse")
    with pytest.raises(ValueError, match="table of orthologues to human for mouse"):
        harmonise([human, mouse])
    table = {f"g{i}": f"G{i}" for i in range(20)}
    _, renamed = harmonise([human, mouse], {"mouse": table})
    assert renamed.genes[0] == "G0" and renamed.genes[25] == "g25 (mouse)"
    assert set(human.genes) & set(renamed.genes) == {f"G{i}" for i in range(20)}
    _, fewer = harmonise([human, mouse], {"mouse": table}, withheld={"mouse": frozenset(["g3"])})
    assert fewer.genes[3] == "g3 (mouse)" and fewer.symbols[3] == "g3"


def test_capitals_do_not_make_genes_of_two_species_one():
    x, _ = counts(40, 30)
    human = make_study(x, [f"G{i}" for i in range(30)], name="h", species="human")
    mouse = make_study(x, [f"G{i}" for i in range(30)], name="m", species="mouse")
    _, renamed = harmonise([human, mouse], {"mouse": {"g1": "G7"}})
    assert set(human.genes) & set(renamed.genes) == {"G7"}
    assert renamed.genes[1] == "G7" and renamed.genes[7] == "G7 (mouse)"


def test_a_table_of_orthologues_the_other_way_round_is_refused():
    """Symbols that differ in case only were found in it, as their own counterparts."""
    x, _ = counts(genes=30)
    names = [f"Gene{chr(97 + i)}" for i in range(26)] + [f"Abc{i}" for i in range(4)]
    mouse = make_study(x, names, name="m", species="mouse")
    human = make_study(x, [name.upper() for name in names], name="h", species="human")
    table = {name: name.upper() for name in names}
    assert harmonise([human, mouse], {"mouse": table})[1].genes == human.genes
    back = {other: name for name, other in table.items()}
    with pytest.raises(ValueError, match=r"m: .* found 0 of its genes in the first and 30"):
        harmonise([human, mouse], {"mouse": back})


def test_a_table_of_orthologues_for_symbols_in_capitals():
    """They look like human symbols; other differences tell which side they are on."""
    x, _ = counts(genes=30)
    names = [f"Gene{chr(97 + i)}" for i in range(24)] + [f"H2-K{i}" for i in range(6)]
    table = {name: f"HLA{name[3:]}" if "-" in name else name.upper() for name in names}
    mouse = make_study(x, [name.upper() for name in names], name="m", species="mouse")
    human = make_study(x, list(table.values()), name="h", species="human")
    assert harmonise([human, mouse], {"mouse": table})[1].genes == human.genes
    back = {other: name for name, other in table.items()}
    mouse = make_study(x, names, name="m", species="mouse")
    with pytest.raises(ValueError, match="swap them"):
        harmonise([human, mouse], {"mouse": back})


def test_species_by_their_latin_names(tmp_path):
    x, _ = counts()
    for said, species in (("Homo sapiens", "human"), ("mus_musculus", "mouse"), ("rat", "rat")):
        adata = anndata.AnnData(x, uns={"organism": said})
        adata.write_h5ad(tmp_path / "x.h5ad")
        assert read_study(tmp_path / "x.h5ad").species == species


def test_withheld_orthologues_are_drawn_by_the_seed_among_genes_that_are_there():
    x, _ = counts(40, 30)
    mouse = make_study(x, [f"g{i}" for i in range(30)], name="m", species="mouse")
    table = {f"g{i}": f"G{i}" for i in range(50)}
    draws = [withhold([mouse], {"mouse": table}, share=0.5, seed=s)["mouse"] for s in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    assert len(draws[0]) == 15 and draws[0] <= {f"g{i}" for i in range(30)}


def test_graphs_have_edges_by_kind_and_every_gene_is_its_own_neighbour():
    x, _ = counts(150, 40)
    study = make_study(x, [f"G{i}" for i in range(40)], name="a")
    assert study_graph(study).edges == "cscore"
    logs = make_study(np.log1p(x), study.genes, name="b")
    assert study_graph(logs).edges == "knn"
    for kind in ("correlation", "cosine", "knn"):
        graph = study_graph(study, GraphSettings(edges=kind, genes=25, neighbours=4))
        assert len(graph.genes) == 25 and graph.features.shape == (25, 150)
        assert graph.adjacency.diagonal().all() and (graph.adjacency == graph.adjacency.T).all()
    with pytest.raises(ValueError, match="whole numbers"):
        study_graph(logs, GraphSettings(edges="cscore"))
    with pytest.raises(ValueError, match="edges: expected one of"):
        GraphSettings(edges="nearest")
    with pytest.raises(ValueError, match="alpha"):
        GraphSettings(alpha=0.0)


def test_real_slices_share_genes_and_neighbours(real_data):
    folder = real_data / "expression"
    graphs = [
        study_graph(read_study(folder / f"human_breastcancer_ST_layer{i}.h5ad"),
                    GraphSettings(genes=300))
        for i in (1, 2)
    ]  # fmt: skip
    assert graphs[0].label == "spatial (ST) breast" and graphs[0].species == "human"
    assert len(common(graphs)) > 80
    assert all(10 < graph.degree < 80 for graph in graphs)
