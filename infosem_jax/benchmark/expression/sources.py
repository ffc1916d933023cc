"""Data sets of the benchmark: files of a folder, alone, in pairs of platforms, or with a cohort."""

from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import numpy as np

from infosem_jax._settings import hint
from infosem_jax._typing import Path
from infosem_jax.benchmark.folder import files_by_name, of_h5ad
from infosem_jax.expression.choices import draw_split, landmark_pool, usual_split
from infosem_jax.expression.profiles import (
    Profiles,
    align_genes,
    identifier_kind,
    pair_samples,
    present,
    take_samples,
    to_symbols,
)
from infosem_jax.expression.readers import read_gene_table, read_profiles
from infosem_jax.expression.splits import Split
from infosem_jax.expression.task import Platforms, Problem, make_task, platforms
from infosem_jax.expression.units import describe_units, log_counts

ENDINGS = (".npz", ".gct", ".gct.gz", ".gctx", ".h5ad")
LEAST_SAMPLES = 30
# Inputs where nothing is asked for: landmarks where there are enough, else genes drawn at random.
LEAST_LANDMARKS, DRAWN = 100, 100
QUICK = {"genes": 150, "samples": 120}
POOLS = "auto, landmarks, all or random:N"


class Source(NamedTuple):
    """What methods learn from and are tested on.

    Attributes
    ----------
    dataset, network
        Name of the data learned from, and of the data that the truth of the test comes from:
        the same, another platform, or another cohort.
    profiles
        Expression, or the platforms of inputs and targets.
    cohort
        Data to test on in place of a part of the same samples, in the form of ``profiles``.
    landmarks
        Names of landmark genes, of which the data may hold some.
    notes
        What was done to the data, in sentences.
    """

    dataset: str
    network: str
    profiles: Platforms
    cohort: Platforms | None
    landmarks: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def inputs(self) -> Profiles:
        """The platform of the inputs, whose labels say how to split."""
        return platforms(self.profiles)[0]


def find_sources(
    folder: Path, wanted: Sequence[str] = (), reading: Mapping[str, str | None] = {}
) -> tuple[list[Source], list[str]]:
    """Read the data sets of a folder.

    Counts become ``log2(1 + CPM)`` and other linear values ``log2(1 + x)``. Genes that are not
    named by symbols are renamed where the folder holds a gene table ``geneinfo_beta*``, which also
    says what the landmarks are.

    Parameters
    ----------
    folder
        Holds files that `read_profiles` reads, by ending.
    wanted
        ``A`` for a file A.npz (or of another ending); ``A:B`` for inputs from A and targets from
        B, with the same samples; ``A@B`` or ``A:B@C:D`` to learn from one and test on the
        other. Every file alone where empty.
    reading
        Layer and names of genes of h5ad files, see `read_profiles`.

    Returns
    -------
    Data sets, and sentences about those that were left out.

    Raises
    ------
    ValueError
        If there is no data set, or one that was asked for cannot be used.
    """
    if not FilePath(folder).is_dir():
        raise ValueError(f"{folder}: expected a folder of data sets.")
    files = files_by_name(folder, ENDINGS)
    if not files:
        raise ValueError(f"{folder}: expected files ending in {', '.join(ENDINGS)}, found none.")
    tables = sorted(FilePath(folder).glob("geneinfo_beta*"))
    table = read_gene_table(tables[0]) if tables else None
    landmarks: tuple[str, ...] = ()
    if table is not None and "feature_space" in table:
        landmarks = tuple(table["gene_symbol"][table["feature_space"] == "landmark"].tolist())
    known: dict[str, tuple[Profiles, str]] = {}

    def load(name: str) -> tuple[Profiles, str]:
        if name not in files:
            raise ValueError(f"There is no data set {name!r} in {folder}; {hint(name, files)}")
        if name not in known:
            how: Any = of_h5ad(files[name], reading)
            profiles = read_profiles(files[name], **how)._replace(name=name)
            if table is not None and identifier_kind(profiles.genes) != "symbol":
                profiles = to_symbols(profiles, table)
            known[name] = _logarithms(profiles)
        return known[name]

    sources, left_out = [], []
    for text in wanted or files:
        try:
            sources.append(_source(text, load, landmarks))
        except ValueError as error:
            if wanted:
                raise
            left_out.append(f"{text} was left out: {error}")
    if not sources:
        raise ValueError(f"{folder}: no data set can be used. {' '.join(left_out)}")
    return sources, left_out


def draw_problem(
    source: Source,
    pool: str,
    split: str,
    labels: Sequence[str],
    seed: int,
    *,
    scaling: str = "standard",
) -> Problem:
    """Draw the split and the pool of inputs of one seed, and make the problem.

    Targets are all genes outside the pool, or all of the other platform.

    Parameters
    ----------
    source
        The data.
    pool
        ``landmarks``, ``all`` genes, ``random:N``, or ``auto``: landmarks if there are at
        least 100 and no more than half of the genes, else 100 genes drawn by the seed, or a
        quarter of all if these are fewer.
    split
        One of `choices.SPLITS`; ``auto`` for that which suits the labels.
    labels
        Labels of samples that methods see.
    seed
        Decides both draws.
    scaling
        Of what methods see; measures do not depend on it.

    Raises
    ------
    ValueError
        On other pools or splits, and whatever `make_task` refuses.
    """
    x, y = platforms(source.profiles)
    genes = x.genes if source.cohort is None else present(x.genes, platforms(source.cohort)[0])
    one_platform = isinstance(source.profiles, Profiles)
    parts = draw_split(x, usual_split(x) if split == "auto" else split, seed)
    if source.cohort is not None:
        # All samples but those for validation are learned from: the test is elsewhere.
        train = np.sort(np.concatenate([parts.train, parts.test]))
        parts = Split(train, parts.valid, parts.test[:0], parts.how, _kinds(x))
    chosen = _pool(pool, genes, source.landmarks, seed)
    everything = one_platform and len(chosen) == len(y.genes)
    return make_task(
        source.profiles,
        chosen,
        parts,
        targets="rest" if one_platform and not everything else "all",
        scaling=scaling,
        covariates=labels,
        cohort=source.cohort,
    )


def reduce(sources: Sequence[Source], count: int = 2) -> tuple[list[Source], str]:
    """Reduce data for a quick look: the first data sets, few genes and samples of each."""
    reduced = [_cut(source) for source in sources[:count]]
    names = ", ".join(dict.fromkeys(source.dataset for source in reduced))
    sizes = ", ".join(f"{n} {what}" for what, n in QUICK.items())
    return reduced, f"A quick look, no benchmark: {names} only, cut to at most {sizes}; one seed."


def splits_of(source: Source, wanted: Sequence[str]) -> dict[str, str]:
    """Return the splits of a data set by the name that results carry."""
    named = {}
    for split in wanted or ("auto",):
        own = usual_split(source.inputs) if split == "auto" else split
        named[own if source.cohort is None else "cohort"] = own
    return named


def _source(text: str, load, landmarks: tuple[str, ...]) -> Source:
    train, _, test = text.partition("@")
    pair, notes = _platforms(train, load)
    own, cohort = platforms(pair), None
    if len(own[0].samples) < LEAST_SAMPLES:
        raise ValueError(f"expected at least {LEAST_SAMPLES} samples, found {len(own[0].samples)}.")
    if test:
        cohort, more = _platforms(test, load)
        notes += more
        if isinstance(pair, Profiles) != isinstance(cohort, Profiles):
            raise ValueError(f"{text}: expected one platform on both sides of @, or two on both.")
    truth = own[1].name if cohort is None else platforms(cohort)[1].name
    return Source(own[0].name, truth, pair, cohort, landmarks, tuple(dict.fromkeys(notes)))


def _platforms(text: str, load) -> tuple[Platforms, list[str]]:
    first, _, second = text.partition(":")
    x, note = load(first)
    if not second:
        return x, [note] if note else []
    y, other = load(second)
    return pair_samples(x, y), [each for each in (note, other) if each]


def _logarithms(profiles: Profiles) -> tuple[Profiles, str]:
    kind = describe_units(profiles.x, name=profiles.name).kind
    if kind == "counts":
        return log_counts(profiles), f"{profiles.name}: counts became log2(1 + CPM)."
    if kind == "linear" and profiles.x.min() >= 0:
        logs = profiles._replace(x=np.log2(1 + profiles.x), unit="log2")
        return logs, f"{profiles.name}: values x became log2(1 + x)."
    return profiles, ""


def _kinds(x: Profiles) -> np.ndarray | None:
    """Return the number of the donor, study or tissue of each sample, None where none is known."""
    _, _, name = usual_split(x).partition(":")
    return np.unique(x.labels[name], return_inverse=True)[1] if name else None


def _pool(
    pool: str, genes: tuple[str, ...], landmarks: tuple[str, ...], seed: int
) -> tuple[str, ...]:
    held = set(landmarks) & set(genes)
    if pool == "landmarks" or (pool == "auto" and LEAST_LANDMARKS <= len(held) <= len(genes) // 2):
        return landmark_pool(genes, landmarks)
    if pool == "all":
        return genes
    kind, _, n = pool.partition(":")
    if pool == "auto":
        size = min(DRAWN, max(len(genes) // 4, 1))
    elif kind == "random" and n.isdecimal() and 1 <= int(n) <= len(genes):
        size = int(n)
    else:
        raise ValueError(f"Expected a pool, {POOLS} up to {len(genes)}, found {pool!r}.")
    rng = np.random.default_rng((seed, 1))
    return tuple(genes[i] for i in np.sort(rng.permutation(len(genes))[:size]))


def _cut(source: Source) -> Source:
    sides = [*platforms(source.profiles)]
    sides += [] if source.cohort is None else platforms(source.cohort)
    genes = present(sides[0].genes, *sides)
    genes = tuple(genes[i] for i in _spread(len(genes), QUICK["genes"]))

    def few(profiles: Platforms) -> Platforms:
        n = len(platforms(profiles)[0].samples)
        cut = [_part(each, genes, _spread(n, QUICK["samples"])) for each in platforms(profiles)]
        return cut[0] if isinstance(profiles, Profiles) else (cut[0], cut[1])

    cohort = None if source.cohort is None else few(source.cohort)
    return source._replace(profiles=few(source.profiles), cohort=cohort)


def _part(profiles: Profiles, genes: Sequence[str], samples: np.ndarray) -> Profiles:
    x = align_genes(profiles, genes).x[samples]
    return take_samples(profiles, samples)._replace(x=x, genes=tuple(genes))


def _spread(n: int, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))
