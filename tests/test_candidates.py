"""Candidate edges of CellOracle, of inferelator and of plain lists are read to the same table."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infosem_jax.data import _tables, read_candidates

GENES = ("SOX2", "NA", "nan", "Gata4", "1", "a b", "TF")
REGULATORS = ("Gata4", "SOX2", "NA", "TF1")
quick = settings(
    deadline=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@st.composite
def networks(draw):
    """Draw which regulator of which gene, [genes, regulators]; some edge is no self pair."""
    bits = draw(st.lists(st.booleans(), min_size=28, max_size=28))
    matrix = np.array(bits, int).reshape(7, 4)
    matrix[4, draw(st.integers(0, 3))] = 1
    return matrix


def expected(matrix: np.ndarray) -> set[tuple[str, str]]:
    pairs = {(REGULATORS[j], GENES[i]) for i, j in np.argwhere(matrix)}
    return {(source, target) for source, target in pairs if source != target}


def pairs(table: pd.DataFrame) -> set[tuple[str, str]]:
    assert not table.duplicated(["source", "target"]).any()
    return set(zip(table["source"], table["target"], strict=True))


@quick
@given(matrix=networks(), split=st.integers(0, 2**7 - 1), zipped=st.booleans(), tabs=st.booleans())
def test_all_three_forms_are_the_same_network(tmp_path: Path, matrix, split, zipped, tabs):
    sep = "\t" if tabs else ","
    frame = pd.DataFrame(matrix, list(GENES), list(REGULATORS))
    # Each gene has two peaks, and each regulator binds to one of them.
    one = np.array([(split >> i) & 1 for i in range(7)])[:, None]
    peaks = pd.concat([frame * one, frame * (1 - one)])
    peaks.insert(0, "gene_short_name", peaks.index)
    peaks.insert(0, "peak_id", [f"chr1_{i}" for i in range(14)])
    listed = pd.DataFrame(sorted(expected(matrix)), columns=["source", "target"])
    forms = {
        "base": peaks.to_csv(sep=sep, index=split % 2 == 0, index_label=""),
        "matrix": frame.to_csv(sep=sep),
        "list": listed.to_csv(sep=sep, index=False),
    }
    for name, text in forms.items():
        path = tmp_path / f"{name}.txt"
        path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
        found = read_candidates(path)
        assert pairs(found) == expected(matrix), name
        assert list(found.columns) == ["source", "target"]


def test_numbers_of_a_matrix_are_weights(tmp_path):
    frame = pd.DataFrame({"A": [0.0, -2.5, 1.0], "B": [0.5, 9.0, 0.0]}, ["x", "B", "y"])
    frame.to_csv(tmp_path / "prior.tsv", sep="\t")
    found = read_candidates(tmp_path / "prior.tsv")
    assert found.to_numpy().tolist() == [["A", "B", -2.5], ["A", "y", 1.0], ["B", "x", 0.5]]


@quick
@given(text=st.text(max_size=60))
def test_anything_else_is_a_value_error(tmp_path, text):
    path = tmp_path / "any.csv"
    path.write_text(text, newline="")
    try:
        found = read_candidates(path)
    except ValueError as error:
        assert str(path) in str(error)
    else:
        assert {"source", "target"} <= set(found.columns)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cause,effect\na,b\n", "inferelator prior .targets in rows"),
        ("gene_short_name,A\nx,2\n", "expected 0 and 1 in column A, found '2'"),
        ("gene_short_name,A,chromosome\nx,1,chr1\n", "column chromosome, found 'chr1'"),
        ("gene_short_name,A\nx,1,1\n", "names 2 columns, the rows have 3"),
        ("gene_short_name,A\nx,0\n", "no edge between two different genes"),
        ("gene_short_name,A\nA,1\n", "no edge between two different genes"),
        ("gene_short_name,A\n,1\n", "lack the name"),
        ("gene_short_name,A\n", "cannot be used|expected rows"),
        (",A\nx,inf\n", "finite numbers"),
        (",A\nx,\n", "expected numbers"),
    ],
)
def test_bad_files_are_explained(tmp_path, text, message):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_candidates(path)


def test_parquet_needs_pyarrow(tmp_path, monkeypatch):
    path = tmp_path / "base.parquet"
    path.write_bytes(b"PAR1")
    monkeypatch.setattr(_tables.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs pyarrow.*save the table as CSV"):
        read_candidates(path)
    monkeypatch.setattr(_tables.importlib.util, "find_spec", lambda name: object())
    frame = pd.DataFrame({"peak_id": ["p", "q"], "gene_short_name": ["x", "x"], "A": [0.0, 1.0]})
    monkeypatch.setattr(_tables.pd, "read_parquet", lambda file, engine: frame)
    assert read_candidates(path).to_numpy().tolist() == [["A", "x"]]
    monkeypatch.setattr(_tables.pd, "read_parquet", lambda file, engine: frame[["A"]])
    with pytest.raises(ValueError, match="expected a column gene_short_name, found A"):
        read_candidates(path)
    with pytest.raises(FileNotFoundError):
        read_candidates(tmp_path / "none.parquet")
