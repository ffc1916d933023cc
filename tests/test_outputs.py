"""Folders of results: what is foreign is kept; and JSON that any program reads."""

import json
import os

import numpy as np
import pytest

from infosem_jax.engine.layout import usable_cores
from infosem_jax.outputs.folder import check_folder, to_json

FILES = ("edges.csv", "summary.csv", "plots")


def test_only_our_own_files_are_replaced(tmp_path):
    out = tmp_path / "new" / "out"
    check_folder(out, FILES, overwrite=False)
    assert out.parent.is_dir() and not out.exists()
    (out / "hESC" / "none").mkdir(parents=True)
    (out / "plots").mkdir()
    for name in ("summary.csv", "hESC/none/edges.csv", "plots/any.png", ".DS_Store"):
        (out / name).touch()
    with pytest.raises(ValueError, match="is not empty"):
        check_folder(out, FILES, overwrite=False)
    check_folder(out, FILES, overwrite=True)
    for name in ("thesis.tex", "hESC/none/thesis.tex", ".git"):
        (out / name).touch()
        with pytest.raises(ValueError, match=rf"holds other files \({name}\); choose another"):
            check_folder(out, FILES, overwrite=True)
        (out / name).unlink()
    with pytest.raises(ValueError, match="expected a folder to write to, found a file"):
        check_folder(out / "summary.csv", FILES, overwrite=True)


def test_json_holds_plain_numbers_and_null():
    value = {"a": np.float32(0.5), "b": [np.nan, -np.inf, np.int64(3)], "c": (True, None, "x")}
    assert json.loads(to_json(value)) == {"a": 0.5, "b": [None, None, 3], "c": [True, None, "x"]}


def test_cores_are_counted_where_affinity_is_unknown(monkeypatch):
    assert usable_cores() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores() == os.cpu_count()
