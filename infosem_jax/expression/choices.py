"""Choices that users make in words, of splits and measured genes, and the problem they pose."""

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from infosem_jax.data.units import describe_units
from infosem_jax.expression.config import DEFAULT, Config
from infosem_jax.expression.methods import ORDERS
from infosem_jax.expression.profiles import Profiles, label_of, pair_samples
from infosem_jax.expression.selection import Selection, restrict, select
from infosem_jax.expression.splits import (
    Split,
    group_folds,
    grouped_split,
    ordered_split,
    random_split,
    stratified_split,
)
from infosem_jax.expression.task import Platforms, Problem, Task, make_task, platforms

SPLITS = "random, stratified:LABEL, grouped:LABEL, folds:K, folds:K:LABEL or ordered:TRAIN:VALID"
# Labels that samples are split by where nothing is asked for: whole groups, or shares of each.
GROUPS = ("donor", "study")
STRATA = ("tissue", "organ")
# Fewer test samples than this cannot be correlated.
LEAST_TEST = 3


def make_problem(
    data: Platforms, landmarks: Sequence[str] = (), *, config: Config = DEFAULT, key: int = 0
) -> Problem:
    """Split samples, and choose the genes that are measured, as settings say.

    What is to be inferred are all genes that are not measured; from one platform to another, or
    where all genes are candidates, it is all genes.

    Parameters
    ----------
    data
        Expression; or two of them, the platform of the inputs and that of the targets, of which the
        samples that both have are kept.
    landmarks
        Names of landmark genes, of which the data may hold some; for ``inputs="landmarks"``.
    config
        Settings.
    key
        Seeds the split, and a random choice of genes.

    Raises
    ------
    ValueError
        If genes or labels are missing, the samples cannot be split so, or values are counts or
        other linear ones.
    """
    one_platform = isinstance(data, Profiles)
    data = data if isinstance(data, Profiles) else pair_samples(*data)
    source, truth = platforms(data)
    for each in (source, truth):
        if (units := describe_units(each.x, name=each.name)).countable:
            raise ValueError(
                f"{each.name}: expected logarithms, found what looks like {units} ({units.why}), "
                "of which few genes outweigh all others; --log-counts (log_counts) takes log2(1 + "
                "counts per million)."
            )
    inputs, notes = config.inputs, list(dict.fromkeys((*source.notes, *truth.notes)))
    if isinstance(inputs, int):
        inputs = parse_inputs(f"{config.choose}:{inputs}")
    rule = config.split or usual_split(source)
    split = draw_split(source, rule, key)
    if len(split.test) < LEAST_TEST:
        raise ValueError(
            f"{source.name}: expected at least {LEAST_TEST} samples for the test, found "
            f"{len(split.test)} of {len(source.samples)} by the split {rule!r}; give more samples."
        )
    for name in dict.fromkeys([*config.labels, rule.rpartition(":")[2]]):
        unsaid = int((source.labels.get(name, np.zeros(0, str)).astype(str) == "").sum())
        if unsaid:
            notes.append(f"{unsaid} samples have no {name}, and count as one {name} of their own.")
    if isinstance(inputs, Inputs):
        task = make_task(data, source.genes, split, scaling=config.scaling).task
        measured = choose_inputs(task, inputs, key).inputs
        how = f"chosen among {len(source.genes)} genes ({config.choose})"
        notes.append(f"The {len(measured)} inputs were {how}.")
    elif inputs == "landmarks":
        measured = landmark_pool(source.genes, landmarks)
        notes.append(f"The data hold {len(measured)} of {len(landmarks)} landmark genes.")
    else:
        measured = source.genes if inputs == "all" else inputs
    problem = make_task(
        data,
        measured,
        split,
        targets="rest" if one_platform and inputs != "all" else "all",
        scaling=config.scaling,
        covariates=config.labels,
    )
    return problem._replace(notes=(problem.notes[0], *notes, *problem.notes[1:]))


class Inputs(NamedTuple):
    """Which genes of a pool are measured, and which labels of samples are known besides.

    Attributes
    ----------
    text
        As the user wrote it.
    how
        ``all`` or one of `methods.ORDERS`.
    amount
        A number of genes, or a share of the pool; None for all.
    labels
        Labels of samples that methods see one-hot.
    """

    text: str
    how: str
    amount: int | Fraction | None
    labels: tuple[str, ...]


def parse_inputs(text: str) -> Inputs:
    """Read ``all``, ``greedy:10``, ``random:1/3`` or the like, each with ``+LABEL`` if wanted.

    Raises
    ------
    ValueError
        On anything else.
    """
    choice, *labels = text.split("+")
    how, _, amount = choice.partition(":")
    wanted = f"Expected inputs such as all, greedy:10, random:1/3 or all+tissue, found {text!r}"
    if not all(labels):
        raise ValueError(f"{wanted}: name a label after each +.")
    if how == "all" and not amount:
        return Inputs(text, how, None, tuple(labels))
    if how not in ORDERS:
        raise ValueError(f"{wanted}; choose from all, {', '.join(ORDERS)}.")
    try:
        size = Fraction(amount)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{wanted}: give a number or a share after {how}.") from None
    if size <= 0 or (size.denominator > 1 and size > 1):
        raise ValueError(f"{wanted}: give a whole number from 1, or a share up to 1.")
    whole = size.denominator == 1 and "/" not in amount
    return Inputs(text, how, int(size) if whole else size, tuple(labels))


def choose_inputs(task: Task, inputs: Inputs, seed: int) -> Task:
    """Keep the chosen inputs of a task, by its training samples alone.

    Parameters
    ----------
    task
        The task with all genes that can be chosen as inputs.
    inputs
        The choice.
    seed
        Of choices that draw.

    Raises
    ------
    ValueError
        If more are wanted than there are.
    """
    n = len(task.inputs)
    if inputs.amount is None:
        return task
    size = inputs.amount
    if isinstance(size, Fraction):
        size = max(1, round(n * size))
    if size > n:
        raise ValueError(f"{inputs.text}: expected at most {n} genes, found {size}.")
    order = ORDERS[inputs.how](task, size, seed)
    return restrict(task, [task.inputs[i] for i in order])


def compare_with_random(task: Task, n: int, how: str = "greedy", key: int = 0) -> list[Selection]:
    """Choose n input genes to measure, and as many at random beside them.

    Parameters
    ----------
    task
        The task with all inputs that could be measured.
    n
        How many can be.
    how
        One of `methods.ORDERS`.
    key
        Seeds the random order, and orders that draw.
    """
    chosen = [select(task, n, how, key, selectors=ORDERS)]
    if how != "random":
        chosen.append(select(task, n, "random", key, sizes=chosen[0].sizes.tolist()))
    return chosen


def usual_split(data: Platforms) -> str:
    """Name the split for data with such labels: whole donors or studies, else by tissue."""
    profiles, _ = platforms(data)
    varied = [name for name, label in profiles.labels.items() if len(np.unique(label)) > 1]
    for kind, names in (("grouped", GROUPS), ("stratified", STRATA)):
        found = [name for name in names if name in varied]
        # Groups of one sample each are samples, and few groups make no split.
        if found and 5 <= len(np.unique(profiles.labels[found[0]])) < len(profiles.samples):
            return f"{kind}:{found[0]}"
    return "random"


def draw_split(profiles: Profiles, how: str, seed: int) -> Split:
    """Draw a split that is named in words.

    Parameters
    ----------
    profiles
        The samples and their labels.
    how
        One of :data:`SPLITS`. With folds, seeds 0 to K - 1 go through them, and further seeds
        through folds that are drawn anew.
    seed
        Decides the draw.

    Raises
    ------
    ValueError
        On other words, unknown labels, and data that cannot be split so.
    """
    kind, *words = how.split(":")
    n = len(profiles.samples)
    try:
        if kind == "random" and not words:
            return random_split(n, seed=seed)
        if kind in ("stratified", "grouped") and len(words) == 1:
            split = stratified_split if kind == "stratified" else grouped_split
            return split(label_of(profiles, words[0]), seed=seed, name=words[0])
        if kind == "folds" and words:
            k, name = int(words[0]), words[1] if len(words) > 1 else "samples"
            groups = np.arange(n) if len(words) == 1 else label_of(profiles, name)
            return group_folds(groups, k, seed=seed // max(k, 1), name=name)[seed % max(k, 1)]
        if kind == "ordered" and len(words) == 2:
            return ordered_split(n, *map(int, words))
    except ValueError as error:
        raise ValueError(f"split {how!r} of {profiles.name}: {error}") from error
    raise ValueError(f"Expected a split, {SPLITS}, found {how!r}.")


def landmark_pool(genes: Sequence[str], landmarks: Sequence[str]) -> tuple[str, ...]:
    """Return the landmarks that data hold.

    Raises
    ------
    ValueError
        If there are none.
    """
    if not landmarks:
        raise ValueError(
            "Expected names of landmark genes, found none: give them (read_landmarks reads them "
            "from a gene table), or name the genes that are measured (inputs)."
        )
    held = set(genes)
    found = tuple(gene for gene in landmarks if gene in held)
    if not found:
        raise ValueError(
            f"Expected some of {len(landmarks)} landmark genes in the data, found none: genes "
            f"look like {', '.join(genes[:3])}, landmarks like {', '.join(landmarks[:3])}."
        )
    return found
