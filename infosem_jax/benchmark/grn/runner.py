"""The grid of the benchmark: data sets x networks x splits x seeds x methods.

A method that learns from expression is solved once per data set and seed, on the regulators of all
networks, whatever the networks and splits that it is then tested on; once per data set if it is not
random. A method that learns from labels is given every network, split and seed of a data set at
once. No method sees the truth, nor the labels of tested pairs.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path as FilePath
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from infosem_jax._settings import choose
from infosem_jax._typing import Path
from infosem_jax.benchmark.grn import leaderboard, leaks
from infosem_jax.benchmark.grn.cells import STORE
from infosem_jax.benchmark.grn.draws import Test, check_splits, draw_tests
from infosem_jax.benchmark.grn.method import Method
from infosem_jax.benchmark.grn.methods import methods as all_methods
from infosem_jax.benchmark.grn.problems import cut, labelled, part_of, read_outs, unlabelled
from infosem_jax.benchmark.grn.references import (
    Loaded,
    Reference,
    add_embeddings,
    find_embeddings,
    find_references,
    load,
)
from infosem_jax.benchmark.grn.transfer import TRANSFER, add_others, usable
from infosem_jax.benchmark.runner import Job, OnChunk, Plan, Result, check_grid
from infosem_jax.engine.compiled import release_programs
from infosem_jax.engine.fingerprint import fingerprint
from infosem_jax.engine.types import Progress
from infosem_jax.grn.accuracy import At, Cell, measure
from infosem_jax.grn.baselines.problem import Problem
from infosem_jax.grn.paired import HEADLINE, split_order
from infosem_jax.grn.splits import KINDS
from infosem_jax.outputs.page import Table

QUICK = {"regulators": 24, "genes": 120, "cells": 150}
QUICK_DATASETS = 2
# Those that are drawn unless others are asked for.
USUAL = tuple(kind for kind in KINDS if kind != "unseen_as_regulator")

LeakCheck = Literal["registered", "all", "none"]


class Grid(NamedTuple):
    """What is to be computed.

    Attributes
    ----------
    loaded
        Data sets with their networks and embeddings.
    methods
        Methods by name.
    splits
        Kinds of split, ``transfer``, or ``published:<name>`` for those that come with data.
    seeds
        How many; each decides a split, and all that is random in a method.
    quick
        Whether this is a run on reduced data, which no other run goes on with.
    check_leaks
        Refuse methods that know more than they are given, before anything is computed: those that
        users have registered, ``all`` (a few minutes more), or ``none``.
    notes
        What readers of the results are to be told.
    """

    loaded: list[Loaded]
    methods: dict[str, Method]
    splits: tuple[str, ...] = USUAL
    seeds: int = 3
    quick: bool = False
    check_leaks: LeakCheck = "registered"
    notes: tuple[str, ...] = ()

    def plan(self) -> Plan:
        """Return what is to be computed, see ``benchmark.runner``."""
        check_grid(self.seeds, data_set=self.loaded, method=self.methods)
        check_splits(self.splits, self.loaded)
        return Plan(
            store=STORE,
            settings={"quick": self.quick},
            data={
                f"{each.reference.dataset}/{each.reference.genes}": {
                    # Which regulators there are depends on the networks that are asked for.
                    "expression": fingerprint(each.data._replace(regulators=())),
                    "embeddings": fingerprint(dict(sorted(each.embeddings.items()))),
                    "others": fingerprint({n: list(map(_hash, o)) for n, o in each.others.items()}),
                    **{
                        f"network {name}": fingerprint({c: table[c].tolist() for c in table})
                        for name, table in each.networks.items()
                    },
                }
                for each in self.loaded
            },
            methods=self.methods,
            known=all_methods(),
            jobs=_jobs(self),
            total=sum(_size(self, each) for each in self.loaded),
            notes=[*self.notes, *_method_notes(self)],
            make_page=leaderboard.make_page,
            check=partial(_refuse_leaks, self),
        )


def make_grid(
    data: Path,
    *,
    datasets: Sequence[str] = (),
    methods: Sequence[str] = (),
    splits: Sequence[str] = (),
    seeds: int = 3,
    quick: bool = False,
    genes: Sequence[str] = (),
    networks: Sequence[str] = (),
    embeddings: Sequence[tuple[str, Path]] = (),
    check_leaks: LeakCheck = "registered",
    **reading: str | None,
) -> Grid:
    """Read the data sets of a folder, and choose methods by name.

    Parameters
    ----------
    data, datasets, genes, networks
        The folder, and which of its data sets, gene sets and networks; see ``find_references``.
    methods
        Names of methods; all where empty.
    splits
        See :class:`Grid`; where empty, all kinds but ``unseen_as_regulator``, and ``transfer``
        where networks of other data sets are there.
    seeds
        How many.
    quick
        Take the first two data sets in a reduced form, few epochs and one seed.
    embeddings
        Names and files of vectors or texts of genes; those of the folder where empty, see
        ``find_embeddings``.
    check_leaks
        See :class:`Grid`.
    **reading
        See ``references.load``.

    Raises
    ------
    ValueError
        If there is no such data set, gene set, network or method, or one cannot be used.
    """
    chosen = choose("method", methods, all_methods(quick=quick))
    references, left_out = find_references(data, datasets=datasets, genes=genes, networks=networks)
    notes = [f"{name} was left out: {reason}." for name, reason in left_out.items()]
    loaded, unread = _load(references, reading, asked=bool(datasets))
    notes += unread
    if quick:
        loaded, reduced = reduce(loaded)
        notes += reduced
    files = [(name, FilePath(path)) for name, path in embeddings]
    loaded, covered = add_embeddings(loaded, files or find_embeddings(data), asked=bool(embeddings))
    notes += covered
    beside = any(method.elsewhere == "beside" for method in chosen.values())
    if not splits or TRANSFER in splits or beside:
        loaded = add_others(loaded, data)
    for name, method in chosen.items():
        lacking = {each for own in loaded for each in _missing_embeddings(method, own)}
        if methods and lacking:
            raise ValueError(
                f"--methods: {name} needs the embedding {', '.join(sorted(lacking))}, which is not "
                "there for every data set; give it with --embedding, or leave the method out."
            )
    usual = (*USUAL, *([TRANSFER] if any(each.others for each in loaded) else []))
    return Grid(
        loaded, chosen, tuple(splits) or usual, 1 if quick else seeds, quick, check_leaks,
        tuple(notes),
    )  # fmt: skip


def headline_tables(cells: Sequence[Cell]) -> list[Table]:
    """Return the mean AUPRC ratios of each method and split, per regulator and pooled."""
    splits = sorted({cell.at.split for cell in cells}, key=split_order)
    rows = []
    for method in sorted({cell.at.method for cell in cells}):
        texts = []
        for split in splits:
            own = [c.metrics for c in cells if (c.at.method, c.at.split) == (method, split)]
            means = []
            for metric in (HEADLINE, "auprc_ratio"):
                known = [m[metric] for m in own if np.isfinite(m[metric])]
                means.append(f"{np.mean(known):.2f}" if known else "-")
            texts.append(" / ".join(means))
        rows.append((method, texts))
    title = "AUPRC ratio per regulator / pooled, mean over the grid"
    return [Table("method", [split.replace("_", " ") for split in splits], rows, title)]


def reduce(loaded: Sequence[Loaded]) -> tuple[list[Loaded], list[str]]:
    """Reduce data to a size for a quick look: first data sets, first network, few genes and cells.

    Returns
    -------
    tuple
        The reduced data, and sentences that say what was done.
    """
    reduced = []
    for each in loaded[:QUICK_DATASETS]:
        name, network = next(iter(each.networks.items()))
        data = cut(each.data, network, **QUICK)
        reduced.append(each._replace(data=data, networks={name: network}))
    names = ", ".join(each.reference.dataset for each in reduced)
    sizes = ", ".join(f"{n} {what}" for what, n in QUICK.items())
    return reduced, [
        f"A quick look, no benchmark: {names} only, cut to at most {sizes} (those with most edges "
        "in the first network; cells at equal distances), one network, one seed."
    ]


def _load(
    references: Sequence[Reference], reading: Mapping[str, str | None], *, asked: bool
) -> tuple[list[Loaded], list[str]]:
    """Read data sets; one that was not asked for by name may be unfit, and is then told."""
    loaded, unfit = [], []
    for reference in references:
        try:
            loaded.append(load(reference, reading))
        except ValueError as error:
            if asked:
                raise
            unfit.append(f"{reference.dataset} was left out: {error}")
    if not loaded:
        raise ValueError(f"No data set can be used: {' '.join(unfit)}")
    return loaded, unfit


def _jobs(grid: Grid) -> Iterator[Job]:
    """Yield a job for each data set and method; splits are drawn as the run comes to them."""
    for loaded in grid.loaded:
        dataset, genes = loaded.reference[:2]
        tests, notes = draw_tests(loaded, grid.splits, grid.seeds)
        for name, method in grid.methods.items():
            if missing := _missing_embeddings(method, loaded):
                notes.append(
                    f"{loaded.reference.dataset}: {name} was left out, as there is no embedding "
                    f"{', '.join(missing)}."
                )
                continue
            asked = [
                t
                for t in tests
                if _is_for(method, t) and (not method.elsewhere or loaded.others.get(t.network))
            ]
            places = {At(dataset, t.network, genes, name, t.name, t.seed): t for t in asked}
            yield Job(list(places), partial(_solve, loaded, method, places), notes)
            notes = []
        yield Job([], lambda places: iter(()), notes)


def _solve(
    loaded: Loaded, method: Method, tests: Mapping[At, Test], places: Sequence[At]
) -> Iterator[tuple[At, Result]]:
    """Yield the cells of the places that each problem gives, as they come."""
    release_programs()
    if method.uses == "labels":
        groups = [[at] for at in places]
        problems = [_problem(loaded, tests[at], method) for at in places]
    else:
        seeds = sorted({at.seed for at in places}) if method.random else [0]
        groups = [[at for at in places if at.seed == s or not method.random] for s in seeds]
        # All networks, also those without a missing cell: scores of others depend on them.
        universes = [test.universe for test in tests.values()]
        problems = [unlabelled(loaded.data, universes, s, loaded.embeddings) for s in seeds]
    solved, seconds = [], []
    for i, result, took in _results(method, problems):
        seconds.append(took)
        for at in groups[i]:
            if isinstance(result, Exception):
                yield at, result
                continue
            cells = _cells(at, problems[i], result, tests[at], took / len(groups[i]))
            solved.append((at, cells))
            yield at, cells
    total = sum(seconds)
    # What trained side by side shares its time, though the first result had to wait for it all.
    if solved and total > 1 and max(seconds) > 2 * total / len(seconds):
        share = total / sum(len(cells) for _, cells in solved)
        for at, cells in solved:
            yield at, [cell._replace(seconds=share) for cell in cells]


def _hash(table: pd.DataFrame) -> int:
    return int(pd.util.hash_pandas_object(table, index=False).sum())  # pyright: ignore


def _problem(loaded: Loaded, test: Test, method: Method) -> Problem:
    if test.given is None:
        found = labelled(loaded.data, test.universe, test.split, test.seed, loaded.embeddings)
        others = loaded.others.get(test.network, ()) if method.elsewhere else ()
        return found._replace(others=tuple(usable(others, test.network, test.universe.regulators)))
    regulators, genes, labels, validation, others = test.given
    return Problem(
        loaded.data, regulators, genes, labels, validation, test.seed, loaded.embeddings, others
    )


def _cells(
    at: At, problem: Problem, scores: Mapping[str, np.ndarray], test: Test, seconds: float
) -> list[Cell]:
    """Measure the read-outs of one place; the main one comes last, as it says that all are."""
    cells = []
    for name in sorted(scores, reverse=True):
        place = at._replace(method=f"{at.method}.{name}") if name else at
        part = part_of(scores[name], problem, test.universe)
        cells.append(measure(place, part, test.universe, test.split.test, seconds))
    return cells


def _results(
    method: Method, problems: list[Problem]
) -> Iterator[tuple[int, dict[str, np.ndarray] | Exception, float]]:
    """Yield a result or an error for each problem, with the seconds since the last one.

    After an error the method is asked for the remaining problems anew, until it fails twice in the
    same way without any result.
    """
    i, last = 0, None
    while i < len(problems):
        began, first = time.monotonic(), i
        try:
            for result in method.solve(problems[i:]):
                now = time.monotonic()
                try:
                    yield i, read_outs(result, problems[i]), now - began
                except ValueError as error:
                    yield i, error, now - began
                i, began = i + 1, time.monotonic()
                if i == len(problems):
                    return
            raise ValueError(
                f"it returned {i - first} results for {len(problems) - first} problems"
            )
        except Exception as error:  # whatever code of others may raise
            alike = i == first and last == (type(error), str(error))
            last = (type(error), str(error))
            for j in range(i, len(problems) if alike else i + 1):
                yield j, error, time.monotonic() - began if j == i else 0.0
            i = len(problems) if alike else i + 1


def _is_for(method: Method, test: Test) -> bool:
    """Tell whether there is something that the method may learn from."""
    if method.elsewhere == "alone":
        return test.given is not None
    if test.given is not None:
        return not method.elsewhere
    return method.uses == "expression" or bool(test.split.train.any())


def _size(grid: Grid, loaded: Loaded) -> int:
    """Count the cells of a data set, if all of its splits can be drawn."""
    own = [name for name in grid.splits if name not in ("all", TRANSFER)]
    transfer = int(TRANSFER in grid.splits)
    counts = {"labels": len(own) + transfer, "expression": len(grid.splits)}
    elsewhere = {"alone": transfer, "beside": len(own)}
    known = sum(bool(loaded.others.get(name)) for name in loaded.networks)
    return grid.seeds * sum(
        elsewhere[method.elsewhere] * known
        if method.elsewhere
        else counts[method.uses] * len(loaded.networks)
        for method in grid.methods.values()
        if not _missing_embeddings(method, loaded)
    )


def _missing_embeddings(method: Method, loaded: Loaded) -> list[str]:
    return [name for name in method.needs if name not in loaded.embeddings]


def _method_notes(grid: Grid) -> list[str]:
    notes = []
    if grid.check_leaks == "none":
        notes.append("Methods were not checked for knowing more than they are given.")
    declared = [name for name, method in grid.methods.items() if method.knows_names]
    if declared:
        notes.append(
            f"Gene names tell {', '.join(declared)} something that other methods are not given."
        )
    return notes


def _refuse_leaks(grid: Grid, on_chunk: OnChunk) -> None:
    found = []
    for name, method in grid.methods.items():
        if grid.check_leaks == "none" or (method.tested and grid.check_leaks != "all"):
            continue
        loaded = next((x for x in grid.loaded if not _missing_embeddings(method, x)), None)
        if loaded is None:
            continue
        on_chunk(Progress(0, 1, "cells", f"checking {name} for leaks"))
        leak = leaks.check(method, loaded)
        if leak is not None:
            found.append(f"{name}: {leak.text}")
    if found:
        raise ValueError(
            f"Refused methods (leave them out with --methods, or pass --leak-check none): "
            f"{'; '.join(found)}."
        )
