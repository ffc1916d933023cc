"""The grid of the benchmark: data sets x knowledge x splits x seeds x methods, a file per cell.

Cells are written as soon as they are measured, each whole or not at all, so that a run that was
stopped or killed at any moment goes on with what is missing.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import numpy as np

from infosem_jax import __version__
from infosem_jax._typing import Path
from infosem_jax.benchmark import folder
from infosem_jax.benchmark.grid import Failure, Outcome, check_grid, compute, finish, write_failures
from infosem_jax.benchmark.perturbation import leaderboard
from infosem_jax.benchmark.perturbation.cells import STORE, At, Cell, make_cell
from infosem_jax.engine.compiled import make_room
from infosem_jax.engine.fingerprint import fingerprint
from infosem_jax.engine.interrupts import Interrupted, interrupts
from infosem_jax.perturbation.baselines import mean_response
from infosem_jax.perturbation.data import Responses, stack, take
from infosem_jax.perturbation.de import USUAL, Thresholds
from infosem_jax.perturbation.knowledge import Knowledge
from infosem_jax.perturbation.methods import methods
from infosem_jax.perturbation.metrics import calibrate, evaluate
from infosem_jax.perturbation.screen import Screen, predicted_changes
from infosem_jax.perturbation.splits import draw_splits, usual_split
from infosem_jax.perturbation.task import Method, Prediction, Problem, make_problem

# The bounds that scores are calibrated between; both are cells like any method's.
MEAN, REPLICATE = "mean", "replicate"
REPLICATE_ABOUT = "The response in one half of the cells against that in the other half."


class Grid(NamedTuple):
    """What is to be computed.

    Attributes
    ----------
    screens
        Data sets.
    knowledge
        Knowledge by name; its nodes hold the perturbed genes of all data sets.
    methods
        Methods by name.
    splits
        Splits, see `splits.KINDS`; ``auto`` is `splits.usual_split`.
    seeds
        How many; each decides a split and all that is random in a method. Methods share the
        former, so that they can be compared in pairs.
    thresholds
        What counts as differentially expressed in predictions; as in the data.
    quick
        Whether this is a run on reduced data, which no other run goes on with.
    notes
        What readers of the results are to be told.
    """

    screens: list[Screen]
    knowledge: dict[str, Knowledge]
    methods: dict[str, Method]
    splits: tuple[str, ...] = ("auto",)
    seeds: int = 3
    thresholds: Thresholds = USUAL
    quick: bool = False
    notes: tuple[str, ...] = ()


class _Job(NamedTuple):
    """All cells that share data, knowledge and split."""

    screen: Screen
    network: str
    split: str
    seed: int


def run_grid(
    grid: Grid,
    out: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    on_progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> Outcome:
    """Compute the cells of a grid, and write tables, plots and a report of all that is there.

    Methods are given tasks without the responses of their test perturbations.

    Parameters
    ----------
    grid
        What is to be computed.
    out
        Folder for the results.
    resume
        Compute only what is missing there. Results of other methods, data sets or seeds stay.
    overwrite
        Remove the results of an earlier run first.
    on_progress
        Called with the number of cells that are done, that of all, and what is being done.

    Raises
    ------
    ValueError
        If the grid is empty or asks for what there is not, or results are there already or belong
        to other data or settings.
    Interrupted
        If the process was told to stop; what was computed is in the folder.
    """
    jobs = _jobs(grid)
    out = FilePath(out)
    record = _record(grid)
    folder.check(out, record, resume=resume, overwrite=overwrite)
    folder.start(out, record, overwrite=overwrite)
    failures: list[Failure] = []
    done, total = 0, len(jobs) * len(grid.methods)
    with interrupts() as stopped:
        for job in jobs:
            ats = {name: _at(job, name) for name in grid.methods}
            missing = {name: at for name, at in ats.items() if not STORE.has(out, at)}
            done += len(ats) - len(missing)
            if not missing:
                continue
            problems = _problems(job, grid)
            bounds = _bounds(out, job, problems, grid.thresholds)
            for name, at in missing.items():
                if stopped():
                    raise Interrupted(str(out))
                on_progress(done, total, f"{at.dataset}, {name}, {at.split}, seed {at.seed}")
                make_room()
                make = partial(_cell, at, job, problems, grid, bounds)
                failures += compute(STORE, out, at, make)
                done += 1
            write_failures(out, failures)
    notes = [*grid.notes, *(note for screen in grid.screens for note in screen.responses.notes)]
    on_progress(total, total, "writing tables and plots")
    known = {name: method.about for name, method in {**methods(), **grid.methods}.items()}
    known[REPLICATE] = REPLICATE_ABOUT
    return finish(STORE, out, failures, notes, known, leaderboard.make_page)


def measure(
    at: At,
    problems: Sequence[Problem],
    predictions: Sequence[Prediction],
    seconds: float,
    controls: Mapping[str, np.ndarray],
    bounds: tuple[dict[str, float], dict[str, float]] = ({}, {}),
    thresholds: Thresholds = USUAL,
) -> Cell:
    """Measure predictions of all folds of a split together.

    Parameters
    ----------
    at
        Place in the grid; its seed makes the predicted cells.
    problems, predictions
        Of each fold.
    seconds
        Time that the method took.
    controls
        Control cells of each line, for tests of predicted cells; none of tables.
    bounds
        Metrics of the mean response and of the replicate, for calibration.
    thresholds
        What counts as differentially expressed in predictions.
    """
    truth = _join([problem.truth for problem in problems])
    prediction = _together(predictions)
    return _measured(at, problems, truth, prediction, seconds, controls, bounds, thresholds)


def _measured(
    at: At,
    problems: Sequence[Problem],
    truth: Responses,
    prediction: Prediction,
    seconds: float,
    controls: Mapping[str, np.ndarray],
    bounds: tuple[dict[str, float], dict[str, float]],
    thresholds: Thresholds,
) -> Cell:
    # Folds are drawn in another order by each seed; their cells shall say the same of the same.
    order = np.argsort(truth.labels, kind="stable")
    reference = None
    if truth.continuous:
        reference = np.concatenate([mean_response(p.task).change for p in problems])[order]
    truth, prediction = take(truth, order), _rows(prediction, order)
    changes = predicted_changes(prediction, truth, controls, 1000 * at.seed)
    scores = evaluate(prediction, truth, reference, changes=changes, thresholds=thresholds)
    calibrated = calibrate(scores.metrics, *bounds) if all(bounds) else {}
    metrics = scores.metrics | {f"{name}_calibrated": v for name, v in calibrated.items()}
    if prediction.informed is not None:
        metrics["informed"] = float(prediction.informed.mean())
    sizes = (
        len(problems[0].task.train.perturbed), len(truth.perturbed), len(truth.genes),
    )  # fmt: skip
    return make_cell(
        at, scores._replace(metrics=metrics), seconds, sizes, truth.labels, truth.delta,
        prediction.change,
    )  # fmt: skip


def _jobs(grid: Grid) -> list[_Job]:
    check_grid(
        grid.seeds,
        data_set=grid.screens,
        method=grid.methods,
        split=grid.splits,
        set_of_knowledge=grid.knowledge,
    )
    jobs = []
    for screen in grid.screens:
        for split in grid.splits:
            own = usual_split(screen.responses, screen.published) if split == "auto" else split
            # A first draw shows, before anything is computed, that the words can be followed.
            draw_splits(screen.responses, own, 0, screen.published)
            jobs += [
                _Job(screen, network, own, seed)
                for network in grid.knowledge
                for seed in range(grid.seeds)
            ]
    return jobs


def _problems(job: _Job, grid: Grid) -> list[Problem]:
    responses = job.screen.responses
    splits = draw_splits(responses, job.split, job.seed, job.screen.published)
    knowledge = grid.knowledge[job.network]
    return [make_problem(responses, split, knowledge) for split in splits]


def _bounds(
    out: FilePath, job: _Job, problems: list[Problem], thresholds: Thresholds
) -> tuple[dict[str, float], dict[str, float]]:
    """Measure the mean response and the replicate, and write the latter as a cell."""
    truth = _join([problem.truth for problem in problems])
    if not truth.continuous:
        return {}, {}
    mean = [mean_response(problem.task) for problem in problems]
    controls = job.screen.controls
    at = _at(job, MEAN)
    low = measure(at, problems, mean, 0.0, controls, thresholds=thresholds).metrics
    if truth.halves is None:
        return low, {}
    first, second = truth.halves
    halved = truth._replace(delta=second)
    change = Prediction(first, np.abs(first), first)
    at = _at(job, REPLICATE)
    high = _measured(at, problems, halved, change, 0.0, controls, ({}, {}), thresholds)
    STORE.write(out, high)
    return low, high.metrics


def _cell(
    at: At,
    job: _Job,
    problems: list[Problem],
    grid: Grid,
    bounds: tuple[dict[str, float], dict[str, float]],
) -> Cell:
    began = time.monotonic()
    method = grid.methods[at.method]
    predictions = method.predict([problem.task for problem in problems], at.seed)
    took = time.monotonic() - began
    controls = job.screen.controls
    return measure(at, problems, predictions, took, controls, bounds, grid.thresholds)


def _join(parts: Sequence[Responses]) -> Responses:
    """Put the test parts of folds below each other; their genes are the same."""
    return parts[0] if len(parts) == 1 else stack(list(parts), parts[0].name)


def _together(predictions: Sequence[Prediction]) -> Prediction:
    def join(name: str):
        found = [getattr(each, name) for each in predictions]
        return None if any(each is None for each in found) else np.concatenate(found)

    return Prediction(*(join(name) for name in Prediction._fields))  # pyright: ignore[reportArgumentType]


def _rows(prediction: Prediction, order: np.ndarray) -> Prediction:
    return Prediction(*(None if part is None else part[order] for part in prediction))  # pyright: ignore[reportArgumentType]


def _at(job: _Job, method: str) -> At:
    split = FilePath(job.split).name if FilePath(job.split).is_file() else job.split
    return At(job.screen.responses.name, job.network, method, split, job.seed)


def _record(grid: Grid) -> dict[str, Any]:
    """Return what results depend on: software, data and settings."""
    graphs = {
        name: fingerprint((each.nodes, [g.data for g in each.graphs.values()], each.text))
        for name, each in grid.knowledge.items()
    }
    data = {
        screen.responses.name: {
            "expression": fingerprint(
                (screen.responses.perturbed, screen.responses.sign, screen.responses.delta)
            ),
            "embeddings": {},
            "networks": graphs,
        }
        for screen in grid.screens
    }
    run_of = {
        "task": "perturbation",
        "version": __version__,
        "quick": grid.quick,
        "fdr": grid.thresholds.fdr,
        "lfc": grid.thresholds.lfc,
    }
    about = {name: {"about": method.about} for name, method in grid.methods.items()}
    return {"run": run_of, "data": data, "methods": about}
