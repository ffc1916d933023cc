"""The priors that have a name on the command line, those of users, and the paper's variants."""

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path as FilePath
from typing import Any, NamedTuple, cast

import numpyro.distributions as dist
import pandas as pd

from infosem_jax._settings import hint
from infosem_jax._typing import Orthologues, Path
from infosem_jax.data.catalog import fetch
from infosem_jax.data.gene_text import read_gene_text
from infosem_jax.data.io import (
    Embedding,
    read_candidates,
    read_embedding,
    read_network,
    read_signed_edges,
)
from infosem_jax.grn import priors
from infosem_jax.grn.priors.binding import Bindable, Prior, Priors


class Entry(NamedTuple):
    """A prior with a name.

    Attributes
    ----------
    build
        Its class, or a function whose first argument is what was read.
    text
        One sentence for reports.
    read
        Reads the file that it needs; None if it needs none.
    sites
        What it can be placed on.
    usual
        Data set of the catalogue that is read where no file is named; None where one has to be.
    """

    build: Callable[..., Prior]
    text: str
    read: Callable[[Path], Any] | None = None
    sites: tuple[str, ...] = ("effect",)
    usual: str | None = None


def _each(read: Callable[[Path], Any], files: Path) -> tuple[Any, ...]:
    return tuple(map(read, str(files).split(",")))


def _read_labels(files: Path) -> tuple[pd.DataFrame, list[Any]]:
    """Read a table of labels, and what else there is: networks, texts or vectors of genes."""
    first, *others = str(files).split(",")
    return read_network(first), [_read_any(file) for file in others]


def _read_any(file: Path) -> Any:
    for read in (read_network, read_gene_text):
        try:
            return read(file)
        except (ValueError, UnicodeDecodeError):
            continue
    return read_embedding(file)


def _labelled(
    known: tuple[pd.DataFrame, list[Any]], error: float = 0.05, scale: float = 1.0
) -> priors.LabelledEdges:
    table, others = known
    networks = tuple(each for each in others if "source" in getattr(each, "columns", ()))
    vectors = [each for each in others if "source" not in getattr(each, "columns", ())]
    if len(vectors) > 1:
        raise ValueError(
            f"labels: expected at most one file of texts or vectors of genes, found {len(vectors)}."
        )
    return priors.LabelledEdges(table, next(iter(vectors), None), networks, error, scale)


def _mixture(
    embeddings: tuple[Embedding, ...],
    slope: float = 0.05,
    scale: float = 0.05,
    concentration: float = 1.0,
) -> priors.Mixture:
    parts = tuple(priors.GeneSimilarity(each, slope, scale) for each in embeddings)
    return priors.Mixture(parts, concentration)


# Priors of the existence of edges.
_of_edges = partial(Entry, sites=("logit",))
REGISTRY: dict[str, Entry] = {
    "laplace": Entry(priors.Laplace, "Few strong effects, most near zero."),
    "mean-absolute": Entry(priors.MeanAbsolute, "DeepSEM's penalty on the mean absolute effect."),
    "normal": Entry(priors.Normal, "Many small effects."),
    "horseshoe": Entry(priors.Horseshoe, "Most effects near zero, strong ones left alone."),
    "regularised-horseshoe": Entry(
        priors.RegularisedHorseshoe, "Most effects near zero, strong ones held within a slab."
    ),
    "spike-and-slab": Entry(priors.SpikeAndSlab, "A mixture of negligible and of real effects."),
    "gene-scales": Entry(
        priors.GeneScales, "Regulators and targets have scales of their own, learned with the fit."
    ),
    "gene-embedding": Entry(
        priors.GeneEmbedding,
        "Genes with like embeddings are expected to act, and to be acted on, alike (InfoSEM-B).",
        read_embedding,
    ),
    "gene-similarity": Entry(
        priors.GeneSimilarity,
        "Genes with like embeddings are expected to act on each other (InfoSEM-B without roles).",
        read_embedding,
    ),
    "texts": Entry(
        priors.GeneTexts,
        "Genes of which like things are said are expected to act on each other.",
        read_gene_text,
        usual="string-human-names",
    ),
    "mixture": Entry(
        _mixture,
        "Of several embeddings, those that fit decide which genes are expected to act on others.",
        partial(_each, read_embedding),
    ),
    "signed-edges": Entry(
        priors.SignedEdges,
        "Known activators and repressors are expected to act with that sign.",
        read_signed_edges,
    ),
    "graph-smooth": Entry(
        priors.GraphSmooth,
        "Genes that are neighbours in a graph are expected to be acted on, or to act, alike.",
        read_candidates,
    ),
    "other-network": Entry(
        priors.OtherNetwork,
        "Effects are expected as in another network, as far as it proves to fit.",
        read_network,
    ),
    "relaxed-gate": _of_edges(priors.RelaxedGate, "Each edge is as good as there or not there."),
    "known-edges": _of_edges(
        priors.KnownEdges,
        "Labelled pairs make their edges more or less probable (InfoSEM-C).",
        read_network,
    ),
    "learned-edges": _of_edges(
        priors.LearnedEdges,
        "Labelled pairs teach which genes regulate and are regulated, and by whom.",
        read_network,
    ),
    "labels": _of_edges(
        _labelled,
        "Labelled pairs teach what tells edges from other pairs, and how far that carries over.",
        _read_labels,
    ),
    "known-elsewhere": _of_edges(
        priors.KnownElsewhere,
        "Edges are expected where networks of other cell types have them, and to popular targets.",
        partial(_each, read_network),
    ),
    "graph": Entry(
        priors.GraphPrior,
        "Edges of the graph are expected to be stronger or more probable than others.",
        read_candidates,
        ("effect", "logit"),
    ),
}


def read_priors(
    effects: Sequence[str],
    edges: Sequence[str],
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    ignore_case: bool = False,
    orthologues: Orthologues | None = None,
) -> dict[str, Priors]:
    """Build every combination of priors that options name, by what tells them apart.

    Parameters
    ----------
    effects, edges
        Priors of each site: ``PRIOR``, ``PRIOR=FILE`` or ``module.path:function``; ``none`` among
        the edges is a model without a gate.
    settings
        Settings of the priors, by ``effect`` and ``edge``.
    ignore_case, orthologues
        How gene names are matched to embeddings, see `infosem_jax.data.align_embedding`.

    Raises
    ------
    ValueError
        As `from_record`, or if two are the same.
    """
    records = {
        site: [_record(spec, (settings or {}).get(site, {})) for spec in specs]
        for site, specs in (("effect", effects), ("edge", edges))
    }
    names = product(*map(_labels, records.values()))
    chosen = product(*records.values())
    return {
        "+".join(filter(None, label)) or "none": from_record(
            {site: record for site, record in zip(records, pair, strict=True) if record},
            ignore_case=ignore_case,
            orthologues=orthologues,
        )
        for label, pair in zip(names, chosen, strict=True)
    }


def from_record(
    record: Mapping[str, Mapping[str, Any]],
    *,
    ignore_case: bool = False,
    orthologues: Orthologues | None = None,
) -> Priors:
    """Build priors from what a configuration file, or `Priors.record`, says of them.

    Parameters
    ----------
    record
        Name (``prior``), ``file`` and settings of each prior, by ``effect`` and ``edge``.
    ignore_case, orthologues
        As in `read_priors`.

    Raises
    ------
    ValueError
        As `build` and `load`.
    """
    found: dict[str, Prior] = {}
    for site, table in record.items():
        settings = {key: value for key, value in table.items() if key not in ("prior", "file")}
        name, file = table["prior"], table.get("file")
        if ":" not in name:
            prior = build(name, file, "effect" if site == "effect" else "logit", settings)
            found[site] = _matched(prior, ignore_case, orthologues)
        elif file:
            raise ValueError(
                f"{name}={file}: expected {name} alone; what your prior needs it reads itself, or "
                "is told by the settings in --config."
            )
        else:
            found[site] = load(name, settings)
    return Priors(found.get("effect"), found.get("edge"), record)


def describe(name: str, prior: Prior) -> str:
    """Say in a sentence what a prior expects: that of the registry, or of its own docstring.

    Parameters
    ----------
    name
        Its name, see `Priors.record`.
    prior
        The prior.
    """
    if name in REGISTRY:
        return REGISTRY[name].text
    doc = inspect.getdoc(getattr(prior, "func", prior)) or ""
    return doc.partition("\n")[0] or "Written by the user."


def build(name: str, file: Path | None, site: str, settings: dict[str, Any]) -> Prior:
    """Build a registered prior.

    Parameters
    ----------
    name, file
        Its name, and the file that it is read from, if it is.
    site
        What it is placed on, ``effect`` or ``logit``.
    settings
        Its settings.

    Raises
    ------
    ValueError
        If there is no such prior or setting (naming the nearest), it cannot be placed on the
        site, or a file is missing or too many.
    ConnectionError
        If the data set that is read where no file is named cannot be downloaded.
    """
    if name not in REGISTRY:
        raise ValueError(
            f"Unknown prior {name!r} (your own are called module:function); {hint(name, REGISTRY)}"
        )
    entry = REGISTRY[name]
    if site not in entry.sites:
        fitting = [n for n, e in REGISTRY.items() if site in e.sites]
        other = "edges (--edge" if site == "effect" else "effects (--effect"
        raise ValueError(
            f"{name} is no prior of the {site} but of {other}); choose one of {', '.join(fitting)}."
        )
    if file is None and entry.usual is not None:
        file = _fetched(name, entry.usual)
    if (file is None) != (entry.read is None):
        wanted = f"{name}=FILE" if entry.read else f"{name} without a file"
        raise ValueError(f"Expected {wanted}, found {name if file is None else f'{name}={file}'}.")
    known = _settings_of(entry.build)
    for key in settings:
        if key not in known:
            raise ValueError(f"{name} has no setting {key!r}; {hint(key, known)}")
    content = () if entry.read is None or file is None else (entry.read(file),)
    return entry.build(*content, **settings)


def load(path: str, settings: dict[str, Any]) -> Prior:
    """Import a prior that a user has written.

    Parameters
    ----------
    path
        ``module.path:name``, naming a function of the gene context, a class of priors, or a prior.
    settings
        Passed to the function, after the gene context, or to the class.

    Raises
    ------
    ValueError
        If the module or the name is missing, it is no prior, or it does not take the settings.
    """
    module_name, _, name = path.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except (ImportError, ValueError) as error:
        raise ValueError(
            f"{path}: cannot import {module_name!r} ({error}); is it in this folder, or installed?"
        ) from error
    for part in name.split("."):
        if not hasattr(found, part):
            names = [each for each in dir(found) if not each.startswith("_")]
            raise ValueError(f"{path}: {module_name} has no {name!r}; {hint(part, names)}")
        found = getattr(found, part)
    if isinstance(found, dist.Distribution) or not callable(found):
        if settings:
            raise ValueError(
                f"{path}: expected a function or class that takes {', '.join(settings)}, found "
                f"an object of {type(found).__name__}; remove the settings."
            )
    elif inspect.isclass(found):
        _check_takes(path, found, (), settings)
        found = found(**settings)
    elif not isinstance(found, Bindable):
        _check_takes(path, found, ("gene context",), settings)
        found = partial(found, **settings) if settings else found
    if isinstance(found, dist.Distribution | Bindable) or callable(found):
        return cast(Prior, found)
    raise ValueError(
        f"{path}: expected a function of the gene context that returns a NumPyro distribution, a "
        f"distribution, or an object with a method bind, found {type(found).__name__}."
    )


def variant(
    name: str, *, embedding: Embedding | None = None, known: pd.DataFrame | None = None
) -> dict[str, Prior | None]:
    """Return the priors of one of the paper's models, as keyword arguments of `fit`.

    ``none`` is DeepSEM's model, ``B`` has gene embeddings on the effects, ``C`` known edges on the
    logits and ``BC`` both.

    Parameters
    ----------
    name
        Which model.
    embedding, known
        What its priors hold.

    Raises
    ------
    ValueError
        On another name, or if what the variant needs is missing.
    """
    if name not in ("none", "B", "C", "BC"):
        raise ValueError(f"Unknown variant {name!r}; choose none, B, C or BC.")
    for letter, what, given in (("B", "embedding", embedding), ("C", "known", known)):
        if letter in name and given is None:
            raise ValueError(f"Variant {name} needs {what}=.")
    return {
        "effect": priors.GeneEmbedding(embedding) if "B" in name and embedding else None,
        "edge": priors.KnownEdges(known) if "C" in name and known is not None else None,
    }


def _record(spec: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an option and the settings of its site say of a prior; nothing of ``none``."""
    name, _, file = spec.partition("=")
    if name == "none":
        return {}
    return {"prior": name, **({"file": file} if file else {}), **settings}


def _labels(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Call priors by what tells them apart: their names, else their files too."""
    names = [record.get("prior", "") for record in records]
    files = [record.get("file", "") for record in records]
    for tails in ([""] * len(names), [FilePath(file).stem for file in files], files):
        labels = ["=".join(filter(None, pair)) for pair in zip(names, tails, strict=True)]
        if len(set(labels)) == len(labels):
            return labels
    twice = next(label or "none" for label in labels if labels.count(label) > 1)
    raise ValueError(f"Expected priors that differ, found {twice} more than once.")


def _fetched(name: str, dataset: str) -> FilePath:
    try:
        return fetch(dataset)
    except ConnectionError as error:
        raise ConnectionError(f"{error} Or name a file of your own: {name}=FILE.") from error


def _matched(prior: Any, ignore_case: bool, orthologues: Orthologues | None) -> Any:
    """Tell every prior that holds an embedding how gene names are matched to it."""
    if isinstance(prior, priors.Mixture):
        parts = tuple(_matched(part, ignore_case, orthologues) for part in prior.parts)
        return replace(prior, parts=parts)
    if not hasattr(prior, "embedding"):
        return prior
    matching: dict[str, Any] = {"ignore_case": ignore_case}
    if orthologues is not None:
        matching["orthologues"] = orthologues
    return replace(prior, **matching)


def _settings_of(build: Callable[..., Prior]) -> list[str]:
    """Name what a prior can be told besides the content of its file."""
    if is_dataclass(build):
        return [field.name for field in fields(build) if field.compare]
    return list(inspect.signature(build).parameters)[1:]


def _check_takes(path: str, made: Callable, first: tuple[str, ...], settings: dict) -> None:
    try:
        inspect.signature(made).bind(*first, **settings)
    except TypeError as error:
        given = ", ".join([*first, *settings]) or "nothing"
        raise ValueError(f"{path}: does not take {given} ({error}).") from error
