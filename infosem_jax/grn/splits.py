"""Which pairs are scored, and which of their labels a method may learn from.

Labels are positive or missing: a pair in the known network is an edge, while a pair absent from it
was not found, which is no proof that there is no edge. Absent pairs are unlabelled; to count them
as negatives, in metrics and in training, is a convention of the field.
"""

from pathlib import Path as FilePath
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped

from infosem_jax._settings import hint
from infosem_jax._typing import Path
from infosem_jax.data._names import refuse_few
from infosem_jax.data.dataset import Dataset
from infosem_jax.data.io import read_network

Kind = Literal[
    "all", "seen", "unseen_target", "unseen_regulator", "unseen_as_regulator", "unseen_both"
]
KINDS: tuple[str, ...] = get_args(Kind)
Targets = Literal["network", "expressed"]

# Parts in order: of a pair and its reverse, the one in the earlier part is left out, and in
# ``unseen_as_regulator`` the one in the later part.
_TRAIN, _VALIDATION, _TEST = 1, 2, 3
_PARTS = {
    "train": _TRAIN,
    "training": _TRAIN,
    "val": _VALIDATION,
    "valid": _VALIDATION,
    "validation": _VALIDATION,
    "test": _TEST,
}
_DRAWS = 100


class Universe(NamedTuple):
    """The pairs that a benchmark ranks, and which of them are known edges.

    Attributes
    ----------
    regulators, genes
        Names of the rows and columns; every regulator is also one of the genes.
    candidate
        Which pairs are ranked, [regulators, genes].
    truth
        The known edges, [regulators, genes]; the other candidates are unlabelled.
    name
        What the data are called in reports.
    """

    regulators: tuple[str, ...]
    genes: tuple[str, ...]
    candidate: Bool[np.ndarray, "regulators genes"]
    truth: Bool[np.ndarray, "regulators genes"]
    name: str = "data"


class Split(NamedTuple):
    """Disjoint parts of the candidates; pairs in no part are left out.

    Attributes
    ----------
    train, validation, test
        Pairs whose labels a method may learn from, may choose settings by, and is judged by,
        [regulators, genes].
    name
        The kind of split, or the name of the file that it was read from.
    seed
        What it was drawn with; 0 where it was read.
    """

    train: Bool[np.ndarray, "regulators genes"]
    validation: Bool[np.ndarray, "regulators genes"]
    test: Bool[np.ndarray, "regulators genes"]
    name: str
    seed: int = 0


def candidates(data: Dataset, network: pd.DataFrame, *, targets: Targets = "network") -> Universe:
    """List the pairs of expressed genes that are ranked against a known network.

    Regulators are the sources of known edges between expressed genes; targets are the expressed
    genes that the network names, as source or target. Self pairs are no candidates. Rows and
    columns are sorted by name.

    Parameters
    ----------
    data
        Expression; only its genes matter.
    network
        Columns ``source, target``. Where there is a column ``label``, rows with label 0 are no
        edges, but their genes are candidates as targets.
    targets
        "expressed" makes every expressed gene a target, as published splits do; what the network
        does not name is then unlabelled.

    Raises
    ------
    ValueError
        If columns are missing, no known edge is between two expressed genes, or every candidate is
        a known edge.
    """
    if targets not in get_args(Targets):
        raise ValueError(f"Expected targets 'network' or 'expressed', found {targets!r}.")
    missing = [column for column in ("source", "target") if column not in network]
    if missing:
        raise ValueError(
            f"The known network lacks {', '.join(missing)}: expected columns source, target, found "
            f"{', '.join(map(str, network.columns))}."
        )
    source, target = (np.array(network[c].astype(str), object) for c in ("source", "target"))
    known = np.ones(len(network), bool)
    if "label" in network:
        known = network["label"].to_numpy(float) > 0
    if known.any():
        refuse_few(data.genes, source[known].tolist(), {*data.genes}.intersection(source[known]))
    known &= np.isin(source, data.genes) & np.isin(target, data.genes) & (source != target)
    if not known.any():
        raise ValueError(
            f"{data.name}: no known edge is between two expressed genes; check that the network "
            "and the expression are of the same species and name genes alike."
        )
    regulators = sorted(set(source[known]))
    named = set(source).union(target) if targets == "network" else set(data.genes)
    genes = sorted(named.intersection(data.genes))
    candidate = np.asarray(regulators)[:, None] != np.asarray(genes)
    truth = np.zeros_like(candidate)
    row, column = pd.Index(regulators), pd.Index(genes)
    truth[row.get_indexer(source[known]), column.get_indexer(target[known])] = True
    if truth.sum() == candidate.sum():
        raise ValueError(
            f"{data.name}: all {candidate.sum()} candidates are known edges, so no ranking is "
            "better than another; use targets='expressed' or another network."
        )
    return Universe(tuple(regulators), tuple(genes), candidate, truth, data.name)


def split(
    universe: Universe,
    kind: Kind,
    seed: int = 0,
    *,
    held_out: float = 0.3,
    validation: float = 0.1,
) -> Split:
    """Draw the pairs for training, validation and test.

    ``all``
        Every candidate is tested and no label may be used: for methods without supervision.
    ``seen``
        Unseen pairs of seen genes: both genes of a test pair also occur in training, in the same
        role.
    ``unseen_target``
        Targets are held out: no test target is a target in training, its regulators are seen.
    ``unseen_regulator``
        Regulators are held out: a test regulator occurs in no training pair, its targets are seen.
    ``unseen_as_regulator``
        Likewise, but a test regulator may be a target in training, as in the InfoSEM paper.
    ``unseen_both``
        Genes are held out in both roles by one partition, of regulators and of other genes: a pair
        is in training if both its genes are on that side, in test if both are on the other, and
        in no part if they are mixed.

    The validation pairs are as unseen as the test pairs. A pair and its reverse are never in two
    parts, since half of what networks without direction (STRING) say would be known before the
    test: in ``seen`` they stay together, elsewhere the one in the earlier part is left out (in
    ``unseen_as_regulator`` the one in the later part).

    Parts depend on the names and the seed, not on the order of the genes. Labels decide nothing
    but that draws in which a part holds no known edge, or nothing else, are drawn anew.

    Parameters
    ----------
    universe
        The candidates.
    kind
        One of the names above.
    seed
        Of the draw.
    held_out, validation
        Share of the pairs, targets, regulators or genes (as the kind has it) for test and for
        validation; ``validation=0`` leaves validation empty.

    Raises
    ------
    ValueError
        On an unknown kind, shares that leave nothing for training, too few regulators, targets or
        pairs to fill every part, and if no draw gave every part known edges and other pairs.
    """
    _check_settings(kind, held_out, validation)
    rows, columns = np.argsort(universe.regulators), np.argsort(universe.genes)
    ordered = Universe(
        tuple(np.asarray(universe.regulators)[rows].tolist()),
        tuple(np.asarray(universe.genes)[columns].tolist()),
        universe.candidate[np.ix_(rows, columns)],
        universe.truth[np.ix_(rows, columns)],
        universe.name,
    )
    needed = [_TEST] if kind == "all" else [_TRAIN, _TEST] + [_VALIDATION] * (validation > 0)
    part = np.zeros_like(ordered.candidate, int)
    for draw in range(_DRAWS):
        part = _draw(ordered, kind, held_out, validation, np.random.default_rng([seed, draw]))
        if all(0 < ordered.truth[part == k].sum() < (part == k).sum() for k in needed):
            break
    else:
        raise ValueError(_too_few_edges(ordered, kind, part))
    unordered = np.empty_like(part)
    unordered[np.ix_(rows, columns)] = part
    return _as_split(unordered, kind, seed)


def read_split(path: Path, universe: Universe) -> Split:
    """Read a published split: columns ``TF, Target, Label, split``.

    Parts are called ``train``, ``val`` or ``validation``, and ``test``; there may be no validation.
    Published splits may hold a pair and its reverse in two parts; they are read as they are.

    Parameters
    ----------
    path
        The table, plain or gzipped.
    universe
        The candidates; made with ``targets="expressed"`` for splits of all expressed genes.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the table cannot be read, lacks a column, holds a pair that is no candidate or names an
        unknown part, or if its labels are not those of the universe.
    """
    table = read_network(path)
    missing = [column for column in ("label", "split") if column not in table]
    if missing:
        raise ValueError(
            f"{path}: expected columns TF, Target, Label, split, found no {', '.join(missing)}."
        )
    codes = [_PARTS.get(name.lower(), 0) for name in table["split"]]
    if 0 in codes:
        raise ValueError(
            f"{path}: expected parts called train, val and test, found "
            f"{table['split'].iloc[codes.index(0)]!r}."
        )
    row = pd.Index(universe.regulators).get_indexer(pd.Index(table["source"]))
    column = pd.Index(universe.genes).get_indexer(pd.Index(table["target"]))
    outside = (row < 0) | (column < 0)
    outside[~outside] = ~universe.candidate[row[~outside], column[~outside]]
    if outside.any():
        first = table.loc[outside].iloc[0]
        raise ValueError(
            f"{path}: {outside.sum()} of {len(table)} pairs are no candidates of {universe.name} "
            f"(first: {first['source']} to {first['target']}); make the candidates with "
            "targets='expressed', from the network and genes that the split was made for."
        )
    differ = universe.truth[row, column] != (table["label"].to_numpy() > 0)
    if differ.any():
        first = table.loc[differ].iloc[0]
        raise ValueError(
            f"{path}: {differ.sum()} labels are not those of the known network (first: "
            f"{first['source']} to {first['target']}); give the network that the split is of."
        )
    part = np.zeros(universe.candidate.shape, int)
    part[row, column] = codes
    return _as_split(part, FilePath(path).name.split(".")[0], 0)


def training_labels(universe: Universe, split: Split) -> Float[np.ndarray, "regulators genes"]:
    """Return what a method may learn from: 1 and 0 in training, NaN elsewhere."""
    return np.where(split.train, universe.truth.astype(float), np.nan)


def _check_settings(kind: str, held_out: float, validation: float) -> None:
    if kind not in KINDS:
        raise ValueError(f"Unknown split {kind!r}; {hint(kind, KINDS)}")
    if not (held_out > 0 and validation >= 0 and held_out + validation < 1):
        raise ValueError(
            "Expected shares for test (above 0) and validation (0 or more) that leave some for "
            f"training, found held_out={held_out} and validation={validation}."
        )


def _draw(
    universe: Universe, kind: str, held_out: float, validation: float, rng: np.random.Generator
) -> Int[np.ndarray, "regulators genes"]:
    """Part of each candidate, 0 for none."""
    regulators, genes = universe.candidate.shape
    is_regulator = np.isin(universe.genes, universe.regulators)
    if kind == "all":
        part = np.full((regulators, genes), _TEST)
    elif kind == "seen":
        part = _unseen_pairs(universe, held_out, validation, rng)
    elif kind == "unseen_target":
        part = _sides(genes, "targets", held_out, validation, rng)[None, :]
    else:
        side = _sides(regulators, "regulators", held_out, validation, rng)[:, None]
        part = side
        if kind == "unseen_both":
            other = np.empty(genes, int)
            other[is_regulator] = side[:, 0]  # both are sorted by name
            rest = np.flatnonzero(~is_regulator)
            other[rest] = _partition(len(rest), held_out, validation, rng)
            part = np.where(side == other, side, 0)
    part = np.where(universe.candidate, part, 0)
    reverse = _reverse(part, is_regulator)
    part[(reverse > 0) & (reverse < part) if kind == "unseen_as_regulator" else part < reverse] = 0
    # What was left out for its reverse may have been all that training knew of the other gene.
    if kind in ("unseen_target", "unseen_regulator", "unseen_as_regulator"):
        known = (part == _TRAIN).any(1 if kind == "unseen_target" else 0, keepdims=True)
        part[np.broadcast_to(~known, part.shape)] = 0
    return part


def _sides(
    n: int, what: str, held_out: float, validation: float, rng: np.random.Generator
) -> Int[np.ndarray, " n"]:
    """Side of each of n things, refusing too few to fill every part."""
    side = _partition(n, held_out, validation, rng)
    parts = 2 + (validation > 0)
    if len(np.unique(side)) < parts:
        raise ValueError(
            f"Found {n} {what}, too few to hold out {held_out:.0%} for test and {validation:.0%} "
            f"for validation; at least {parts} are needed, or a kind that holds out something else."
        )
    return side


def _partition(
    n: int, held_out: float, validation: float, rng: np.random.Generator
) -> Int[np.ndarray, " n"]:
    order = rng.permutation(n)
    test = max(1, round(held_out * n))
    end = test + max(validation > 0, round(validation * n))
    side = np.full(n, _TRAIN)
    side[order[:test]], side[order[test:end]] = _TEST, _VALIDATION
    return side


def _unseen_pairs(
    universe: Universe, held_out: float, validation: float, rng: np.random.Generator
) -> Int[np.ndarray, "regulators genes"]:
    """Parts at random, after one pair of each regulator and of each target went to training."""
    candidate = universe.candidate
    is_regulator = np.isin(universe.genes, universe.regulators)
    key = rng.uniform(size=candidate.shape)
    # A pair and its reverse share their key and so their part.
    key = np.where(candidate, np.maximum(key, _reverse(key, is_regulator)), -1.0)
    kept = (key == key.max(1, keepdims=True)) | (key == key.max(0))
    kept |= _reverse(kept, is_regulator)
    free = np.sort(key[candidate & ~kept])
    n = int(candidate.sum())
    test, end = round(held_out * n), round((held_out + validation) * n)
    if not 0 < test <= end <= len(free):
        raise ValueError(
            f"Found {n} pairs, of which {n - len(free)} have to be in training for their genes to "
            f"be seen: too few to hold out {held_out + validation:.0%}. Hold out fewer."
        )
    last_test, last = free[test - 1], free[end - 1]
    part = np.full(candidate.shape, _TRAIN)
    part[~kept & (key <= last)] = _VALIDATION
    part[~kept & (key <= last_test)] = _TEST
    return part


def _reverse(
    values: Shaped[np.ndarray, "regulators genes"], is_regulator: Bool[np.ndarray, " genes"]
) -> Shaped[np.ndarray, "regulators genes"]:
    """Value of each pair's reverse, 0 where the target is no regulator; names are sorted."""
    reverse = np.zeros_like(values)
    reverse[:, is_regulator] = values[:, is_regulator].T
    return reverse


def _as_split(part: Int[np.ndarray, "regulators genes"], name: str, seed: int) -> Split:
    return Split(part == _TRAIN, part == _VALIDATION, part == _TEST, name, seed)


def _too_few_edges(universe: Universe, kind: str, part: np.ndarray) -> str:
    counts = ", ".join(
        f"{universe.truth[part == code].sum()} of {(part == code).sum()} in {name}"
        for name, code in (("train", _TRAIN), ("validation", _VALIDATION), ("test", _TEST))
    )
    return (
        f"{universe.name}: none of {_DRAWS} draws of {kind!r} gave every part known edges and "
        f"other pairs (last draw, known edges: {counts}). The network holds "
        f"{universe.truth.sum()} edges of {len(universe.regulators)} regulators; change the shares "
        "held out, set validation=0, or use a larger network."
    )
