"""Shapes in annotations are checked here, by beartype, and cost users nothing."""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# Test processes share the cores; threads of a linear algebra library would wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Most of the time goes into compiling tiny problems: optimise them less, here and in subprocesses.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
if "XLA_FLAGS" not in os.environ:
    _flags = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    # A process whose XLA does not know one of its flags is aborted.
    _trial = [sys.executable, "-c", "import jax; jax.devices()"]
    _known = subprocess.run(_trial, env=os.environ | {"XLA_FLAGS": _flags}, capture_output=True)
    os.environ["XLA_FLAGS"] = _flags if _known.returncode == 0 else ""
# What one process has compiled, those that it starts (and the other test workers) need not.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _cache = tempfile.mkdtemp(prefix="infosem-tests-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache
    atexit.register(shutil.rmtree, _cache, ignore_errors=True)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

import jax
import pytest
from jaxtyping import install_import_hook

_hook = install_import_hook("infosem_jax", "beartype.beartype")


@pytest.fixture(scope="module", autouse=True)
def _few_programs():
    """Let go of what a file has compiled: each program takes mappings of memory, which run out."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real data that the environment variable INFOSEM_DATA names."""
    folder = os.environ.get("INFOSEM_DATA")
    if not folder:
        pytest.skip("INFOSEM_DATA is not set: it names the folder of real data sets")
    return Path(folder)
