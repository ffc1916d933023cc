"""Bulk expression with names, and all work on names: repeats, kinds of identifiers, alignment."""

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float32, Num, Shaped

from infosem_jax._shown import shown
from infosem_jax.data._names import some
from infosem_jax.data.units import check_missing

_log = logging.getLogger("infosem_jax")


@shown("x", "genes", "samples", "labels", "unit", "notes")
class Profiles(NamedTuple):
    """Bulk expression with names.

    Attributes
    ----------
    x
        Expression, [samples, genes].
    genes, samples
        Names of the columns and rows of ``x``; no name occurs twice.
    labels
        What is known of each sample, by name: tissue, donor, study; [samples] each.
    name
        What the data are called in reports.
    unit
        What ``x`` is in: ``log2 TPM``, ``counts``, ``level 3``.
    notes
        What was left out or changed on the way here, in sentences.
    base
        Of logarithms: ``e``, ``2`` or ``10`` where the file or its user says so; else None.
    """

    x: Float32[np.ndarray, "samples genes"]
    genes: tuple[str, ...]
    samples: tuple[str, ...]
    labels: dict[str, np.ndarray]
    name: str = "profiles"
    unit: str = "unknown"
    notes: tuple[str, ...] = ()
    base: str | None = None


class Aligned(NamedTuple):
    """Expression in a wanted order of genes, with the names of those that had to be filled in."""

    x: Float32[np.ndarray, "samples genes"]
    imputed: tuple[str, ...]


def make_profiles(
    x: Num[np.ndarray, "samples genes"],
    genes: Sequence[str],
    samples: Sequence[str] | None = None,
    labels: Mapping[str, np.ndarray] | None = None,
    *,
    name: str = "profiles",
    unit: str = "unknown",
) -> Profiles:
    """Check expression and its names, and put them together.

    Parameters
    ----------
    x
        Expression, [samples, genes].
    genes, samples
        Names; samples are numbered where None.
    labels
        What is known of each sample, [samples] each.
    name, unit
        As in :class:`Profiles`.

    Raises
    ------
    ValueError
        On names or labels that do not fit the matrix, blank or repeated names, values that are not
        finite, and an empty matrix.
    """
    samples = [f"sample{i}" for i in range(len(x))] if samples is None else samples
    genes, samples = tuple(map(str, genes)), tuple(map(str, samples))
    if x.shape != (len(samples), len(genes)) or not x.size:
        raise ValueError(
            f"{name}: expected one row per sample and one column per gene, found a matrix of shape "
            f"{x.shape} with {len(samples)} samples and {len(genes)} genes."
        )
    for kind, names in (("gene", genes), ("sample", samples)):
        _check_unique(name, kind, names)
    values = np.ascontiguousarray(x, np.float32)
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise ValueError(
            f"{name}: expected finite values, found {x[row, column]} in sample {samples[row]}, "
            f"gene {genes[column]}, and {(~np.isfinite(values)).sum()} such values in all; impute "
            "them or leave their genes out."
        )
    check_missing(values, f"values of {name}")
    labels = {key: np.asarray(value) for key, value in (labels or {}).items()}
    for key, value in labels.items():
        if value.shape != (len(samples),):
            raise ValueError(
                f"{name}: expected one value of {key!r} for each of {len(samples)} samples, found "
                f"shape {value.shape}."
            )
    return Profiles(values, genes, samples, labels, name, unit)


def take_samples(profiles: Profiles, index: Sequence[int] | np.ndarray) -> Profiles:
    """Keep some samples, in the order given."""
    index = np.asarray(index, int)
    return profiles._replace(
        x=profiles.x[index],
        samples=tuple(profiles.samples[i] for i in index),
        labels={key: value[index] for key, value in profiles.labels.items()},
    )


def pair_samples(inputs: Profiles, targets: Profiles) -> tuple[Profiles, Profiles]:
    """Keep the samples that two platforms share, in the order of the first.

    Raises
    ------
    ValueError
        If they share fewer than two.
    """
    place = {sample: i for i, sample in enumerate(targets.samples)}
    shared = [(i, place[s]) for i, s in enumerate(inputs.samples) if s in place]
    if len(shared) < 2:
        raise ValueError(
            f"Expected samples with the same names in {inputs.name} and {targets.name}, found "
            f"{len(shared)}: they look like {some(inputs.samples)} and {some(targets.samples)}."
        )
    _log.info(
        "%s and %s share %d of %d and %d samples", inputs.name, targets.name,
        len(shared), len(inputs.samples), len(targets.samples),
    )  # fmt: skip
    own, other = zip(*shared, strict=True)
    return take_samples(inputs, own), take_samples(targets, other)


def present(genes: Sequence[str], *profiles: Profiles) -> tuple[str, ...]:
    """Return the genes that all profiles hold, in the order given."""
    held = set.intersection(*(set(each.genes) for each in profiles))
    return tuple(gene for gene in genes if gene in held)


def label_of(profiles: Profiles, name: str) -> Shaped[np.ndarray, " samples"]:
    """Return a label of the samples.

    Raises
    ------
    ValueError
        If there is none of this name.
    """
    if name not in profiles.labels:
        raise ValueError(
            f"{profiles.name}: expected a label {name!r} of its samples, found "
            f"{', '.join(profiles.labels) or 'none'}."
        )
    return profiles.labels[name]


def align_genes(
    profiles: Profiles,
    genes: Sequence[str],
    *,
    missing: Literal["refuse", "impute"] = "refuse",
    fill: Float32[np.ndarray, " genes"] | None = None,
) -> Aligned:
    """Bring expression into an order of genes.

    Parameters
    ----------
    profiles
        The expression.
    genes
        The wanted genes.
    missing
        What becomes of genes that are not there: refused, or imputed by ``fill``.
    fill
        Value of each wanted gene where it is missing, the mean of the training samples, [genes].

    Raises
    ------
    ValueError
        If genes are missing and none are to be imputed, or all are missing; the message names
        them and says whether the data use another kind of identifier.
    """
    _check_unique("wanted genes", "gene", tuple(genes))
    place = {gene: i for i, gene in enumerate(profiles.genes)}
    at = np.array([place.get(gene, -1) for gene in genes], int)
    absent = tuple(gene for gene, i in zip(genes, at, strict=True) if i < 0)
    if absent and (missing == "refuse" or fill is None or len(absent) == len(genes)):
        raise ValueError(
            f"{profiles.name}: {len(absent)} of {len(genes)} genes are missing: "
            f"{some(absent, 10)}. {_advice(profiles, genes)}"
        )
    x = profiles.x[:, at]
    if absent and fill is not None:
        x[:, at < 0] = fill[at < 0]
        _log.warning(
            "%s: imputed %d of %d genes by their training means: %s",
            profiles.name, len(absent), len(genes), ", ".join(absent),
        )  # fmt: skip
    return Aligned(x, absent)


def identifier_kind(names: Sequence[str]) -> str:
    """Tell what most of some gene names are.

    Returns
    -------
    ``Affymetrix probe``, ``Ensembl id``, ``Entrez number`` or ``symbol``.
    """
    counts = Counter(_kind(name) for name in names)
    return counts.most_common(1)[0][0] if counts else "symbol"


def to_symbols(
    profiles: Profiles, table: pd.DataFrame, *, duplicates: Literal["refuse", "mean"] = "refuse"
) -> Profiles:
    """Rename genes to symbols by a gene table; those that it does not know are left out.

    Parameters
    ----------
    profiles
        Expression under Entrez numbers, Ensembl ids (versions are ignored) or probes.
    table
        Columns ``gene_symbol`` and that of the identifiers: ``gene_id`` (Entrez), ``ensembl_id``
        or ``probe``; as of `~infosem_jax.expression.read_gene_table`.
    duplicates
        What becomes of several identifiers of one symbol: refused, or averaged, as is usual for
        log values.

    Raises
    ------
    ValueError
        If the table lacks the column, knows none of the genes, or gives one symbol several times
        and ``duplicates`` is "refuse".
    """
    kind = identifier_kind(profiles.genes)
    if kind == "symbol":
        return profiles
    column = _COLUMNS[kind]
    if column not in table or "gene_symbol" not in table:
        raise ValueError(
            f"{profiles.name}: its genes are named by {kind}; expected columns gene_symbol and "
            f"{column} in the gene table, found {', '.join(map(str, table.columns))}."
        )
    known = table[(table[column] != "") & (table["gene_symbol"] != "")]
    symbol = dict(zip(map(_plain, known[column]), known["gene_symbol"], strict=True))
    names = [symbol.get(_plain(gene), "") for gene in profiles.genes]
    kept = np.array([i for i, name in enumerate(names) if name], int)
    if not len(kept):
        raise ValueError(
            f"{profiles.name}: the gene table knows none of its genes ({some(profiles.genes)})."
        )
    unique, group = np.unique(np.array(names)[kept], return_inverse=True)
    if len(unique) < len(kept) and duplicates == "refuse":
        twice = unique[np.bincount(group) > 1].tolist()
        raise ValueError(
            f"{profiles.name}: {len(twice)} symbols have several of its genes "
            f"({some(twice, 10)}); average them with duplicates='mean', or leave some out."
        )
    total = np.zeros((len(unique), len(profiles.samples)))
    np.add.at(total, group, profiles.x[:, kept].T)
    # Genes keep the order in which they come first, since some splits and lists go by order.
    first = np.argsort([np.flatnonzero(group == i)[0] for i in range(len(unique))])
    x = (total / np.bincount(group)[:, None])[first].T
    _log.info(
        "%s: %d of %d genes (%s) have symbols, %d different ones",
        profiles.name, len(kept), len(names), kind, len(unique),
    )  # fmt: skip
    notes = profiles.notes
    if len(unique) < len(kept):
        several = int((np.bincount(group) > 1).sum())
        notes += (f"{profiles.name}: {several} symbols are means over several of its genes",)
    return profiles._replace(
        x=np.ascontiguousarray(x, np.float32), genes=tuple(map(str, unique[first])), notes=notes
    )


_COLUMNS = {
    "Entrez number": "gene_id",
    "Ensembl id": "ensembl_id",
    "Affymetrix probe": "probe",
}
_PATTERNS = {
    "Affymetrix probe": re.compile(r"AFFX.*|\S+_at"),
    "Ensembl id": re.compile(r"ENS[A-Z]*G\d{6,}(\.\d+)?"),
    "Entrez number": re.compile(r"\d+"),
}


def _kind(name: str) -> str:
    return next((kind for kind, form in _PATTERNS.items() if form.fullmatch(name)), "symbol")


def _plain(name: str) -> str:
    return str(name).split(".")[0] if str(name).startswith("ENS") else str(name)


def _check_unique(name: str, kind: str, names: tuple[str, ...]) -> None:
    blank = sum(not each.strip() for each in names)
    if blank:
        raise ValueError(f"{name}: {blank} of {len(names)} {kind}s have no name; name them.")
    if len(set(names)) < len(names):
        twice = [each for each, count in Counter(names).items() if count > 1]
        raise ValueError(
            f"{name}: {len(twice)} {kind} names occur more than once: {some(twice, 10)}; keep one "
            "of each or average them."
        )


def _advice(profiles: Profiles, genes: Sequence[str]) -> str:
    if not present(genes, profiles) and set(genes) & set(profiles.samples):
        return "They are among its samples: its genes lie on the other side (--orientation)."
    found, wanted = identifier_kind(profiles.genes), identifier_kind(genes)
    if found != wanted:
        return (
            f"Its genes are named by {found} ({some(profiles.genes)}), the wanted ones by "
            f"{wanted}; translate with a gene table first (--gene-table, to_symbols)."
        )
    plain = {_plain(gene) for gene in profiles.genes}
    if sum(_plain(gene) in plain for gene in genes) > len(present(genes, profiles)):
        return "More match without the version of Ensembl ids: cut .1, .2, ... off in one of them."
    upper = {gene.upper() for gene in profiles.genes}
    if sum(gene.upper() in upper for gene in genes) > len(present(genes, profiles)):
        return "More match when case is ignored: are the data of another species?"
    if not present(genes, profiles):
        return (
            f"Its genes are {some(profiles.genes)}: training means of all would say nothing of "
            "these samples; give samples that have some of them, or fit with genes that these have."
        )
    return "Leave them out of the list, or take their training means (--impute, missing='impute')."
