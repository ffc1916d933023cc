"""Which samples are learned from, chosen by and tested on."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Shaped

from infosem_jax._shown import shown


@shown("how", "train", "valid", "test")
class Split(NamedTuple):
    """Places of the samples of each part; no sample is in two.

    Attributes
    ----------
    train, valid, test
        Places, in rising order.
    how
        How they were chosen, in words.
    groups
        Number of the group of every sample, of those that lie whole in one part; None without.
    """

    train: Int[np.ndarray, " train"]
    valid: Int[np.ndarray, " valid"]
    test: Int[np.ndarray, " test"]
    how: str = "as given"
    groups: Int[np.ndarray, " samples"] | None = None


def random_split(n: int, *, valid: float = 0.15, test: float = 0.2, seed: int = 0) -> Split:
    """Split samples at random.

    Parameters
    ----------
    n
        Number of samples.
    valid, test
        Shares of the whole; the rest is for training.
    seed
        Decides the draw.

    Raises
    ------
    ValueError
        If shares are out of range or a part would be empty.
    """
    return stratified_split(np.zeros(n, int), valid=valid, test=test, seed=seed)._replace(
        how=f"at random ({valid:.0%} validation, {test:.0%} test, seed {seed})"
    )


def stratified_split(
    labels: Shaped[np.ndarray, " samples"],
    *,
    valid: float = 0.15,
    test: float = 0.2,
    seed: int = 0,
    name: str = "labels",
) -> Split:
    """Split samples at random so that each label has its share in every part.

    The samples lie in the order of their labels, at random within each, and every part takes from
    this order at equal distances. So a label's number in the test part differs from its share by
    less than one.

    Parameters
    ----------
    labels
        Tissue or other label of each sample.
    valid, test, seed
        As in :func:`random_split`.
    name
        What the labels are called.

    Raises
    ------
    ValueError
        As :func:`random_split`.
    """
    _check_shares(valid, test)
    rng = np.random.default_rng(seed)
    _, code = np.unique(np.asarray(labels).astype(str), return_inverse=True)
    order = np.lexsort((rng.random(len(code)), rng.permutation(code.max(initial=0) + 1)[code]))
    chosen = _spread(len(order), test, rng)
    rest = order[~chosen]
    held = _spread(len(rest), valid / (1 - test), rng)
    return _checked(
        rest[~held], rest[held], order[chosen],
        f"at random within {name} ({valid:.0%} validation, {test:.0%} test, seed {seed})",
        test > 0,
    )  # fmt: skip


def grouped_split(
    groups: Shaped[np.ndarray, " samples"],
    *,
    valid: float = 0.15,
    test: float = 0.2,
    seed: int = 0,
    name: str = "groups",
) -> Split:
    """Split samples so that none of a group lies on two sides.

    Parameters
    ----------
    groups
        Donor, study or cell line of each sample.
    valid, test
        Shares of the groups, at least one each unless the share is 0.
    seed, name
        As in :func:`stratified_split`.

    Raises
    ------
    ValueError
        As :func:`random_split`, and on fewer than three groups.
    """
    _check_shares(valid, test)
    code, n = _codes(groups, name)
    order = np.random.default_rng(seed).permutation(n)
    n_test = max(round(n * test), int(test > 0))
    n_valid = max(round(n * valid), 1)
    part = np.zeros(n, int)
    part[order[:n_test]], part[order[n_test : n_test + n_valid]] = 2, 1
    how = f"by whole {name} ({n} of them, {valid:.0%} validation, {test:.0%} test, seed {seed})"
    return _by_part(part, code, how, test > 0)


def ordered_split(n: int, train: int = 2500, valid: int = 500) -> Split:
    """Split samples in the order of the file: training, validation, and all the rest for the test.

    The numbers are those of Kim et al. (2025), whose 3,176 samples leave 176 for the test.

    Parameters
    ----------
    n
        Number of samples.
    train, valid
        Numbers of training and validation samples.

    Raises
    ------
    ValueError
        If nothing is left for the test.
    """
    places = np.arange(n)
    return _checked(
        places[:train], places[train : train + valid], places[train + valid :],
        f"in the order of the file ({train} training, {valid} validation)", True,
    )  # fmt: skip


def group_folds(
    groups: Shaped[np.ndarray, " samples"],
    k: int,
    *,
    valid: float = 0.15,
    seed: int = 0,
    name: str = "groups",
) -> list[Split]:
    """Cut groups into k folds, each of which is the test part of one split.

    Parameters
    ----------
    groups
        Cell line, donor or study of each sample.
    k
        Number of folds; as many as groups leaves one group out at a time.
    valid
        Share of the remaining groups that is for validation, at least one.
    seed, name
        As in :func:`stratified_split`.

    Raises
    ------
    ValueError
        If k is below 2 or above the number of groups, or too few groups are left for training.
    """
    code, n = _codes(groups, name)
    if not 2 <= k <= n:
        raise ValueError(f"Expected from 2 to {n} folds of {n} {name}, found {k}.")
    rng = np.random.default_rng(seed)
    fold = rng.permutation(np.arange(n) % k)
    splits = []
    for i in range(k):
        rest = rng.permutation(np.flatnonzero(fold != i))
        held = rest[: max(1, round(valid * len(rest)))]
        part = np.where(fold == i, 2, np.isin(np.arange(n), held).astype(int))
        how = f"fold {i + 1} of {k} by whole {name} (seed {seed})"
        splits.append(_by_part(part, code, how, True))
    return splits


def check_split(split: Split, n: int, *, needs_test: bool = True) -> None:
    """Refuse a split that does not fit n samples.

    Parameters
    ----------
    split
        Places of the samples of each part.
    n
        Number of samples.
    needs_test
        Whether the test part must hold some.

    Raises
    ------
    ValueError
        If a part is empty, a place is out of range, or a sample is in two parts.
    """
    parts = {"training": split.train, "validation": split.valid, "test": split.test}
    for name, part in parts.items():
        if not len(part) and (name != "test" or needs_test):
            raise ValueError(
                f"Expected samples in the {name} part of the split, found none of {n}; give more "
                "samples or other shares."
            )
        if len(part) and not 0 <= part.min() <= part.max() < n:
            raise ValueError(
                f"Expected places from 0 to {n - 1} in the {name} part of the split, found "
                f"{part.min()} to {part.max()}; was it made for other data?"
            )
    together = np.concatenate([split.train, split.valid, split.test])
    if len(np.unique(together)) < len(together):
        raise ValueError("Expected every sample in one part of the split, found some in two.")


def _checked(train, valid, test, how: str, needs_test: bool) -> Split:
    split = Split(np.sort(train), np.sort(valid), np.sort(test), how)
    check_split(split, sum(map(len, split[:3])), needs_test=needs_test)
    return split


def _by_part(part: np.ndarray, code: np.ndarray, how: str, needs_test: bool) -> Split:
    """Put whole groups into training (0), validation (1) and test (2)."""
    train, valid, test = (np.flatnonzero(part[code] == i) for i in range(3))
    return _checked(train, valid, test, how, needs_test)._replace(groups=code)


def _spread(n: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """Mark a share of n places at equal distances from a random start."""
    steps = np.floor(np.arange(n + 1) * share + rng.random())
    return np.diff(steps) > 0


def _codes(groups: Sequence | np.ndarray, name: str) -> tuple[np.ndarray, int]:
    unique, code = np.unique(np.asarray(groups).astype(str), return_inverse=True)
    if len(unique) < 3:
        raise ValueError(
            f"Expected at least three {name} (training, validation, test), found {len(unique)}."
        )
    return code, len(unique)


def _check_shares(valid: float, test: float) -> None:
    if not (0 < valid < 1 and 0 <= test < 1 and valid + test < 1):
        raise ValueError(
            f"Expected shares for validation and test above 0 that leave some for training, found "
            f"{valid} and {test}; only the test may be 0, where it comes from other data."
        )
