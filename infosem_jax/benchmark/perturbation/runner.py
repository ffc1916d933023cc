"""The grid of the benchmark: data sets x knowledge x splits x seeds x methods."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import numpy as np

from infosem_jax._settings import Method, choose
from infosem_jax._typing import Path
from infosem_jax.benchmark.perturbation import leaderboard
from infosem_jax.benchmark.perturbation.cells import SHOWN, STORE, At, Cell
from infosem_jax.benchmark.perturbation.compare import by_method, headlines
from infosem_jax.benchmark.perturbation.sources import find_knowledge, find_screens, find_split
from infosem_jax.benchmark.runner import Job, Plan, check_grid, one_by_one
from infosem_jax.benchmark.table import mean_score
from infosem_jax.engine.fingerprint import fingerprint
from infosem_jax.outputs.page import Table
from infosem_jax.perturbation.baselines import mean_response
from infosem_jax.perturbation.data import Responses, stack, take
from infosem_jax.perturbation.de import USUAL, Thresholds
from infosem_jax.perturbation.knowledge import Knowledge
from infosem_jax.perturbation.methods import METHODS
from infosem_jax.perturbation.methods import USUAL as NAMES
from infosem_jax.perturbation.methods import methods as all_methods
from infosem_jax.perturbation.metrics import calibrate, evaluate
from infosem_jax.perturbation.panel import Bounds, Panel, bounds, log_change, panels_of_lines, place
from infosem_jax.perturbation.readers import Columns
from infosem_jax.perturbation.screen import Screen, predicted_changes, read_screen
from infosem_jax.perturbation.splits import draw_splits, usual_split
from infosem_jax.perturbation.task import Prediction, Problem, make_problem
from infosem_jax.perturbation.virtual_cell import NAMES as SIX
from infosem_jax.perturbation.virtual_cell import measure

# The upper bound that scores are calibrated to; a cell like any method's.
REPLICATE = "replicate"
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

    def plan(self) -> Plan:
        """Return what is to be computed, see `benchmark.runner`."""
        jobs = list(_jobs(self))
        graphs = {
            f"knowledge {name}": fingerprint(
                (each.nodes, [g.data for g in each.graphs.values()], each.text)
            )
            for name, each in self.knowledge.items()
        }
        return Plan(
            store=STORE,
            settings={"quick": self.quick, **asdict(self.thresholds)},
            data={
                own.name: {
                    "expression": fingerprint((own.perturbed, own.sign, own.delta)),
                    **graphs,
                }
                for own in (screen.responses for screen in self.screens)
            },
            methods=self.methods,
            known=METHODS | {REPLICATE: Method(_together, REPLICATE_ABOUT)},
            jobs=jobs,
            total=sum(len(job.places) for job in jobs),
            notes=[*self.notes, *(n for screen in self.screens for n in screen.responses.notes)],
            make_page=leaderboard.make_page,
        )


class _Prepared(NamedTuple):
    """What methods of one job share.

    Attributes
    ----------
    problems
        Of each fold.
    truth
        Of all of them.
    bounds
        Metrics of the mean response and of the replicate, for calibration.
    replicate
        The cell of the latter; none without halves of cells.
    panels
        Rows, observed cells and bounds of each cell line, in the order of labels; none of tables.
    """

    problems: list[Problem]
    truth: Responses
    bounds: tuple[dict[str, float], dict[str, float]]
    replicate: list[Cell]
    panels: list[tuple[np.ndarray, Panel, Bounds]]


def make_grid(
    data: Path,
    *,
    datasets: Sequence[str] = (),
    methods: Sequence[str] = (),
    splits: Sequence[str] = (),
    seeds: int = 3,
    quick: bool = False,
    graphs: Mapping[str, Mapping[str, Path]] = {},
    text: Path | None = None,
    graph_top: int = 0,
    thresholds: Thresholds = USUAL,
    layer: str | None = None,
    names: str | None = None,
    **reading: Any,
) -> Grid:
    """Read the screens of a folder and what is known of their genes, and choose methods by name.

    Parameters
    ----------
    data, datasets
        The folder, and which of its data sets; see `find_screens`.
    methods
        Names of methods; those of `perturbation.methods.USUAL` where empty.
    splits
        See :class:`Grid`; also names of lists of perturbations in the folder ``splits``.
    seeds
        How many.
    quick
        Take the first two data sets, small networks and one seed.
    graphs, text, graph_top
        See `find_knowledge`.
    thresholds
        What counts as differentially expressed.
    layer, names
        Of cells: layer to read, and column of var that names genes.
    **reading
        Which cells and genes count, see `read_screen`.

    Raises
    ------
    ValueError
        If there is no such data set, method, graph or split.
    """
    chosen = choose("method", methods or NAMES, all_methods(quick=quick))
    columns = Columns(genes=names, layer=layer)
    read = partial(read_screen, columns=columns, thresholds=thresholds, **reading)
    screens, notes = find_screens(data, datasets, read)
    if quick:
        screens = screens[:2]
        names = ", ".join(screen.responses.name for screen in screens)
        notes.append(f"A quick look, no benchmark: {names} only, small networks, one seed.")
    known = find_knowledge(data, graphs, text, screens, top=graph_top)
    for name in methods:
        _check_known(name, known)
    named = tuple(find_split(data, name) for name in splits) or ("auto",)
    return Grid(
        screens, known, chosen, named, 1 if quick else seeds, thresholds, quick, tuple(notes)
    )


def _check_known(method: str, known: Mapping[str, Knowledge]) -> None:
    """Refuse a method that was asked for by name and would know nothing of any gene."""
    needs = _NEEDS.get(method, ())
    there = {
        "graph": any(each.has_edges.any() for each in known.values()),
        "text": any(each.has_text.any() for each in known.values()),
    }
    if needs and not any(there[each] for each in needs):
        raise ValueError(
            f"--methods: {method} needs a {' or '.join(needs)} of genes, and none was found; give "
            f"{' or '.join(f'--{each}' for each in needs)}, or leave the method out."
        )


# What methods know of genes beside responses; any of them will do.
_NEEDS = {
    **dict.fromkeys(
        ("graph_neighbours", "ridge_graph", "txpert_untuned", "gears_untuned"), ("graph",)
    ),
    **dict.fromkeys(("text_neighbours", "ridge_text", "adapert_no_graph"), ("text",)),
    **dict.fromkeys(("neighbours", "ridge", "adapert", "adapert_adaptive"), ("graph", "text")),
    **dict.fromkeys(("adapert_full", "adapert_hops1"), ("graph", "text")),
}


def headline_tables(cells: Sequence[Cell]) -> list[Table]:
    """Return the main scores of each data set, methods in rows."""
    tables = []
    for group, found in by_method(cells):
        main = list(headlines([cell for of in found.values() for cell in of]))
        rows = [(name, [f"{mean_score(of, m):.3f}" for m in main]) for name, of in found.items()]
        tables.append(Table("method", main, rows, group.title))
    return tables


def _jobs(grid: Grid) -> Iterator[Job]:
    """Yield a job for each data set, split, knowledge and seed."""
    check_grid(
        grid.seeds,
        data_set=grid.screens,
        method=grid.methods,
        split=grid.splits,
        set_of_knowledge=grid.knowledge,
    )
    for screen in grid.screens:
        for split in grid.splits:
            how = usual_split(screen.responses, screen.published) if split == "auto" else split
            # A first draw shows, before anything is computed, that the words can be followed.
            draw_splits(screen.responses, how, 0, screen.published)
            name = FilePath(how).name if FilePath(how).is_file() else how
            for network, knowledge in grid.knowledge.items():
                for seed in range(grid.seeds):
                    at = At(screen.responses.name, network, "", name, seed)
                    solve = partial(
                        one_by_one,
                        prepare=partial(_prepare, at, screen, knowledge, how, grid),
                        make=partial(_cells, screen, grid),
                    )
                    yield Job([at._replace(method=method) for method in grid.methods], solve)


def _prepare(at: At, screen: Screen, knowledge: Knowledge, how: str, grid: Grid) -> _Prepared:
    """Draw the folds, and measure the mean response and the replicate on them."""
    splits = draw_splits(screen.responses, how, at.seed, screen.published)
    problems = [make_problem(screen.responses, split, knowledge) for split in splits]
    own = _Prepared(problems, _join([problem.truth for problem in problems]), ({}, {}), [], [])
    if not own.truth.continuous:
        return own
    if screen.cells is not None:
        truth = take(own.truth, np.argsort(own.truth.labels, kind="stable"))
        found = panels_of_lines(screen.cells, screen.controls, truth)
        own = own._replace(
            panels=[(rows, panel, bounds(panel, seed=at.seed)) for rows, panel in found]
        )
    mean = _together([mean_response(problem.task) for problem in problems])
    low = _measure(at, own, mean, 0.0, screen, grid).metrics
    own = own._replace(bounds=(low, {}))
    if own.truth.halves is None:
        return own
    first, second = own.truth.halves
    halved = own._replace(truth=own.truth._replace(delta=second))
    change = Prediction(first, np.abs(first), first)
    high = _measure(at._replace(method=REPLICATE), halved, change, 0.0, screen, grid)
    if own.panels:
        six = {name: _over_lines(own, [b.replicate[name] for *_, b in own.panels]) for name in SIX}
        six |= {f"{name}_calibrated": 1.0 for name in SIX if np.isfinite(six[name])}
        six["virtual_cell"] = 1.0
        high = high._replace(metrics=high.metrics | six)
    return own._replace(bounds=(low, high.metrics), replicate=[high])


def _cells(screen: Screen, grid: Grid, at: At, prepared: _Prepared) -> list[Cell]:
    began = time.monotonic()
    tasks = [problem.task for problem in prepared.problems]
    found = _together(grid.methods[at.method].predict(tasks, at.seed))
    took = time.monotonic() - began
    return [*prepared.replicate, _measure(at, prepared, found, took, screen, grid)]


def _measure(
    at: At, prepared: _Prepared, found: Prediction, seconds: float, screen: Screen, grid: Grid
) -> Cell:
    """Measure predictions of all folds of a split together."""
    problems, truth, between, *_ = prepared
    # Folds are drawn in another order by each seed; their cells shall say the same of the same.
    order = np.argsort(truth.labels, kind="stable")
    reference = None
    if truth.continuous:
        reference = np.concatenate([mean_response(p.task).change for p in problems])[order]
    truth = take(truth, order)
    found = Prediction(*(None if part is None else part[order] for part in found))  # pyright: ignore[reportArgumentType]
    changes = predicted_changes(found, truth, screen.controls, 1000 * at.seed)
    scores = evaluate(found, truth, reference, changes=changes, thresholds=grid.thresholds)
    metrics = dict(scores.metrics)
    if all(between):
        calibrated = calibrate(scores.metrics, *between)
        metrics |= {f"{name}_calibrated": value for name, value in calibrated.items()}
    metrics |= _measure_six(prepared, found.change, at.seed)
    if found.informed is not None:
        metrics["informed"] = float(found.informed.mean())
    top = np.zeros(0, int)
    observed = np.zeros((0, len(truth.genes)), np.float32)
    if truth.delta is not None:
        top = np.argsort(-np.square(truth.delta).sum(1), kind="stable")[:SHOWN]
        observed = truth.delta[top]
    return Cell(
        at,
        metrics,
        float(seconds),
        (len(problems[0].task.train.perturbed), len(truth.perturbed), len(truth.genes)),
        scores.names,
        scores.n_de.astype(int),
        tuple(scores.each),
        np.stack([np.asarray(v, np.float32) for v in scores.each.values()]),
        tuple(truth.labels[int(i)] for i in top),
        observed,
        found.change[top],
    )


def _measure_six(prepared: _Prepared, change: np.ndarray, seed: int) -> dict[str, float]:
    """Measure changes, in the order of labels, as the Virtual Cell setting of 2026 does."""
    if not prepared.panels:
        return {}
    found = []
    for rows, panel, between in prepared.panels:
        own = measure(log_change(panel, change[rows], seed), panel.truth, panel.own, panel.genes)
        placed = place(own.metrics, between)
        each = {f"{name}_calibrated": placed[name] for name in SIX}
        found.append(own.metrics | each | {"virtual_cell": placed["virtual_cell"]})
    return {name: _over_lines(prepared, [each[name] for each in found]) for name in found[0]}


def _over_lines(prepared: _Prepared, values: Sequence[float]) -> float:
    """Average over cell lines, by their numbers of perturbations."""
    sizes = [len(rows) for rows, *_ in prepared.panels]
    return float(np.average(values, weights=sizes))


def _join(parts: Sequence[Responses]) -> Responses:
    """Put the test parts of folds below each other; their genes are the same."""
    return parts[0] if len(parts) == 1 else stack(list(parts), parts[0].name)


def _together(predictions: Sequence[Prediction]) -> Prediction:
    def join(name: str):
        found = [getattr(each, name) for each in predictions]
        return None if any(each is None for each in found) else np.concatenate(found)

    return Prediction(*(join(name) for name in Prediction._fields))  # pyright: ignore[reportArgumentType]
