"""What results print."""

import importlib
from html import escape
from typing import NamedTuple

import numpy as np
import perturbed as made
import pytest
from jaxtyping import Float

from infosem_jax import embedding, expression, grn, perturbation
from infosem_jax._shown import shown
from infosem_jax.data import Dataset, Embedding, Stream, simulate
from infosem_jax.grn import exact

RESULTS = [
    *(Dataset, Stream, Embedding, simulate.Simulation),
    *(grn.Fit, exact.Fit, grn.Network, grn.Knockouts),
    *(expression.Fitted, expression.Profiles, expression.Task, expression.Prediction),
    *(perturbation.Fitted, perturbation.Screen, perturbation.Task, perturbation.Scores),
    *(embedding.Fitted, embedding.Embedded, embedding.Study, embedding.StudyGraph),
    importlib.import_module("infosem_jax.compare").Comparison,
    importlib.import_module("infosem_jax.calibration.check").Check,
]


@pytest.fixture(scope="module")
def truth():
    return simulate.simulate(simulate.SimulationConfig(genes=20, regulators=4, cells=60), seed=0)


def test_graphs_of_knowledge_print_by_name():
    assert "graphs  groups" in repr(made.knowledge())


def test_a_fit_prints_as_a_few_lines_and_as_a_table_with_the_same_words(truth):
    config = exact.Config(steps=5)
    for value in (fitted := grn.fit(truth.data, config=config), grn.network(fitted), truth.data):
        title, *lines = repr(value).split("\n")
        assert title.startswith(type(value).__name__) and value.name in title
        assert 2 <= len(lines) <= 7 and max(map(len, lines)) < 120
        table = value._repr_html_()
        assert table.count("<tr>") == len(lines)
        assert all(escape(word) in table for line in lines for word in line.split())
    text = " ".join(repr(fitted).split())
    assert "weight 4 regulators × 20 genes" in text
    assert "regulators 4: " + ", ".join(fitted.regulators[:3]) + ", ..." in text
    assert "steps=5" in text and "sweeps" not in text


def test_every_result_is_shown():
    for cls in RESULTS:
        assert cls.__repr__ is not tuple.__repr__ and hasattr(cls, "_repr_html_"), cls


def test_progress_prints_as_a_line(truth, capsys):
    grn.fit(truth.data, config=grn.converged(epochs=2, hidden=8), on_chunk=print)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("2 of 2 epochs") and max(map(len, lines)) < 100


def test_values_are_told_by_what_they_are():
    @shown("x", "names", "learned", "share", "absent")
    class Result(NamedTuple):
        x: Float[np.ndarray, "cells genes"] | None
        names: tuple[str, ...]
        learned: dict[str, float]
        share: float
        absent: None = None
        name: str = "<b>&"

    value = Result(np.zeros((1200, 3)), ("A", "B"), {"scale": 0.12345, "of": "text"}, 1 / 3)
    assert repr(value).split("\n") == [
        "Result <b>&",
        "  x        1,200 cells × 3 genes",
        "  names    2: A, B",
        "  learned  scale=0.1235, of (text)",
        "  share    0.3333",
    ]
    assert "<b>" not in value._repr_html_() and "absent" not in value._repr_html_()
    assert repr(value._replace(x=None, names=(), learned={})) == "Result <b>&(share: 0.3333)"
