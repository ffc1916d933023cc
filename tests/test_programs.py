"""Compiled programs go before their mappings of memory run out."""

import sys
from pathlib import Path

import jax
import pytest

from infosem_jax.engine import compiled


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux says what is mapped")
def test_programs_go_when_mappings_run_short_and_not_before():
    double, traces = counted()
    double(1.0)
    assert not compiled.release_programs()
    double(1.0)
    assert len(traces) == 1
    assert compiled.release_programs(most=1)
    assert double(2.0) == 4 and len(traces) == 2


def test_nothing_goes_where_mappings_are_not_told(monkeypatch):
    double, traces = counted()
    double(1.0)
    monkeypatch.setattr(compiled, "MAPPINGS", Path("no", "such", "file"))
    assert not compiled.release_programs(most=0)
    double(1.0)
    assert len(traces) == 1


def counted():
    """Return a compiled function, and a list that grows when it is compiled."""
    traces = []

    def double(x):
        traces.append(None)
        return 2 * x

    return jax.jit(double), traces
