"""What other systems lack is taken away, and what later pandas does is asked for."""

import subprocess
import sys
from functools import partial
from pathlib import Path, PureWindowsPath

import anndata
import pandas as pd
import pytest
import test_covariates as covariates
import test_screens as screens
from test_jobs import commands, inputs  # noqa: F401

from infosem_jax.cli._common import named
from infosem_jax.grn.batch import folders_of

# Windows has none of these; macOS lacks the first.
TAKEN_AWAY = """
import os, signal, sys
for module, names in (
    (os, "sched_getaffinity sched_setaffinity fork forkpty getuid geteuid getpgid killpg setsid "
         "mkfifo posix_spawn chown getloadavg"),
    (signal, "SIGHUP SIGALRM SIGUSR1 SIGUSR2 alarm setitimer pthread_sigmask sigwait"),
):
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
for name in ("fcntl", "resource", "pwd", "grp", "termios", "tty"):
    sys.modules[name] = None
from infosem_jax.cli.app import app
app()
"""


def take_away(*words):
    done = subprocess.run(
        [sys.executable, "-c", TAKEN_AWAY, *map(str, words)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_commands_need_nothing_that_only_linux_has(tmp_path):
    pairs = {"source": [*"AABB"], "target": [*"CDCD"], "weight": [1.0, 2.0, 3.0, 4.0]}
    table = pd.DataFrame(pairs)
    table.to_csv(tmp_path / "edges.csv", index=False)
    table[::3].to_csv(tmp_path / "network.csv", index=False)
    take_away("evaluate", tmp_path / "edges.csv", tmp_path / "network.csv")


@pytest.mark.slow
@pytest.mark.parametrize("system", ["exact", "svi", "expression", "perturbation", "embed"])
def test_fits_need_nothing_that_only_linux_has(system, inputs, tmp_path):  # noqa: F811
    (tmp_path / "none.toml").write_text("")
    short = ["--epochs", "2"] * (system == "embed")
    words = commands(inputs, tmp_path / "none.toml")[system]
    take_away(*words, *short, "--out", tmp_path / "out")


def test_paths_of_windows_are_values_of_options():
    file = PureWindowsPath(r"C:\data sets\edges=1.csv")
    assert named([f"string={file}"], "--graph") == [("string", str(file))]


@pytest.mark.parametrize(
    ("group", "folder"),
    [("CON", "_CON"), ("aux.1", "_aux.1"), ("com1", "_com1"), ("T cells ", "T cells_"),
     ("T/NK", "T_NK"), ("C:\\x", "C__x"), ("cell.", "cell_"), ("control", "control")],
)  # fmt: skip
def test_groups_have_folders_that_every_system_can_make(group, folder):
    found = folders_of("out", {group: None, "other": None}, {"none": None})
    assert Path("out", folder, "none") in found.values()


STRINGS = {
    **{f"screen of {kind}": partial(screens.test_cells_without_one_guide_are_left_out, kind=kind)
       for kind in ("category", "string", "object")},
    "column": partial(screens.test_the_column_is_chosen_by_what_it_holds, column="gene"),
    "names": screens.test_genes_without_a_name_go_by_their_id_and_repeated_ones_are_counted,
    "controls": screens.test_several_controls_may_be_asked_for_and_the_others_are_left_out,
    "covariates": lambda tmp_path: covariates.test_what_was_taken_out_is_counted_once(),
}  # fmt: skip


@pytest.mark.skipif(pd.__version__ >= "3", reason="strings are always those of pandas 3")
@pytest.mark.parametrize("name", STRINGS)
def test_strings_of_pandas_3_are_read_alike(name, tmp_path):
    with (
        pd.option_context("future.infer_string", True),
        anndata.settings.override(allow_write_nullable_strings=True),
    ):
        STRINGS[name](tmp_path=tmp_path)
