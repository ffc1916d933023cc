"""Screens from files, differential expression, splits and knowledge."""

import gzip
import json
import re

import anndata
import h5py
import numpy as np
import pandas as pd
import perturbed as made
import pytest
from scipy import sparse
from scipy.stats import mannwhitneyu

from infosem_jax.data import Embedding
from infosem_jax.perturbation.data import Cells, stack, stack_rows, summarise, take
from infosem_jax.perturbation.de import (
    Thresholds,
    log_fold_change,
    predicted_cells,
    rank_sum,
    signs,
)
from infosem_jax.perturbation.knowledge import (
    FAR,
    candidates,
    make_knowledge,
    reach,
    read_edges,
    read_text,
    shuffled,
    text_of,
    union,
)
from infosem_jax.perturbation.readers import Columns, read_cells
from infosem_jax.perturbation.screen import read_screen
from infosem_jax.perturbation.splits import draw_splits, read_names
from infosem_jax.perturbation.tables import read_means, read_signed
from infosem_jax.perturbation.task import flags, make_problem
from infosem_jax.perturbation.units import check_control_units, check_same_units


def test_rank_sum_is_scipys_gene_by_gene_with_fdr_by_hand():
    rng = np.random.default_rng(0)
    x = rng.poisson(2.0, (40, 6)).astype(np.float32)
    y = rng.poisson([2.0, 2.0, 6.0, 2.0, 0.5, 2.0], (60, 6)).astype(np.float32)
    x[:, 5] = y[:, 5] = 1.0
    found = rank_sum(x, y)
    p = np.array([mannwhitneyu(x[:, g], y[:, g], method="asymptotic").pvalue for g in range(5)])
    order = np.argsort(p)
    adjusted = np.empty(5)
    least = 1.0
    for place in range(4, -1, -1):
        least = min(least, p[order[place]] * 5 / (place + 1))
        adjusted[order[place]] = least
    np.testing.assert_allclose(found.fdr[:5], adjusted, rtol=1e-5)
    assert found.fdr[5] == 1
    assert signs(found)[2] == -1 and signs(found, Thresholds(lfc=10.0))[2] == 0


def test_rank_sum_does_not_depend_on_order():
    rng = np.random.default_rng(1)
    x, y = rng.random((20, 5)).astype(np.float32), rng.random((30, 5)).astype(np.float32)
    cells, genes = rng.permutation(20), rng.permutation(5)
    a, b = rank_sum(x, y), rank_sum(x[cells][:, genes], y[:, genes])
    np.testing.assert_allclose(a.fdr[genes], b.fdr, rtol=1e-6)
    np.testing.assert_allclose(a.lfc[genes], b.lfc, rtol=1e-5)


def test_fold_change_of_known_means():
    x = np.log1p(np.full((3, 1), 7.99)).astype(np.float32)
    y = np.log1p(np.full((3, 1), 1.99)).astype(np.float32)
    np.testing.assert_allclose(log_fold_change(x, y), [2.0], rtol=1e-5)


def test_predicted_cells_have_the_predicted_mean_and_no_change_is_not_significant():
    rng = np.random.default_rng(0)
    controls = np.log1p(rng.poisson([0.2, 1.0, 5.0, 5.0], (2000, 4))).astype(np.float32)
    change = np.array([0.2, -0.3, 0.5, 0.0], np.float32)
    cells = predicted_cells(change, controls, 4000, 0)
    np.testing.assert_allclose(cells.mean(0), controls.mean(0) + change, atol=0.05)
    # A small change must not lift the zeros of all cells.
    still = rank_sum(predicted_cells(np.full(4, 1e-4), controls, 500, 1), controls)
    assert (still.fdr > 1e-3).all()
    falls = predicted_cells(np.full(4, -100.0), controls, 50, 0)
    assert (falls == 0).all()


def test_responses_of_cells_find_what_was_put_in(tmp_path):
    path = tmp_path / "screen.h5ad"
    made.cells().write_h5ad(path)
    screen = read_screen(path)
    found = screen.responses
    assert len(found.perturbed) == 15 and set(found.line) == {"all"}
    right = made.values().sign
    # Totals are fixed, so other genes give way a little; those that were moved must be found.
    assert (found.sign == right)[right != 0].mean() > 0.95
    np.testing.assert_allclose(found.halves.mean(0), found.delta, atol=1e-5)
    assert screen.controls["all"].shape == (120, 12)


def test_controls_are_matched_by_batch():
    rng = np.random.default_rng(0)
    batch = np.array(["a"] * 40 + ["b"] * 40)
    control = np.tile(np.repeat([True, False], 20), 2)
    shift = (batch == "b")[:, None] * 3.0
    x = (1 + shift + 0.01 * rng.random((80, 4))).astype(np.float32)
    # Cells of the perturbation are mostly of batch b: without matching they seem to have changed.
    keep = np.r_[0:30, 40:80]
    cells = Cells(
        "c",
        x[keep],
        tuple("wxyz"),
        tuple(() if c else ("p",) for c in control[keep]),
        ("all",) * len(keep),
        tuple(batch[keep]),
    )
    assert np.abs(summarise(cells).delta).max() < 0.02
    assert summarise(cells, match_batches=False).delta.min() > 0.3


@pytest.mark.parametrize(
    ("obs", "separator"),
    [
        ({"condition": ["ctrl", "A+ctrl", "A+B", "B+ctrl"]}, None),
        ({"perturbation": ["control", "A", "A_B", "B"], "nperts": [0, 1, 2, 1]}, None),
        ({"gene_target": ["NT", "A", "A|B", "B"]}, "|"),
        ({"gene": ["non-targeting", "A", "A+B", "B"], "gem_group": [1, 1, 2, 2]}, None),
    ],
)
def test_conventions_are_recognised(tmp_path, obs, separator):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(obs, index=list("wxyz"))
    x = sparse.csr_matrix(rng.poisson(3, (4, 3)).astype(np.float32))
    var = pd.DataFrame({"gene_name": ["A", "B", "C"]}, index=["ENSG1", "ENSG2", "ENSG3"])
    path = tmp_path / "screen.h5ad"
    anndata.AnnData(x, obs=table, var=var).write_h5ad(path)
    found = read_cells(path, Columns(separator=separator))
    assert found.perturbed == ((), ("A",), ("A", "B"), ("B",))
    assert found.genes == ("A", "B", "C")
    if "gem_group" in obs:
        assert found.batch == ("1", "1", "2", "2")


def test_cells_without_a_name_are_no_controls(tmp_path):
    adata = made.cells(n=10)
    adata.obs["perturbation"] = adata.obs["perturbation"].replace({"p01": np.nan})
    path = tmp_path / "screen.h5ad"
    adata.write_h5ad(path)
    found = read_cells(path)
    assert len(found.x) == len(adata) - 10 and sum(not p for p in found.perturbed) == 40
    assert found.notes[1].startswith("10 cells")


def test_files_of_replogle_and_nadig_in_pieces(tmp_path, monkeypatch):
    """Raw counts, dense, genes by Ensembl id with names beside, a control called non-targeting."""
    rng = np.random.default_rng(0)
    gene = np.array(["non-targeting"] * 60 + ["AAAS"] * 40 + ["GATA1"] * 40)
    obs = pd.DataFrame(
        {
            "gem_group": rng.integers(1, 4, 140),
            "gene": gene,
            "gene_transcript": gene,
            "UMI_count": 0.0,
            "mitopercent": 0.1,
        },
        index=[f"c{i}" for i in range(140)],
    )
    x = rng.poisson(rng.uniform(0.5, 20, 30), (140, 30)).astype(np.float32)
    symbols = ["AAAS", "GATA1", "DUP", "DUP", *(f"S{i}" for i in range(26))]
    var = pd.DataFrame({"gene_name": symbols}, index=[f"ENSG{i}" for i in range(30)])
    path = tmp_path / "K562_essential_raw_singlecell_01.h5ad"
    anndata.AnnData(x, obs=obs, var=var).write_h5ad(path)
    whole = read_cells(path)
    monkeypatch.setattr("infosem_jax.perturbation.readers._CHUNK", 17)
    monkeypatch.setattr("infosem_jax.perturbation.readers._IN_MEMORY", 0)
    pieces = read_cells(path)
    np.testing.assert_allclose(whole.x, pieces.x, rtol=1e-6)
    assert len(whole.genes) == 29
    total = x.sum(1)
    np.testing.assert_allclose(
        whole.x[:, 0], np.log1p(x[:, 0] * np.median(total) / total), rtol=1e-5
    )
    few = read_cells(path, top_genes=5, most_cells=10)
    assert {"AAAS", "GATA1"} <= set(few.genes) and len(few.genes) == 5
    assert sum(p == ("AAAS",) for p in few.perturbed) == 10
    assert sum(p == () for p in few.perturbed) == 60


def test_bad_screens_are_refused(tmp_path):
    adata = made.cells(n=3)
    path = tmp_path / "screen.h5ad"

    def refused(match: str, **changes):
        adata.write_h5ad(path)
        with pytest.raises(ValueError, match=match):
            read_screen(path, **changes)

    refused("at most 3")
    adata.X = 50 * np.exp(adata.X).astype(np.float32) + 0.5
    refused("linear")
    adata.X = 1 - adata.X
    refused("differences")
    adata = made.cells()
    adata.obs = adata.obs[["batch"]]
    refused("no column of obs says")
    adata = made.cells()[:400].copy()
    refused("no cell is a control")
    adata = made.cells()
    refused("no column 'x'", keep=[("x", 1.0)])
    refused("least_cells: expected at least 2", least_cells=1)
    with pytest.raises(FileNotFoundError):
        read_screen(tmp_path / "none.h5ad")


@pytest.mark.parametrize("most", [0, 2**30])
def test_values_outside_of_a_sparse_matrix_are_refused(tmp_path, monkeypatch, most):
    """Read at once or in pieces, wrong indices would end the process."""
    monkeypatch.setattr("infosem_jax.perturbation.readers._IN_MEMORY", most)
    adata = made.cells(n=10)
    adata.X = sparse.csr_matrix(adata.X)
    path = tmp_path / "screen.h5ad"
    adata.write_h5ad(path)
    with h5py.File(path, "r+") as file:
        file["X/indices"][5] = 2**30
    with pytest.raises(ValueError, match="indices"):
        read_cells(path)


def test_means_are_read(tmp_path):
    path = tmp_path / "made_pseudobulk.npz"
    delta = np.ones((2, 3), np.float32)
    arrays = {"perts": ["B+A", "C"], "genes": ["x", "y", "z"], "delta": delta}
    np.savez(path, **arrays, ctrl_mean=np.ones(3), log2fc=delta, padj=0.01 * delta)
    found = read_means(path)
    assert found.perturbed == (("A", "B"), ("C",)) and found.name == "made"
    assert (found.sign == 1).all() and found.known.all()
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match="ctrl_mean"):
        read_means(path)


def test_signed_tables_of_both_forms_agree(tmp_path):
    full = pd.DataFrame(
        {
            "pert": ["A", "A", "B", "B"],
            "gene": ["x", "y", "x", "z"],
            "label": [1, 0, 1, 1],
            "direction": [1, -1, 0, 1],
            "split": ["train", "train", "test", "test"],
        }
    )
    one = tmp_path / "k562_full.csv.gz"
    with gzip.open(one, "wt") as stream:
        full.to_csv(stream, index=False)
    de, direction = tmp_path / "k562_de.csv", tmp_path / "k562_dir.csv"
    full.drop(columns="direction").to_csv(de, index=False)
    kept = full[full["label"] == 1].drop(columns="label")
    kept.rename(columns={"direction": "label"}).to_csv(direction, index=False)
    first, parts = read_signed(one, line="k562")
    second, others = read_signed(de)
    assert parts == others == ("train", "test")
    np.testing.assert_array_equal(first.sign, [[1, 0, 0], [-1, 0, 1]])
    np.testing.assert_array_equal(first.known, [[1, 1, 0], [1, 0, 1]])
    np.testing.assert_array_equal(first.sign, second.sign)
    assert second.line == ("k562", "k562")
    direction.unlink()
    with pytest.raises(FileNotFoundError):
        read_signed(de)
    full.assign(split=["train", "test", "test", "test"]).to_csv(one.with_suffix(""), index=False)
    with pytest.raises(ValueError, match="several parts"):
        read_signed(one.with_suffix(""))


@pytest.mark.parametrize("word", ["null", "", "nan", "unused"])
def test_perturbations_without_a_part_are_left_out(tmp_path, word):
    pert = np.repeat(list("ABCDEFG"), 2)
    part = np.repeat(["train"] * 4 + ["test"] * 2 + [word], 2)
    table = {"pert": pert, "gene": ["x", "y"] * 7, "label": 1, "direction": 1, "split": part}
    pd.DataFrame(table).to_csv(tmp_path / "k562.csv", index=False)
    found, published = read_signed(tmp_path / "k562.csv")
    assert "1 perturbations have no part in the published split" in found.notes[0]
    split = draw_splits(found, "published", 0, published)[0]
    assert sorted([*split.train, *split.valid]) == [0, 1, 2, 3] and split.test.tolist() == [4, 5]
    pd.DataFrame(table).iloc[:12].to_csv(tmp_path / "k562.csv", index=False)
    assert read_signed(tmp_path / "k562.csv")[0].notes == ()
    odd = ("train", "test", *["held out"] * 5)
    with pytest.raises(ValueError, match="found held out, test, train; name the parts so"):
        draw_splits(found, "published", 0, odd)


def test_splits_do_not_share_perturbations_and_folds_cover_all():
    responses = made.values()
    for how in ("unseen", "folds:4", "leave_one_out"):
        splits = draw_splits(responses, how, 0)
        for split in splits:
            rows = np.concatenate([split.train, split.valid, split.test])
            assert sorted(rows) == list(range(15))
        if how != "unseen":
            assert sorted(np.concatenate([s.test for s in splits])) == list(range(15))
    assert len(draw_splits(responses, "leave_one_out", 0)) == 15
    a, b = (draw_splits(responses, "unseen", seed)[0].test for seed in (0, 1))
    assert a.tolist() != b.tolist()


def test_a_gene_perturbed_in_two_lines_stays_together():
    both = stack([made.values(), made.values(1)._replace(line=("other",) * 15)], "both")
    split = draw_splits(both, "unseen", 0)[0]
    assert not {both.perturbed[i] for i in split.test} & {both.perturbed[i] for i in split.train}
    lines = draw_splits(both, "line:other", 0)[0]
    assert {both.line[i] for i in lines.test} == {"other"}
    with pytest.raises(ValueError, match="several cell lines"):
        draw_splits(made.values(), "line:other", 0)


def test_cell_lines_are_named_where_there_are_several():
    adata = made.cells()
    assert "cell lines" not in " ".join(read_cells(adata).notes)
    adata.obs["cell_type"] = np.where(np.arange(adata.n_obs) % 2, "K562", "RPE1")
    assert "cell lines from obs['cell_type']: K562, RPE1" in read_cells(adata).notes


def test_combinations_are_tested_and_singles_are_learned_from():
    responses = made.values()
    pairs = tuple(
        tuple(sorted((responses.perturbed[i][0], responses.perturbed[i + 5][0]))) for i in range(6)
    )
    mixed = responses._replace(perturbed=(*pairs, *responses.perturbed[6:]))
    split = draw_splits(mixed, "combination", 0)[0]
    assert all(len(mixed.perturbed[i]) == 2 for i in split.test) and len(split.test) == 3
    assert set(range(6, 15)) <= set(split.train.tolist())
    # A combination that was made in two lines is tested in both.
    both = stack([mixed, mixed._replace(line=("other",) * 15)], "both")
    split = draw_splits(both, "combination", 0)[0]
    assert not {both.perturbed[i] for i in split.test} & {both.perturbed[i] for i in split.train}
    with pytest.raises(ValueError, match="combinations"):
        draw_splits(responses, "combination", 0)


def test_published_names_are_read(tmp_path):
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"seed": 1, "val": ["p00"], "test": ["p01", "p12"]}))
    split = draw_splits(made.values(), str(path), 0)[0]
    assert split.valid.tolist() == [0] and split.test.tolist() == [1, 7]
    table = tmp_path / "split.csv"
    table.write_text('data,test_set_id,test_set\nn,f,"B+A,C"\n')
    assert read_names(table) == {"A+B": "test", "C": "test"}
    path.write_text("{}")
    with pytest.raises(ValueError, match="no perturbation for the test"):
        draw_splits(made.values(), str(path), 0)
    with pytest.raises(ValueError, match="Expected a split"):
        draw_splits(made.values(), "whatever", 0)


def test_a_perturbation_in_both_parts_is_refused():
    split = made.split()._replace(train=np.arange(15))
    with pytest.raises(ValueError, match="also among those to learn from"):
        make_problem(made.values(), split, made.knowledge())


def test_edges_of_all_forms(tmp_path):
    path = tmp_path / "edges.csv"
    path.write_text("entity1,entity2\nA,B\nB,A\nA,A\n")
    found = make_knowledge({"e": read_edges(path)}, None)
    assert found.nodes == ("A", "B") and found.graphs["e"].nnz == 2
    path.write_text("tf,target,sign\nA,B,-1\n")
    directed = make_knowledge({"e": read_edges(path)}, None).graphs["e"].toarray()
    np.testing.assert_array_equal(directed, [[0, 0], [1, 0]])
    path.write_text("source,target,weight\nA,C,-4\nB,C,1\nA,B,2\n")
    top = read_edges(path, top=1)
    assert sorted(zip(top["source"], top["target"], strict=True)) == [("A", "B"), ("A", "C")]
    assert top["weight"].max() == 1
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="expected a header"):
        read_edges(path)


def test_candidates_are_found_by_breadth_first_search():
    table = pd.DataFrame(
        {"source": list("abcdx"), "target": list("bcdey"), "weight": 1.0, "directed": False}
    )
    known = make_knowledge({"path": table}, None, ["lonely"])
    near = candidates(known, [("a",), ("a", "e"), ("lonely",), ("absent",)], hops=2, most=10)
    names = np.asarray(known.nodes)

    def of(i: int) -> dict[str, int]:
        real = near.hop[i] < FAR
        return dict(zip(names[near.node[i][real]], near.hop[i][real].tolist(), strict=True))

    assert of(0) == {"a": 0, "b": 1, "c": 2}
    assert of(1) == {"a": 0, "e": 0, "b": 1, "d": 1, "c": 2}
    assert of(2) == {"lonely": 0} and of(3) == {}
    cut = candidates(known, [("c",)], hops=2, most=3)
    assert (cut.hop[0] < FAR).sum() == 3 and cut.cut[0] == 2


def test_strongest_edges_and_shuffles_keep_what_they_must():
    known = made.knowledge()
    graph = union(known, top=2)
    assert np.diff(graph.indptr).max() == 2
    mixed = shuffled(known, 0)
    degrees = [np.sort(np.diff(g.graphs["groups"].indptr)) for g in (known, mixed)]
    np.testing.assert_array_equal(*degrees)
    assert (known.graphs["groups"] != mixed.graphs["groups"]).nnz > 0
    assert mixed.text is known.text


def test_what_is_not_known_is_flagged():
    responses = made.values()
    odd = responses._replace(perturbed=(*responses.perturbed[:-1], ("unheard_of",)))
    known = made.knowledge((*made.GENES, "unheard_of"))
    edges, text = reach(known, [("unheard_of",), ("p00",), ("p00", "nowhere")])
    assert edges.tolist() == [False, True, False] and text.tolist() == [False, True, False]
    notes = flags(make_problem(odd, made.split(), known).task)
    assert len(notes) == 2 and all("unheard_of" in note for note in notes)
    np.testing.assert_allclose(np.linalg.norm(text_of(known, [("p00", "p10")])), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("graphs", "said"),
    [
        ({}, "no graph .* and no texts .* have nothing to be told apart by"),
        ({"groups": made.edges()}, "no texts .* told apart by the graph alone"),
    ],
)
def test_what_tells_genes_apart_is_said(graphs, said):
    known = make_knowledge(graphs, None, [*made.names(), *made.GENES])
    (note,) = flags(make_problem(made.values(), made.split(), known).task)
    assert re.search(said, note)


def test_texts_are_vectors_or_words(tmp_path):
    vectors = tmp_path / "v.npz"
    np.savez(vectors, genes=np.array(["A", "B"]), emb=np.eye(2, dtype=np.float16))
    assert isinstance(read_text(vectors), Embedding)
    np.savez(vectors, names=np.array(["A"]))
    with pytest.raises(ValueError, match="X and genes"):
        read_text(vectors)


def test_rows_of_folds_are_joined_once():
    full = made.values()
    parts = [take(full, np.array([0, 1, 2])), take(full, np.array([2, 3]))]
    joined, index = stack_rows(parts)
    assert len(joined.perturbed) == 4
    for part, rows in zip(parts, index, strict=True):
        np.testing.assert_array_equal(take(joined, rows).delta, part.delta)


def test_mean_expression_of_other_units_is_refused():
    rng = np.random.default_rng(0)
    counts = rng.poisson(3, (5, 4)).astype(float)
    with pytest.raises(ValueError, match="logarithms mixed"):
        check_same_units(np.expm1(np.log1p(counts) * 3), np.log1p(counts), "x")


def test_control_means_are_compared_within_a_cell_line():
    rng = np.random.default_rng(0)
    one, other = np.log1p(rng.poisson(20, (5, 40))), np.log1p(rng.poisson(0.2, (5, 40)))
    train, line = np.concatenate([one, other]), ["one"] * 5 + ["other"] * 5
    check_control_units(other, line[5:], train, line)
    check_control_units(other / 50, ["new"] * 5, train, line)
    with pytest.raises(ValueError, match=r"control means of other.*logarithms mixed"):
        check_control_units(one, line[5:], train, line)
