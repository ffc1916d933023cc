"""What methods are tested on: the networks of a data set, split in several ways."""

from collections.abc import Iterable, Sequence
from itertools import product
from typing import NamedTuple

import pandas as pd

from infosem_jax._settings import choose
from infosem_jax.benchmark.grn.references import Loaded
from infosem_jax.benchmark.grn.transfer import TRANSFER, Given, transfer
from infosem_jax.grn.splits import KINDS, Split, Universe, candidates, read_split, split

PUBLISHED = "published:"


class Test(NamedTuple):
    """Pairs that methods are tested on: a network, split in one way.

    ``given`` is what methods learn from where that is of other data sets.
    """

    network: str
    name: str
    seed: int
    universe: Universe
    split: Split
    given: Given | None = None


def check_splits(splits: Sequence[str], loaded: Iterable[Loaded]) -> None:
    """Refuse splits that no data set can have.

    Parameters
    ----------
    splits
        Kinds of split, ``transfer``, or ``published:<name>`` for those that come with data.
    loaded
        Data sets.

    Raises
    ------
    ValueError
        If there is none, one of another kind, or a published one that no data set comes with.
    """
    published = {name for each in loaded for name in each.reference.published}
    named = [PUBLISHED + name for name in sorted(published)]
    choose("split", splits, dict.fromkeys([*KINDS, TRANSFER, *named]))


def draw_tests(loaded: Loaded, splits: Sequence[str], seeds: int) -> tuple[list[Test], list[str]]:
    """Draw or read the splits of a data set.

    Parameters
    ----------
    loaded
        The data set.
    splits
        See `check_splits`.
    seeds
        How many draws of each kind.

    Returns
    -------
    tuple
        The tests, and sentences about those that cannot be, one for all seeds.
    """
    tests: list[Test] = []
    skipped: dict[tuple[str, str], tuple[str, list[int]]] = {}
    for network, table in loaded.networks.items():
        for name, seed in product(splits, range(seeds)):
            try:
                if name == TRANSFER:
                    tests.append(Test(network, name, seed, *transfer(loaded, network, seed)))
                    continue
                if name.startswith(PUBLISHED):
                    drawn = _published(loaded, table, name)
                else:
                    universe = candidates(loaded.data, table)
                    drawn = universe, split(universe, name, seed)  # pyright: ignore[reportArgumentType]
                tests.append(Test(network, name, seed, *drawn))
            except ValueError as error:
                skipped.setdefault((network, name), (str(error), []))[1].append(seed)
    place = f"{loaded.reference.dataset} {loaded.reference.genes}"
    return tests, [
        f"{place}, {network}, {name}: skipped for seed {', '.join(map(str, seeds))} ({reason})"
        for (network, name), (reason, seeds) in skipped.items()
    ]


def _published(loaded: Loaded, table: pd.DataFrame, name: str) -> tuple[Universe, Split]:
    stem = name.removeprefix(PUBLISHED)
    path = loaded.reference.published.get(stem)
    if path is None:
        known = ", ".join(loaded.reference.published) or "none"
        raise ValueError(f"there is no {stem}.csv; published splits there: {known}")
    universe = candidates(loaded.data, table, targets="expressed")
    drawn = read_split(path, universe)._replace(name=name)
    if not 0 < universe.truth[drawn.test].sum() < drawn.test.sum():
        raise ValueError(f"{path}: the test holds no known edge, or nothing else")
    return universe, drawn
