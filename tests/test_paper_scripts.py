"""The scripts that test the papers' claims: what they run by default is there, and runs."""

import argparse
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module


def test_studies_of_musegnn_are_there(script, real_data):
    from infosem_jax.benchmark.embedding.sources import find_sources

    groups = script("paper_musegnn").GROUPS
    sources, _ = find_sources(real_data, groups)
    assert [source.name for source in sources] == [text.partition("=")[0] for text in groups]
    across = {source.name for source in sources if len(source.species) > 1}
    assert across == {"pbmc and bulb", "breast and bulb"}
    assert all(source.orthologues for source in sources if source.name in across)


def test_samples_of_the_graph_network_are_there(script, real_data):
    from infosem_jax.benchmark.expression.sources import find_sources

    names = script("paper_l1000").DATASETS
    sources, _ = find_sources(real_data / "l1000", names)
    assert len(sources) == len(names)


@pytest.mark.parametrize("part", ["papalexi", "norman", "signed", "sources", "losses"])
def test_screens_and_methods_of_adapert_are_there(script, real_data, monkeypatch, part):
    monkeypatch.setenv("INFOSEM_DATA", str(real_data))
    module = script("paper_adapert")
    given = argparse.Namespace(lines="hepg2", screen=None, quick=False, network=[])
    screens, knowledge, names, _ = module.plan(part, given)
    assert len(screens) == 1
    assert set(names) <= set(module.all_methods(quick=False))
    graphs = module.GRAPHS | module.OTHERS
    assert set(knowledge) == (set(graphs) if part == "sources" else {"string+corum+go"})
    assert all(len(own.graphs) for own in knowledge.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["paper_musegnn", "paper_adapert", "paper_l1000"])
def test_quick_run_tests_the_claims(name, real_data, tmp_path):
    record = tmp_path / "claims.json"
    found = run(name, "--quick", "--out", tmp_path / "run", "--json", record, data=real_data)
    assert found.returncode == 0, found.stderr
    figures = json.loads(record.read_text())
    assert figures and all(each["target"] is not None for each in figures)
    again = run(name, "--from", tmp_path / "run", "--json", record, data=real_data)
    assert again.returncode == 0, again.stderr
    again = [(each["name"], each["value"]) for each in json.loads(record.read_text())]
    assert again == [(each["name"], each["value"]) for each in figures]


@pytest.mark.parametrize(
    ("name", "option", "said"),
    [
        ("paper_musegnn", "--datasets", "a=nowhere:else"),
        ("paper_musegnn", "--methods", "musegn"),
        ("paper_adapert", "--methods", "adapart"),
        ("paper_l1000", "--datasets", "nowhere"),
    ],
)
def test_unknown_names_are_refused_in_a_line(name, option, said, real_data, tmp_path):
    found = run(name, "--quick", "--out", tmp_path / "run", option, said, data=real_data)
    assert found.returncode == 1
    assert "Traceback" not in found.stderr
    assert said.rpartition("=")[2].partition(":")[0] in found.stderr
    assert not (tmp_path / "run").exists()


def run(name, *options, data):
    return subprocess.run(
        [sys.executable, FOLDER / f"{name}.py", *map(str, options)],
        env=os.environ | {"INFOSEM_DATA": str(data)},
        capture_output=True,
        text=True,
    )
