"""A grid of fits from files to folders: checked first, saved on the way, resumed after a crash."""

import os
import re
import shutil
import tomllib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
import pandas as pd

from infosem_jax import _typing
from infosem_jax.data.dataset import Dataset
from infosem_jax.data.io import atomic_write
from infosem_jax.data.stream import Stream
from infosem_jax.engine.checkpoint import checkpoint_folder, load, read_record, save
from infosem_jax.engine.fingerprint import fingerprint
from infosem_jax.engine.interrupts import Interrupted, interrupts
from infosem_jax.engine.saver import Saver
from infosem_jax.engine.types import Progress
from infosem_jax.grn import exact, run_folder
from infosem_jax.grn.config import Config
from infosem_jax.grn.fitting import fit_many
from infosem_jax.grn.networks import Network
from infosem_jax.grn.prepare import Job
from infosem_jax.grn.priors.binding import Priors
from infosem_jax.grn.result import Fit
from infosem_jax.outputs.folder import software_versions, whole_folder

SUMMARY = "summary.csv"
STATUS = "grid.npz"


Settings: TypeAlias = exact.Config | Config


class Outcome(NamedTuple):
    """What became of one job: its folder, and its network unless every seed diverged."""

    job: Job
    folder: Path
    fitted: Fit | exact.Fit
    network: Network | None


def folders_of(
    out: _typing.Path, datasets: Collection[str], priors: Collection[str]
) -> dict[Job, Path]:
    """Return the folder of each job: ``out`` itself where there is only one.

    Parameters
    ----------
    out
        Folder for the results.
    datasets, priors
        Names of the data sets and of the priors.
    """
    jobs = [Job(data, prior, "") for data in datasets for prior in priors]
    if len(jobs) == 1:
        return {jobs[0]: Path(out)}
    return {job: Path(out, *map(_folder_name, job[:2])) for job in jobs}


def is_finished(out: _typing.Path, config: Settings, *, seeds: int, key: int) -> bool:
    """Return whether a folder holds the complete results of a run with these settings.

    Parameters
    ----------
    out
        Folder for the results.
    config, seeds, key
        As in `fit_many`.

    Raises
    ------
    ValueError
        If it holds those of a run with other settings.
    """
    out = Path(out)
    written = (out / "versions.json").exists() or (out / SUMMARY).exists()
    if not written or checkpoint_folder(out).exists():
        return False
    engine = "exact" if isinstance(config, exact.Config) else "svi"
    asked = {**asdict(config), "key": key} | ({"seeds": seeds} if engine == "svi" else {})
    for path in sorted(out.rglob("config.toml"))[:1]:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        if tables["engine"] != engine:
            raise ValueError(
                f"{out}: holds the results of the {tables['engine']} engine; choose another folder "
                f"for those of the {engine} engine, or pass --overwrite instead of --resume."
            )
        known = {**tables["exact" if engine == "exact" else "model"], **tables["run"]}
        other = [
            f"{name} (there {known.get(name)}, now {value})"
            for name, value in asked.items()
            if known.get(name) != value and value != "auto"
        ]
        if other:
            raise ValueError(
                f"{out}: holds the results of another run, which differs in {', '.join(other)}; "
                "choose another folder, or pass --overwrite instead of --resume."
            )
    return True


def identity(
    datasets: Mapping[str, Dataset | Stream],
    priors: Mapping[str, Priors],
    *,
    config: Settings,
    seeds: int,
    key: int,
) -> dict[str, Any]:
    """Return all that results depend on, as far as it is known before priors meet data.

    Parameters
    ----------
    datasets, priors, config, seeds, key
        As in `run_grid`. Of priors both their settings and their content count, since their files
        may have changed.
    """
    return {
        "data": {
            name: data.fingerprint if isinstance(data, Stream) else fingerprint(data)
            for name, data in datasets.items()
        },
        "config": asdict(config),
        "priors": {
            name: {"record": prior.record, "content": fingerprint(prior[:2])}
            for name, prior in priors.items()
        },
        "seeds": seeds,
        "key": key,
        "versions": software_versions(),
    }


def run_grid(
    datasets: Mapping[str, Dataset | Stream],
    priors: Mapping[str, Priors],
    out: _typing.Path,
    *,
    config: Settings = exact.Config(),
    seeds: int = 1,
    key: int = 0,
    record: Mapping[str, Any] = {},
    top: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    every: float = 60.0,
    on_chunk: Callable[[Progress], None] | None = None,
    on_result: Callable[[Outcome], None] | None = None,
) -> pd.DataFrame:
    """Fit every data set with all priors, and write a folder for each as soon as it is trained.

    Folders are written whole or not at all.

    Parameters
    ----------
    datasets, priors
        Data sets and priors by name, as of `read_datasets` and `read_priors`.
    out
        Folder for the results.
    config, seeds, key
        As in `fit_many`.
    record
        How the run was started, for the record.
    top
        How many edges the tables list, the strongest; None lists all.
    resume
        Go on from the checkpoints of an interrupted run, where there are any.
    overwrite
        Replace results, and drop checkpoints, of an earlier run.
    every
        Seconds between two checkpoints of the svi engine; exact fits are kept when they are done.
    on_chunk, on_result
        Called every few seconds, and after each job.

    Returns
    -------
    One line per job, also written to ``summary.csv`` where there are several.

    Raises
    ------
    ValueError
        If nothing can be written, or what was saved belongs to another run.
    Interrupted
        If the process was told to stop; training, or what is finished, has been saved.
    FloatingPointError
        If every seed of every job diverged.
    """
    folders = folders_of(out, datasets, priors)
    jobs = list(folders)
    saved = checkpoint_folder(out)
    depends_on = identity(datasets, priors, config=config, seeds=seeds, key=key)
    leader = jax.process_index() == 0
    _check_folders(out, folders.values())
    with _refused_by_all():
        if leader and not _can_resume(saved, depends_on, resume=resume, overwrite=overwrite):
            shutil.rmtree(saved, ignore_errors=True)
            sizes = {"top": top, "networks": len(jobs)}
            for data in datasets.values():
                run_folder.check_output(out, data, overwrite=overwrite, **sizes)
    with interrupts() as stop, _kept_until_done(saved) as rows:
        saver = Saver(saved, software_versions(), resume=resume, every=every, stop=stop)
        is_exact = isinstance(config, exact.Config)
        finished = {(row["data"], row["prior"]) for row in rows}
        fits = fit_many(
            datasets,
            priors,
            configs=config,
            seeds=seeds,
            key=key,
            on_chunk=_until(stop, saved, on_chunk) if is_exact else on_chunk,
            saver=None if is_exact else saver,
            skip=_as_leader(jobs, [job[:2] in finished for job in jobs]),
        )
        if leader:
            _keep(saved, depends_on, rows)
        for job, fitted in fits:
            outcome = Outcome(job, folders[job], fitted, None)
            if leader and (isinstance(fitted, exact.Fit) or (fitted.diverged < 0).any()):
                outcome = _write(outcome, datasets[job.data], priors[job.prior], record, top)
            rows.append(_line(outcome))
            if leader:
                _keep(saved, depends_on, rows)
            if on_result is not None:
                on_result(outcome)
        table = pd.DataFrame(rows)
        if leader and len(jobs) > 1:
            _write_summary(table, Path(out))
    if rows and not any(row["folder"] for row in rows):
        raise FloatingPointError(
            "Every seed of every fit diverged; lower the learning rates, or clip expression harder."
        )
    return table


def _write(
    outcome: Outcome,
    data: Dataset | Stream,
    priors: Priors,
    record: Mapping[str, Any],
    top: int | None,
) -> Outcome:
    """Write the folder of a job, and return its outcome with the network."""
    outcome.folder.absolute().parent.mkdir(parents=True, exist_ok=True)
    title = f"Network of {data.name}"
    with whole_folder(outcome.folder) as draft:
        written = run_folder.write_run(
            draft, data, outcome.fitted, priors, record=dict(record), title=title, top=top
        )
    return outcome._replace(network=written)


def _until(
    stop: Callable[[], bool], saved: Path, on_chunk: Callable[[Progress], None] | None
) -> Callable[[Progress], None]:
    """Pass progress on until the process is told to stop."""

    def told(now: Progress) -> None:
        if stop():
            raise Interrupted(str(saved))
        if on_chunk is not None:
            on_chunk(now)

    return told


def _folder_name(name: str) -> str:
    """Return a name for a folder inside another, on any system."""
    name = re.sub(r"[^\w .+=()-]|^\.|[. ]$", "_", name) or "_"
    # Devices of Windows, with any ending.
    device = re.match(r"(con|prn|aux|nul|(com|lpt)\d)(\.|$)", name, re.IGNORECASE)
    return f"_{name}" if device else name


def _check_folders(out: _typing.Path, folders: Collection[Path]) -> None:
    # Some file systems do not tell CD4 from cd4.
    alike = Counter(f"{folder}".casefold() for folder in folders)
    if alike.most_common(1)[0][1] > 1:
        clash = [f"{folder}" for folder in folders if alike[f"{folder}".casefold()] > 1]
        raise ValueError(
            f"{out}: expected names that make different folders, found {', '.join(sorted(clash))}; "
            "rename data or the files of priors."
        )
    for folder in folders:
        parts = folder.relative_to(out).parts
        # Room for what names a draft of the folder.
        if SUMMARY in parts or any(len(os.fsencode(part)) > 200 for part in parts):
            raise ValueError(
                f"{folder}: cannot write to a folder of this name; rename the data or the file of "
                "the prior."
            )


def _can_resume(saved: Path, depends_on: dict[str, Any], *, resume: bool, overwrite: bool) -> bool:
    if resume and (saved / STATUS).exists():
        load(saved / STATUS, {}, depends_on)
        return True
    if saved.exists() and not (resume or overwrite):
        raise ValueError(
            f"{saved}: an interrupted run was saved there; pass --resume to go on with it, or "
            "--overwrite to begin anew."
        )
    return False


@contextmanager
def _refused_by_all() -> Iterator[None]:
    """Let no process wait for the first of them, should that refuse to start."""
    refusal = None
    try:
        yield
    except (ValueError, OSError) as error:
        refusal = error
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        refused = multihost_utils.broadcast_one_to_all(np.asarray(refusal is not None))
        if refused and refusal is None:
            raise ValueError("The first process refused to start; its message says why.")
    if refusal is not None:
        raise refusal


@contextmanager
def _kept_until_done(saved: Path) -> Iterator[list[dict[str, Any]]]:
    """Yield a line per finished job; in the end, keep what can be gone on from and no more."""
    leader, status = jax.process_index() == 0, saved / STATUS
    rows = read_record(status)["finished"] if leader and status.exists() else []
    try:
        yield rows
    except BaseException:
        if leader and not rows and not any(saved.glob("group-*.npz")):
            shutil.rmtree(saved, ignore_errors=True)
        raise
    if leader:
        shutil.rmtree(saved, ignore_errors=True)


def _keep(saved: Path, depends_on: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    saved.mkdir(parents=True, exist_ok=True)
    save(saved / STATUS, {}, {**depends_on, "finished": rows})


def _as_leader(jobs: list[Job], finished: list[bool]) -> set[Job]:
    """Return the finished jobs, as the first of several processes knows them."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        finished = list(multihost_utils.broadcast_one_to_all(np.asarray(finished)))
    return {job for job, done in zip(jobs, finished, strict=True) if done}


def _line(outcome: Outcome) -> dict[str, Any]:
    fitted = outcome.fitted
    if isinstance(fitted, exact.Fit):
        return {
            "data": outcome.job.data,
            "prior": outcome.job.prior,
            "log_evidence": float(fitted.log_evidence.sum()),
            "seconds": round(fitted.seconds, 1),
            "folder": str(outcome.folder),
        }
    sound = fitted.diverged < 0
    last = fitted.losses.train[sound, -1]
    return {
        "data": outcome.job.data,
        "prior": outcome.job.prior,
        "seeds": len(sound),
        "sound_seeds": int(sound.sum()),
        "loss": float(np.mean(last)) if sound.any() else np.nan,
        "group_seconds": round(fitted.seconds, 1),
        "folder": str(outcome.folder) if sound.any() else "",
    }


def _write_summary(table: pd.DataFrame, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with atomic_write(out / SUMMARY) as draft:
        table.drop(columns=[name for name in table if "seconds" in name]).to_csv(draft, index=False)
