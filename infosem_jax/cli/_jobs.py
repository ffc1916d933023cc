"""Commands that train for long: what they save on the way, and what is left of it in the end."""

import shutil
import tomllib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from infosem_jax.cli._inputs import check_resume
from infosem_jax.engine.interrupts import Interrupted
from infosem_jax.outputs.folder import check_folder, software_versions

if TYPE_CHECKING:
    from infosem_jax.engine.saver import Saver

# Beside the checkpoints of training: what they are of.
COMMAND, TRAINED = "command.npz", "group-*.npz"


@contextmanager
def training(
    out: Path,
    files: Collection[str],
    record: dict[str, Any],
    resume: bool,
    overwrite: bool,
    every: float | None,
) -> "Iterator[Saver]":
    """Check that results can be written, and keep what is saved on the way until they are.

    Parameters
    ----------
    out
        Folder for the results.
    files
        Names of those that an earlier run may have left there.
    record
        The command and its options, see `record_of`.
    resume, overwrite
        Whether to go on with what was saved, or to begin anew.
    every
        Seconds between two checkpoints; None for the usual.

    Raises
    ------
    ValueError
        If nothing can be written, or what is there belongs to another run.
    Interrupted
        If the command was told to stop, and training is saved.
    typer.Exit
        If there is nothing left to do.
    """
    from infosem_jax.engine.checkpoint import check_writable, checkpoint_folder, load, save
    from infosem_jax.engine.saver import Saver

    check_resume(resume, overwrite)
    saved = checkpoint_folder(out)
    if overwrite:
        shutil.rmtree(saved, ignore_errors=True)
    if saved.exists() and not resume:
        raise ValueError(
            f"{saved}: an interrupted run was saved there; pass --resume to go on with it, or "
            "--overwrite to begin anew."
        )
    if resume and not saved.exists() and (out / "versions.json").exists():
        _check_same(out, record)
        typer.echo(f"{out} is complete: there is nothing to resume.")
        raise typer.Exit()
    # A run may have been stopped between its last file and the end of its checkpoints.
    check_folder(out, files, overwrite=overwrite or saved.exists())
    if (saved / COMMAND).exists():
        load(saved / COMMAND, {}, record)
    try:
        check_writable(saved, 0)
        save(saved / COMMAND, {}, record)
        yield Saver(
            saved, software_versions(), resume=resume, every=60.0 if every is None else every
        )
    except KeyboardInterrupt as error:
        if any(saved.glob(TRAINED)):
            raise Interrupted(str(saved)) from error
        raise
    except FloatingPointError:
        shutil.rmtree(saved, ignore_errors=True)  # it would diverge again
        raise
    else:
        shutil.rmtree(saved, ignore_errors=True)
    finally:
        if saved.exists() and not any(saved.glob(TRAINED)):
            shutil.rmtree(saved, ignore_errors=True)


def _check_same(out: Path, record: dict[str, Any]) -> None:
    """Refuse to call a run complete that was made with other options."""
    known = tomllib.loads((out / "config.toml").read_text(encoding="utf-8")).get("run", {})
    other = [
        f"{name} (there {known.get(name)}, now {value})"
        for name, value in record.items()
        # Options that were left to the command have the value that it chose.
        if value not in ("", "auto") and known.get(name) != value
    ]
    if other:
        raise ValueError(
            f"{out}: holds the results of another run, which differs in {', '.join(other)}; "
            "choose another folder, or pass --overwrite instead of --resume."
        )
