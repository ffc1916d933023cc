"""A grid of fits from files to folders: checked first, saved on the way, resumed after a crash."""

import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd

from infosem_jax import _typing
from infosem_jax.data.dataset import Dataset
from infosem_jax.data.io import atomic_write
from infosem_jax.data.stream import Stream
from infosem_jax.engine.checkpoint import load, read_record, save
from infosem_jax.engine.fingerprint import fingerprint
from infosem_jax.engine.interrupts import interrupts
from infosem_jax.engine.saver import Saver
from infosem_jax.grn import run_folder
from infosem_jax.grn.config import Config
from infosem_jax.grn.fitting import GridProgress, fit_many
from infosem_jax.grn.networks import Network
from infosem_jax.grn.prepare import Job, Priors
from infosem_jax.grn.result import Fit
from infosem_jax.grn.run_folder import NamedPrior
from infosem_jax.outputs.folder import software_versions, whole_folder

SUMMARY = "summary.csv"
STATUS = "grid.npz"


class Grid(NamedTuple):
    """What is to be fitted: every data set with every prior of the effects and of the edges.

    Attributes
    ----------
    datasets
        Data sets by name.
    effects, edges
        Priors; None among the edges stands for a model without a gate.
    config, seeds, key
        As in `fit_many`.
    record
        How the run was started.
    top
        How many edges the tables list, the strongest; None lists all.
    """

    datasets: dict[str, Dataset | Stream]
    effects: list[NamedPrior]
    edges: list[NamedPrior | None]
    config: Config
    seeds: int
    key: int
    record: dict[str, Any]
    top: int | None = None

    def priors(self) -> dict[str, list[NamedPrior]]:
        """Return the priors of each combination, by its name."""
        return {
            "+".join(filter(None, names)): [part for part in parts if part is not None]
            for names, parts in zip(
                product(_labels(self.effects), _labels(self.edges)),
                product(self.effects, self.edges),
                strict=True,
            )
        }


class Outcome(NamedTuple):
    """What became of one job: its folder, and its network unless every seed diverged."""

    job: Job
    folder: Path
    fitted: Fit
    network: Network | None


def folder_of(out: _typing.Path, grid: Grid, job: Job) -> Path:
    """Return the folder of a job: ``out`` itself where it is the only one."""
    if len(grid.datasets) * len(grid.effects) * len(grid.edges) == 1:
        return Path(out)
    return Path(out) / _folder_name(job.data) / _folder_name(job.prior)


def checkpoint_folder(out: _typing.Path) -> Path:
    """Return the folder of checkpoints, which lies beside the results until they are complete."""
    out = Path(out).absolute()
    return out.with_name(f"{out.name}.checkpoint")


def run_grid(
    grid: Grid,
    out: _typing.Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    every: float = 60.0,
    on_chunk: Callable[[GridProgress], None] | None = None,
    on_result: Callable[[Outcome], None] | None = None,
) -> pd.DataFrame:
    """Fit a grid and write one folder per job, each whole, as soon as its group has trained.

    Parameters
    ----------
    grid
        What is to be fitted.
    out
        Folder for the results.
    resume
        Go on from the checkpoints of an interrupted run, where there are any.
    overwrite
        Replace results, and drop checkpoints, of an earlier run.
    every
        Seconds between two checkpoints.
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
        If the process was told to stop; training has been saved.
    FloatingPointError
        If every seed of every job diverged.
    """
    priors = grid.priors()
    jobs = [Job(data, prior, "") for data in grid.datasets for prior in priors]
    folders = {job: folder_of(out, grid, job) for job in jobs}
    saved = checkpoint_folder(out)
    identity = _identity(grid)
    leader = jax.process_index() == 0
    _check_folders(out, folders.values())
    with _refused_by_all():
        if leader:
            _check_start(grid, out, saved, identity, resume=resume, overwrite=overwrite)
    with interrupts() as stop, _kept_until_done(saved) as rows:
        saver = Saver(saved, software_versions(), resume=resume, every=every, stop=stop)
        finished = {(row["data"], row["prior"]) for row in rows}
        fits = fit_many(
            grid.datasets,
            {name: _sites(parts) for name, parts in priors.items()},
            configs={"": grid.config},
            seeds=grid.seeds,
            key=grid.key,
            on_chunk=on_chunk,
            saver=saver,
            skip=_as_leader(jobs, [job[:2] in finished for job in jobs]),
        )
        if leader:
            _keep(saved, identity, rows)
        for job, fitted in fits:
            outcome = Outcome(job, folders[job], fitted, None)
            if leader and (fitted.diverged < 0).any():
                outcome = outcome._replace(
                    network=_write(grid, job, priors[job.prior], fitted, folders[job])
                )
            rows.append(_line(outcome))
            if leader:
                _keep(saved, identity, rows)
            if on_result is not None:
                on_result(outcome)
        table = pd.DataFrame(rows)
        if leader and len(jobs) > 1:
            _write_summary(table, Path(out))
    if rows and not any(row["sound_seeds"] for row in rows):
        raise FloatingPointError(
            "Every seed of every fit diverged; lower the learning rates, or clip expression harder."
        )
    return table


def _labels(priors: Sequence[NamedPrior | None]) -> list[str]:
    """Call priors by what tells them apart: their names, else their files too."""
    named = [NamedPrior("", "", "", None, {}) if prior is None else prior for prior in priors]
    names = [prior.name for prior in named]
    files = [prior.settings.get("file", "") for prior in named]
    for tails in ([""] * len(named), [Path(file).stem for file in files], files):
        labels = ["=".join(filter(None, pair)) for pair in zip(names, tails, strict=True)]
        if len(set(labels)) == len(labels):
            return labels
    twice = next(label or "none" for label in labels if labels.count(label) > 1)
    raise ValueError(f"Expected priors that differ, found {twice} more than once.")


def _folder_name(name: str) -> str:
    """Return a name for a folder inside another."""
    return re.sub(r"[^\w .+=()-]|^\.", "_", name) or "_"


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


def _check_start(
    grid: Grid,
    out: _typing.Path,
    saved: Path,
    identity: dict[str, Any],
    *,
    resume: bool,
    overwrite: bool,
) -> None:
    if resume and (saved / STATUS).exists():
        load(saved / STATUS, {}, identity)
        return
    if saved.exists() and not (resume or overwrite):
        raise ValueError(
            f"{saved}: an interrupted run was saved there; pass --resume to go on with it, or "
            "--overwrite to begin anew."
        )
    shutil.rmtree(saved, ignore_errors=True)
    jobs = len(grid.datasets) * len(grid.priors())
    for data in grid.datasets.values():
        run_folder.check_output(out, data, overwrite=overwrite, top=grid.top, networks=jobs)


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


def _keep(saved: Path, identity: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    saved.mkdir(parents=True, exist_ok=True)
    save(saved / STATUS, {}, {**identity, "finished": rows})


def _as_leader(jobs: list[Job], finished: list[bool]) -> set[Job]:
    """Return the finished jobs, as the first of several processes knows them."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        finished = list(multihost_utils.broadcast_one_to_all(np.asarray(finished)))
    return {job for job, done in zip(jobs, finished, strict=True) if done}


def _identity(grid: Grid) -> dict[str, Any]:
    """Return what a run depends on, as far as it is known before priors meet data."""
    return {
        "data": {
            name: data.fingerprint if isinstance(data, Stream) else fingerprint(data)
            for name, data in grid.datasets.items()
        },
        "config": asdict(grid.config),
        "effect": [_identify(prior) for prior in grid.effects],
        "edge": [_identify(prior) for prior in grid.edges],
        "seeds": grid.seeds,
        "key": grid.key,
        "versions": software_versions(),
    }


def _identify(prior: NamedPrior | None) -> dict[str, Any] | None:
    """Return what a prior says, by settings and by content: its file may have changed."""
    return prior and {**prior.settings, "content": fingerprint(prior.prior)}


def _sites(parts: list[NamedPrior]) -> Priors:
    return Priors(parts[0].prior, parts[1].prior if len(parts) > 1 else None)


def _write(grid: Grid, job: Job, parts: list[NamedPrior], fitted: Fit, folder: Path) -> Network:
    folder.absolute().parent.mkdir(parents=True, exist_ok=True)
    data = grid.datasets[job.data]
    with whole_folder(folder) as draft:
        title = f"Network of {data.name}"
        return run_folder.write_run(
            draft, data, fitted, parts, record=grid.record, title=title, top=grid.top
        )


def _line(outcome: Outcome) -> dict[str, Any]:
    fitted = outcome.fitted
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
        table.to_csv(draft, index=False)
