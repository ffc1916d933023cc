"""Splits of perturbations into parts for training, early stopping and test."""

import json
from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from infosem_jax._typing import Path
from infosem_jax.data._files import reading
from infosem_jax.data._tables import read_table
from infosem_jax.perturbation.data import Responses


class Split(NamedTuple):
    """Rows of the responses for training, early stopping and test; ``how`` they were drawn."""

    train: Int[np.ndarray, " train"]
    valid: Int[np.ndarray, " valid"]
    test: Int[np.ndarray, " test"]
    how: str


KINDS = ("published", "unseen", "leave_one_out", "folds:K", "combination", "line:NAME", "FILE")


def draw_splits(
    responses: Responses, how: str, seed: int, published: Sequence[str] = ()
) -> list[Split]:
    """Draw a split, or the folds of one, whose tests together are each perturbation once.

    Parameters
    ----------
    responses
        What is split.
    how
        ``published``: the parts that came with the data. ``unseen``: a fifth of the perturbations
        for the test, and no combination with one of their genes to learn from.
        ``leave_one_out`` and ``folds:K``: each in turn. ``combination``: learn from all single
        perturbations and half of the combinations. ``line:NAME``: test on a cell line and learn
        from the others. Any other is a file of names, see `read_names`.
    seed
        Decides what is drawn; published parts do not depend on it but for the validation part.
    published
        Part of each row, with the words train, valid and test.

    Raises
    ------
    ValueError
        If the words cannot be followed, or a part would be empty.
    """
    n, rng = len(responses.perturbed), np.random.default_rng((seed, 7))
    kind, _, rest = how.partition(":")
    if kind == "published":
        return [_named(dict(zip(range(n), published, strict=True)), n, rng, how)]
    if kind == "unseen":
        test = _perturbations(responses, rng, 0.2)
        held = {gene for i in np.flatnonzero(test) for gene in responses.perturbed[i]}
        seen = np.array([not held.isdisjoint(genes) for genes in responses.perturbed])
        return [_parted(test, rng, how, out=seen & ~test)]
    if kind in ("leave_one_out", "folds"):
        count = n if kind == "leave_one_out" else int(rest) if rest.isdecimal() else 0
        groups = _groups(responses)
        count = min(count, groups.max() + 1)
        if count < 2:
            raise ValueError(f"Expected at least two folds, found {how!r}.")
        fold = rng.permutation(groups.max() + 1) % count
        return [_parted(fold[groups] == i, rng, how, valid=0.0) for i in range(count)]
    if kind == "combination":
        groups = _groups(responses)
        several = np.array([len(genes) > 1 for genes in responses.perturbed])
        combinations = rng.permutation(np.unique(groups[several]))
        if len(combinations) < 2 or several.all():
            raise ValueError(
                f"{responses.name}: expected single perturbations and at least two combinations, "
                f"found {int((~several).sum())} and {len(combinations)}."
            )
        test = np.isin(groups, combinations[: (len(combinations) + 1) // 2])
        return [_parted(test, rng, how, valid=0.0)]
    if kind == "line" and rest:
        test = np.array([line == rest for line in responses.line])
        if not test.any() or test.all():
            raise ValueError(
                f"{responses.name}: expected {rest!r} among several cell lines, found "
                f"{', '.join(sorted(set(responses.line)))}."
            )
        return [_parted(test, rng, how)]
    if FilePath(how).is_file():
        names = read_names(how)
        parts = {
            i: names.get(name, names.get("+".join(genes), "train"))
            for i, (name, genes) in enumerate(
                zip(responses.labels, responses.perturbed, strict=True)
            )
        }
        return [_named(parts, n, rng, FilePath(how).name)]
    raise ValueError(f"Expected a split, one of {', '.join(KINDS)}, found {how!r}.")


def usual_split(responses: Responses, published: Sequence[str] = (), *, folds: bool = True) -> str:
    """Return the split that suits a data set.

    ``published`` where there is one, ``combination`` where there are combinations,
    ``leave_one_out`` of at most 40 perturbations, and ``unseen`` else.

    Parameters
    ----------
    responses
        What is split.
    published
        Part of each row, see `draw_splits`.
    folds
        Whether the split may have several folds.
    """
    if {"train", "test"} <= set(published):
        return "published"
    if sum(len(genes) > 1 for genes in responses.perturbed) > 1:
        return "combination"
    return "leave_one_out" if folds and len(responses.perturbed) <= 40 else "unseen"


def read_names(path: Path) -> dict[str, str]:
    """Read a published list of perturbations: name -> train, valid or test.

    JSON with lists under ``val`` or ``valid`` and ``test`` (and perhaps ``train``; all others are
    learned from), or a table with columns ``pert`` and ``split``, or ``test_set`` with names
    between commas.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it names no test perturbation.
    """
    with reading(path, "list of perturbations"):
        if FilePath(path).suffix == ".json":
            found = json.loads(FilePath(path).read_text(encoding="utf-8"))
            lists = {_WORDS[key]: value for key, value in found.items() if key in _WORDS}
            names = {sorted_name(name): part for part, own in lists.items() for name in own}
        else:
            table = read_table(path, "list of perturbations")
            if {"pert", "split"} <= set(table):
                names = {
                    sorted_name(pert): str(_WORDS.get(part, part))
                    for pert, part in zip(table["pert"], table["split"], strict=True)
                }
            elif "test_set" in table:
                own = table["test_set"].iloc[0].split(",")
                names = {sorted_name(name): "test" for name in own}
            else:
                raise ValueError(
                    f"expected columns pert and split, or test_set, found {', '.join(table)}."
                )
        if "test" not in names.values():
            raise ValueError("it names no perturbation for the test.")
        return names


# The part of perturbations that a published split does not name.
UNUSED = "unused"
_WORDS = {"train": "train", "val": "valid", "valid": "valid", "test": "test"}


def sorted_name(name: str) -> str:
    """Return the name of a combination with its genes in order."""
    return "+".join(sorted(name.split("+")))


def _groups(responses: Responses) -> np.ndarray:
    """Give each perturbation a number, the same in all cell lines."""
    number: dict[tuple[str, ...], int] = {}
    return np.array([number.setdefault(genes, len(number)) for genes in responses.perturbed], int)


def _perturbations(responses: Responses, rng: np.random.Generator, share: float) -> np.ndarray:
    groups = _groups(responses)
    n = groups.max() + 1
    if n < 3:
        raise ValueError(f"{responses.name}: expected at least 3 perturbations, found {n}.")
    held = rng.permutation(n)[: max(1, round(share * n))]
    return np.isin(groups, held)


def _parted(
    test: np.ndarray,
    rng: np.random.Generator,
    how: str,
    valid: float = 0.1,
    out: np.ndarray | None = None,
) -> Split:
    rest = rng.permutation(np.flatnonzero(~test if out is None else ~(test | out)))
    if len(rest) < 2 or not test.any():
        raise ValueError(f"The split {how!r} leaves {len(rest)} perturbations to learn from.")
    cut = int(valid * len(rest))
    return Split(np.sort(rest[cut:]), np.sort(rest[:cut]), np.flatnonzero(test), how)


def _named(parts: dict[int, str], n: int, rng: np.random.Generator, how: str) -> Split:
    words = np.array([_WORDS.get(parts[i], parts[i]) for i in range(n)])
    odd = sorted(set(words.tolist()) - set(_WORDS.values()) - {UNUSED})
    if odd or "test" not in words or "train" not in words:
        raise ValueError(
            f"The split {how!r} needs perturbations for train and test, and may have valid, found "
            f"{', '.join(sorted(set(words.tolist()))) or 'none'}; name the parts so, or leave the "
            "word empty where a perturbation is in none."
        )
    if "valid" in words:
        train, valid, test = (np.flatnonzero(words == part) for part in ("train", "valid", "test"))
        return Split(train, valid, test, how)
    out = words == UNUSED
    return _parted(words == "test", rng, how, out=out)
