"""Priors side by side: every one on every data set, with its control and on halves of the cells.

All fits train in as few programs as possible (`fit_many`); each is measured when its group has
trained, and what was measured is written at once, so that a run that was killed goes on from there.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import numpy as np
import numpyro.distributions as dist
import pandas as pd

from infosem_jax import _typing
from infosem_jax.compare import exact_measures, store
from infosem_jax.compare.measures import (
    PRIOR_ONLY,
    SHUFFLED,
    Outcome,
    Settings,
    measure,
    measure_halves,
)
from infosem_jax.compare.summary import Comparison, summarise
from infosem_jax.data.dataset import MIN_CELLS, Dataset, subset, usual_normalisation
from infosem_jax.data.units import describe_units
from infosem_jax.engine.fingerprint import fingerprint
from infosem_jax.engine.interrupts import Interrupted
from infosem_jax.engine.saver import Saver
from infosem_jax.engine.types import Progress
from infosem_jax.grn import exact
from infosem_jax.grn.config import Config, converged
from infosem_jax.grn.evidence import MOST_GENES, held_out_cells
from infosem_jax.grn.fitting import fit_many
from infosem_jax.grn.prepare import Job, context, named
from infosem_jax.grn.priors.binding import Bindable, PriorLike, Priors, as_priors, coverage
from infosem_jax.grn.priors.relabelled import Relabelled
from infosem_jax.grn.splits import Universe, candidates

RECIPE = converged(epochs=40, start="prior", held_out=0.1)
# Share of the time of a job that its training takes; the rest is scoring.
TRAINING = 0.7
# Parts of the progress of an exact fit; and most states that are left out one after the other.
STEPS = 3
MOST_STATES = 20

Report = Callable[[float, str], None]


class Plan(NamedTuple):
    """What is to be compared, checked and with the controls that there are.

    Attributes
    ----------
    datasets
        Data sets by name.
    priors, controls
        Priors by name, and their controls by the same names where there is one.
    universes
        Known edges by the name of their data set.
    config, seeds
        Settings of the fits, and how many there are of each.
    halves
        Whether priors are fitted to halves of the cells too.
    how
        How fits are measured.
    reference
        Prior that the others are compared with.
    states
        Which state each cell is in, by the name of the data set; of the exact engine, which takes
        clusters of the cells where it is not told.
    """

    datasets: dict[str, Dataset]
    priors: dict[str, Priors]
    controls: dict[str, Priors]
    universes: dict[str, Universe]
    config: Config | exact.Config
    seeds: int
    halves: bool
    how: Settings
    reference: str
    states: dict[str, np.ndarray] = {}  # noqa: RUF012


def compare(
    datasets: Mapping[str, Dataset] | Sequence[Dataset] | Dataset,
    priors: Mapping[str, PriorLike],
    *,
    truth: pd.DataFrame | Mapping[str, pd.DataFrame] | None = None,
    config: exact.Config | Config = exact.Config(),
    seeds: int = 1,
    key: int = 0,
    controls: bool = True,
    halves: bool = True,
    cells: int = 32,
    samples: int = 64,
    changes: int = 0,
    states: Mapping[str, Sequence[Any]] = {},
    reference: str | None = None,
    on_progress: Report = lambda share, text: None,
) -> Comparison:
    """Fit data sets with several priors and compare what they predict, and what they find.

    Parameters
    ----------
    datasets
        Data sets, by name or with names of their own.
    priors
        Priors by name, as `infosem_jax.grn.fit_many` takes them; `infosem_jax.grn.priors.scan`
        gives one at several strengths.
    truth
        Known networks: one for all data sets, or by their names. Columns ``source, target``.
    config
        Settings of the exact engine; or of the svi engine, such as `infosem_jax.compare.RECIPE`,
        with cells held out.
    seeds, key
        Fits of each that differ by random numbers (of svi), and what seeds these. The held-out
        cells of a seed are the same for all priors.
    controls
        Fit each prior that knows genes by name also with its genes permuted.
    halves
        Fit each prior also to two halves of the cells.
    cells, samples
        Most held-out cells of each seed that are scored, and importance samples for each; of svi.
    changes
        How many of the edges that data moved most are listed for each data set and prior.
    states
        Which state each cell is in, such as its donor, by the name of the data set: the exact
        engine leaves out one after the other. Clusters of the cells where it is not told.
    reference
        Prior that the others are compared with; the first if not given.
    on_progress
        Called with the share that is done, and a text.

    Returns
    -------
    Tables of all measures, their means, and paired comparisons.

    Raises
    ------
    ValueError
        If data, priors, truth and settings do not fit together.
    """
    how = Settings(key, cells, samples, changes)
    plan = make_plan(
        datasets,
        priors,
        truth=truth,
        config=config,
        seeds=seeds,
        how=how,
        controls=controls,
        halves=halves,
        states=states,
        reference=reference,
    )
    return summarise(list(run(plan, on_progress=on_progress)), list(plan.priors), plan.reference)


def make_plan(
    datasets: Mapping[str, Dataset] | Sequence[Dataset] | Dataset,
    priors: Mapping[str, PriorLike],
    *,
    truth: pd.DataFrame | Mapping[str, pd.DataFrame] | None,
    config: Config | exact.Config,
    seeds: int,
    how: Settings,
    controls: bool,
    halves: bool,
    states: Mapping[str, Sequence[Any]] = {},
    reference: str | None = None,
) -> Plan:
    """Check all that can be checked before anything is fitted.

    Parameters
    ----------
    datasets, priors, truth, config, seeds, controls, halves, states, reference
        As in `compare`.
    how
        How fits are measured.

    Raises
    ------
    ValueError
        If they do not fit together.
    """
    data = {name: each._replace(name=name) for name, each in named(datasets, "data sets").items()}
    if not isinstance(priors, Mapping):
        raise TypeError(f"Expected priors by name, found {type(priors).__name__}.")
    chosen = {name: as_priors(prior) for name, prior in named(priors, "priors").items()}
    for name in chosen:
        if not name or name.endswith((SHUFFLED, PRIOR_ONLY)):
            raise ValueError(
                f"Expected names of priors that are not empty and do not end in {SHUFFLED!r} or "
                f"{PRIOR_ONLY!r}, found {name!r}."
            )
    if reference is not None and reference not in chosen:
        raise ValueError(
            f"Expected a reference among the priors {', '.join(chosen)}, found {reference!r}."
        )
    if seeds < 1 or how.cells < 1 or how.samples < 1 or how.changes < 0:
        raise ValueError(
            "Expected at least one seed, one cell and one sample, and no negative number of "
            f"changes, found {seeds}, {how.cells}, {how.samples} and {how.changes}."
        )
    for name, each in data.items():
        if isinstance(config, exact.Config):
            continue
        held_out_cells(each, config)
        if len(each.genes) > MOST_GENES:
            raise ValueError(
                f"{name}: expected at most {MOST_GENES} genes to score held-out cells of, found "
                f"{len(each.genes)}; select genes."
            )
    for name, each in data.items():
        if halves and len(each.cells) < 2 * MIN_CELLS:
            raise ValueError(
                f"{name}: expected at least {2 * MIN_CELLS} cells to fit halves of them, found "
                f"{len(each.cells)}; compare without halves."
            )
    permuted = {}
    if controls:
        among = tuple(sorted(set().union(*(each.regulators for each in data.values()))))
        for name, prior in chosen.items():
            own = _knows_genes(prior, data, config)
            if any(knows for _, knows in own):
                effect, edge = (Relabelled(p, how.key, among) if knows else p for p, knows in own)
                permuted[name] = Priors(effect, edge)
    config = _one_normalisation(data, config)
    universes = _universes(data, truth)
    folds = {name: _folds(data, name, labels) for name, labels in states.items()}
    reference = reference or next(iter(chosen))
    return Plan(data, chosen, permuted, universes, config, seeds, halves, how, reference, folds)


def run(
    plan: Plan,
    *,
    folder: _typing.Path | None = None,
    savers: tuple[Saver, Saver] | None = None,
    stop: Callable[[], bool] = lambda: False,
    on_progress: Report = lambda share, text: None,
) -> Iterator[Outcome]:
    """Fit and measure all that is in a plan: all cells first, halves of them then.

    Parameters
    ----------
    plan
        What is to be compared.
    folder
        Where outcomes are written as soon as they are known, and read from on resuming; None
        writes none.
    savers
        Save the training of all cells, and of halves.
    stop
        Asked after every outcome: whether to stop.
    on_progress
        As in `compare`.

    Yields
    ------
    Outcomes, those found in the folder first.

    Raises
    ------
    Interrupted
        If asked to stop.
    """
    jobs = [(data, prior, "whole") for data in plan.datasets for prior in plan.priors]
    jobs += [(data, prior, "control") for data in plan.datasets for prior in plan.controls]
    if plan.halves:
        jobs += [(data, prior, "halves") for data in plan.datasets for prior in plan.priors]
    done = set()
    for job in jobs:
        path = None if folder is None else store.place(folder, *job)
        if path is not None and path.exists():
            done.add(job)
            yield store.read(path)
    steps = STEPS if isinstance(plan.config, exact.Config) else plan.config.epochs
    share = _Share(len(jobs), len(done), steps, on_progress)
    parts = [(1, _wholes(plan, done, savers and savers[0], share))]
    if plan.halves:
        parts.append((2, _halves(plan, done, savers and savers[1], share)))
    for fits, outcomes in parts:
        share.begin(fits)
        for outcome in outcomes:
            if folder is not None:
                store.write(store.place(folder, outcome.data, outcome.prior, outcome.part), outcome)
            share.measure(f"{outcome.data}, {outcome.prior}, {outcome.part}")
            yield outcome
            if stop():
                raise Interrupted(str(folder))


def identity(plan: Plan) -> dict[str, Any]:
    """Return all that the outcomes of a plan depend on, as JSON holds it."""
    return {
        "data": {name: fingerprint(data) for name, data in plan.datasets.items()},
        "priors": {name: fingerprint(prior) for name, prior in plan.priors.items()},
        "controls": sorted(plan.controls),
        "truth": {name: fingerprint(universe) for name, universe in plan.universes.items()},
        "config": asdict(plan.config),
        "seeds": plan.seeds,
        "halves": plan.halves,
        "measured": plan.how._asdict(),
        "states": {name: fingerprint(folds) for name, folds in plan.states.items()},
    }


class _Share:
    """Turns the progress of training, and outcomes, into a share of all outcomes."""

    def __init__(self, total: int, done: int, epochs: int, report: Report):
        self.total, self.done, self.epochs, self.report = total, done, epochs, report
        self.fits, self.trained, self.measured = 1, 0.0, 0

    def begin(self, fits: int) -> None:
        """Begin a part of which each outcome takes so many fits."""
        self.fits, self.trained, self.measured = fits, 0.0, 0

    def train(self, progress: Progress) -> None:
        self.trained = progress.done / self.epochs / self.fits
        self._report(progress.text)

    def measure(self, text: str) -> None:
        self.done, self.measured = self.done + 1, self.measured + 1
        self._report(text)

    def _report(self, text: str) -> None:
        waiting = TRAINING * max(self.trained - self.measured, 0.0)
        self.report(min((self.done + waiting) / self.total, 1.0), text)


def _wholes(plan: Plan, done: set, saver: Saver | None, share: _Share) -> Iterator[Outcome]:
    names = {name: (name, "whole") for name in plan.priors}
    names |= {name + SHUFFLED: (name, "control") for name in plan.controls}
    priors = plan.priors | {name + SHUFFLED: prior for name, prior in plan.controls.items()}
    skip = {
        Job(data, name, "")
        for data in plan.datasets
        for name, (prior, part) in names.items()
        if (data, prior, part) in done
    }
    folds: tuple[Any, exact_measures.Folds] | None = None
    for job, fitted in _fits(plan, plan.datasets, priors, skip, saver, share):
        data, universe = plan.datasets[job.data], plan.universes.get(job.data)
        if isinstance(fitted, exact.Fit):
            of = job.data, fitted.rows
            if folds is None or folds[0] != of:
                states = plan.states.get(job.data)
                folds = of, exact_measures.folds_of(fitted, data, states, plan.how.key)
            known = priors[job.prior].effect, names[job.prior]
            yield exact_measures.measure_exact(fitted, data, *known, universe, plan.how, folds[1])
            continue
        yield measure(fitted, data, *names[job.prior], universe, plan.how)


def _halves(plan: Plan, done: set, saver: Saver | None, share: _Share) -> Iterator[Outcome]:
    parts, of = {}, {}
    for name, data in plan.datasets.items():
        for i, half in enumerate(split_cells(data, plan.how.key)):
            parts[half.name], of[half.name] = half, (name, i)
    skip = {
        Job(half, prior, "")
        for half, (data, _) in of.items()
        for prior in plan.priors
        if (data, prior, "halves") in done
    }
    waiting: dict[tuple[str, str], tuple[int, Any]] = {}
    for job, fitted in _fits(plan, parts, plan.priors, skip, saver, share):
        data, i = of[job.data]
        if (data, job.prior) not in waiting:
            kept = fitted if isinstance(fitted, exact.Fit) else fitted._replace(params={})
            waiting[data, job.prior] = i, kept
            continue
        pair = dict([(i, fitted), waiting.pop((data, job.prior))])
        compared = exact_measures.halves if isinstance(fitted, exact.Fit) else measure_halves
        yield compared(data, job.prior, pair[0], pair[1])


def _fits(
    plan: Plan,
    datasets: Mapping[str, Dataset],
    priors: Mapping[str, Priors],
    skip: set[Job],
    saver: Saver | None,
    share: _Share,
) -> Iterator[tuple[Job, Any]]:
    return fit_many(
        datasets,
        priors,
        configs=plan.config,
        seeds=plan.seeds,
        key=plan.how.key,
        on_chunk=share.train,
        saver=None if isinstance(plan.config, exact.Config) else saver,
        skip=skip,
    )


def _one_normalisation(
    datasets: Mapping[str, Dataset], config: Config | exact.Config
) -> Config | exact.Config:
    """Settle what expression is taken for from all cells, so that halves are read as the whole.

    Data sets of several kinds have no normalisation in common and stay as they are.
    """
    if config.normalisation != "auto":
        return config
    usual = {
        usual_normalisation(describe_units(data.x, name=name), name)
        for name, data in datasets.items()
        if data.normalisation == "none"
    }
    return replace(config, normalisation=usual.pop()) if len(usual) == 1 else config


def _folds(datasets: Mapping[str, Dataset], name: str, labels: Sequence[Any]) -> np.ndarray:
    """Return the states of the cells of a data set as numbers."""
    if name not in datasets:
        raise ValueError(
            f"Expected states of the data sets {', '.join(datasets)}, found those of {name!r}."
        )
    found, folds = np.unique(np.asarray(labels, str), return_inverse=True)
    if len(folds) != len(datasets[name].cells) or not 2 <= len(found) <= MOST_STATES:
        raise ValueError(
            f"{name}: expected a state for each of {len(datasets[name].cells)} cells, 2 to "
            f"{MOST_STATES} different ones, found {len(folds)} with {len(found)} different ones."
        )
    return folds


def split_cells(data: Dataset, key: int) -> list[Dataset]:
    """Return two data sets of half the cells each, drawn by name, at random."""
    by_name = np.argsort(np.asarray(data.cells))
    order = by_name[np.random.default_rng(key).permutation(len(by_name))]
    return [
        subset(data, cells=part)._replace(name=f"{data.name} (half {i + 1})")
        for i, part in enumerate(np.array_split(order, 2))
    ]


def _knows_genes(
    priors: Priors, datasets: Mapping[str, Dataset], config: Config | exact.Config
) -> list[tuple[Any, bool]]:
    """Return both priors, and whether they know genes by name; user-written functions may."""
    found = []
    for site, prior in zip(("effect", "logit"), priors[:2], strict=True):
        contexts = [context(data, config, site) for data in datasets.values()]
        user_written = callable(prior) and not isinstance(prior, Bindable | dist.Distribution)
        knows = prior is not None and (
            user_written or any(coverage(prior, each) for each in contexts)
        )
        found.append((prior, knows))
    return found


def _universes(
    datasets: Mapping[str, Dataset], truth: pd.DataFrame | Mapping[str, pd.DataFrame] | None
) -> dict[str, Universe]:
    if truth is None:
        return {}
    tables = dict.fromkeys(datasets, truth) if isinstance(truth, pd.DataFrame) else dict(truth)
    unknown = sorted(set(tables) - set(datasets))
    if unknown:
        raise ValueError(
            f"Expected known networks of the data sets {', '.join(datasets)}, found those of "
            f"{', '.join(unknown)}."
        )
    return {name: candidates(datasets[name], table) for name, table in tables.items()}
