"""The output folder of a benchmark, and what its results depend on."""

import shutil
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

import tomli_w

from infosem_jax._typing import Path
from infosem_jax.data._files import atomic_write

SETTINGS = "benchmark.toml"
RESULTS = "results.csv"
FAILURES = "failures.csv"
# The settings last: what they say must not be lost while results are there.
OURS = (
    RESULTS, FAILURES, "table.md", "plots", "report.html", "versions.json", "cells", SETTINGS,
)  # fmt: skip


def of_h5ad(path: Path, reading: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return ``layer`` and ``names``, how an h5ad file is read; nothing of other files."""
    return dict(reading) if FilePath(path).suffix == ".h5ad" else {}


def files_by_name(folder: Path, endings: Sequence[str]) -> dict[str, FilePath]:
    """Return the files of a folder that have one of the endings, by their names without it.

    Hidden files are left out; of files that differ in their ending only, the first is taken. There
    is none where there is no such folder.
    """
    found: dict[str, FilePath] = {}
    for path in sorted(FilePath(folder).glob("*")):
        ending = next((each for each in endings if path.name.endswith(each)), None)
        if ending is not None and path.is_file() and not path.name.startswith("."):
            found.setdefault(path.name.removesuffix(ending), path)
    return found


def check(
    out: Path, record: dict[str, Any] | None = None, *, resume: bool, overwrite: bool
) -> None:
    """Find out whether results can be written to a folder, before anything is computed.

    Parameters
    ----------
    out
        The folder.
    record
        What the results depend on: tables ``run``; ``data``, of fingerprints by data set and by
        what they are of; and ``methods``. None where it is not known yet.
    resume
        Go on with a run there, if there is one.
    overwrite
        Begin anew.

    Raises
    ------
    ValueError
        If it cannot be written to, or holds something else: files of other origin, results that
        nothing was said of, or those of other data or settings.
    """
    out = FilePath(out)
    if resume and overwrite:
        raise ValueError("Expected --resume or --overwrite, found both.")
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out}: expected a folder to write to, found a file.")
    parent = out.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise ValueError(f"{out}: cannot write to {parent} ({error.strerror}).") from error
    content = [path.name for path in out.glob("*") if not path.name.startswith(".")]
    if not content:
        return
    if not (resume or overwrite):
        raise ValueError(
            f"{out}: the folder exists and is not empty; choose another, or pass --resume to "
            "compute what is missing, or --overwrite to begin anew."
        )
    if SETTINGS not in content:
        raise ValueError(f"{out}: holds no {SETTINGS}, so no benchmark; choose another folder.")
    if resume and record is not None:
        differ = _differences(_read_record(out), record)
        if differ:
            raise ValueError(
                f"{out}: holds results that do not go with this run, which differs in "
                f"{', '.join(differ)}; choose another folder, or pass --overwrite."
            )


def start(out: Path, record: dict[str, Any], *, overwrite: bool) -> None:
    """Make the folder, or clear it of our files, and write what its results will depend on.

    Parameters
    ----------
    out
        The folder.
    record
        See `check`.
    overwrite
        Remove what an earlier run left.
    """
    out = FilePath(out)
    out.mkdir(parents=True, exist_ok=True)
    if overwrite:
        for name in OURS:
            path = out / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    if (out / SETTINGS).exists():
        saved = _read_record(out)
        data = {name: saved["data"].get(name, {}) | own for name, own in record["data"].items()}
        record = {
            **record,
            "data": {**saved["data"], **data},
            "methods": {**saved["methods"], **record["methods"]},
        }
    with atomic_write(out / SETTINGS) as draft:
        draft.write_text(tomli_w.dumps(record), encoding="utf-8")


def _differences(saved: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Name what a saved record and a new one both hold, and hold differently."""
    differ = [
        f"{name} (there {saved['run'].get(name)}, now {value})"
        for name, value in now["run"].items()
        if saved["run"].get(name) != value
    ]
    for name in saved["data"].keys() & now["data"].keys():
        old, new = saved["data"][name], now["data"][name]
        differ += [
            f"the {what} of {name}" for what in old.keys() & new.keys() if old[what] != new[what]
        ]
    differ += [
        f"the settings of {name}"
        for name in saved["methods"].keys() & now["methods"].keys()
        if saved["methods"][name] != now["methods"][name]
    ]
    return sorted(differ)


def _read_record(out: FilePath) -> dict[str, Any]:
    try:
        record = tomllib.loads((out / SETTINGS).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{out / SETTINGS}: not a TOML file ({error}).") from error
    if not {"run", "data", "methods"} <= record.keys():
        raise ValueError(f"{out / SETTINGS}: not written by this benchmark.")
    return record
