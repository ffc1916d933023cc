"""Compiled programs go before their mappings of memory run out."""

import sys
from pathlib import Path

import jax
import pytest

from infosem_jax import _programs


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux says what is mapped")
def test_programs_go_when_mappings_run_short_and_not_before():
    double = jax.jit(lambda x: 2 * x)
    double(1.0)
    assert not _programs.make_room() and double._cache_size() == 1
    assert _programs.make_room(most=1) and double._cache_size() == 0
    assert double(2.0) == 4


def test_nothing_goes_where_mappings_are_not_told(monkeypatch):
    double = jax.jit(lambda x: 2 * x)
    double(1.0)
    monkeypatch.setattr(_programs, "MAPPINGS", Path("no", "such", "file"))
    assert not _programs.make_room(most=0) and double._cache_size() == 1
