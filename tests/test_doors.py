"""The four systems are used alike: the same functions with the same argument names."""

import importlib
import inspect
import subprocess
import sys

import pytest

import infosem_jax

SYSTEMS = ("grn", "expression", "perturbation", "embedding")
OWN = {"grn": ("fit_many", "edges", "knockout"), "embedding": ("neighbours",)}


@pytest.fixture(params=SYSTEMS)
def system(request):
    return importlib.import_module(f"infosem_jax.{request.param}")


def parameters(function):
    return inspect.signature(function).parameters


def test_every_system_has_the_same_doors(system):
    name = system.__name__.rpartition(".")[2]
    wanted = {"Config", "fit", "predict", "evaluate", "save", "load", *OWN.get(name, ())}
    assert wanted <= set(system.__all__)
    assert all(hasattr(system, each) for each in system.__all__)


def test_fit_takes_data_first_and_settings_by_the_same_names(system):
    found = parameters(system.fit)
    assert next(iter(found)) == "data"
    # Of two engines, `grn` takes the exact one unless it is given settings of the other.
    engine = system.exact if system is infosem_jax.grn else system
    for name, default in {
        "config": engine.Config(),
        "seeds": 1,
        "key": 0,
        "on_chunk": None,
    }.items():
        assert found[name].kind is inspect.Parameter.KEYWORD_ONLY, name
        assert found[name].default == default, name


def test_predict_evaluate_save_and_load_name_their_arguments_alike(system):
    assert next(iter(parameters(system.predict))) == "fitted"
    assert list(parameters(system.evaluate))[:2] == ["predicted", "truth"]
    assert list(parameters(system.save)) == ["path", "fitted"]
    assert list(parameters(system.load)) == ["path"]


def test_functions_do_not_hide_modules(system):
    """`import infosem_jax.grn.fit` would give a function where a module has the name of one."""
    modules = {name.rpartition(".")[2] for name in sys.modules if name.startswith(system.__name__)}
    functions = {name for name in system.__all__ if inspect.isfunction(getattr(system, name))}
    assert not modules & functions


def test_top_level_is_lazy_and_knows_the_four_systems():
    code = (
        "import sys, infosem_jax; assert 'jax' not in sys.modules; "
        f"assert all(callable(getattr(infosem_jax, each).fit) for each in {SYSTEMS})"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    for name in SYSTEMS:
        assert name in infosem_jax.__doc__
