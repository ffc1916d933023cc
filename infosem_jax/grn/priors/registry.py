"""The priors that have a name on the command line, those of users, and the paper's variants."""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from functools import partial
from typing import Any, NamedTuple, cast

import numpyro.distributions as dist
import pandas as pd

from infosem_jax._typing import Path
from infosem_jax.data.io import (
    Embedding,
    read_candidates,
    read_embedding,
    read_network,
    read_signed_edges,
)
from infosem_jax.grn import priors
from infosem_jax.grn.priors.binding import Bindable, Prior


class Entry(NamedTuple):
    """A prior with a name.

    Attributes
    ----------
    build
        Its class, or a function whose first argument is what was read.
    sites
        What it can be placed on.
    read
        Reads the file that it needs; None if it needs none.
    text
        One sentence for reports.
    """

    build: Callable[..., Prior]
    sites: tuple[str, ...]
    read: Callable[[Path], Any] | None
    text: str


def _read_embeddings(files: Path) -> tuple[Embedding, ...]:
    return tuple(read_embedding(file) for file in str(files).split(","))


def _mixture(
    embeddings: tuple[Embedding, ...],
    slope: float = 0.05,
    scale: float = 0.05,
    concentration: float = 1.0,
) -> priors.Mixture:
    parts = tuple(priors.GeneSimilarity(each, slope, scale) for each in embeddings)
    return priors.Mixture(parts, concentration)


REGISTRY: dict[str, Entry] = {
    "laplace": Entry(priors.Laplace, ("effect",), None, "Few strong effects, most near zero."),
    "mean-absolute": Entry(
        priors.MeanAbsolute, ("effect",), None, "DeepSEM's penalty on the mean absolute effect."
    ),
    "normal": Entry(priors.Normal, ("effect",), None, "Many small effects."),
    "horseshoe": Entry(
        priors.Horseshoe, ("effect",), None, "Most effects near zero, strong ones left alone."
    ),
    "regularised-horseshoe": Entry(
        priors.RegularisedHorseshoe,
        ("effect",),
        None,
        "Most effects near zero, strong ones held within a slab.",
    ),
    "spike-and-slab": Entry(
        priors.SpikeAndSlab, ("effect",), None, "A mixture of negligible and of real effects."
    ),
    "gene-scales": Entry(
        priors.GeneScales,
        ("effect",),
        None,
        "Regulators and targets have scales of their own, learned with the fit.",
    ),
    "gene-embedding": Entry(
        priors.GeneEmbedding,
        ("effect",),
        read_embedding,
        "Genes with like embeddings are expected to act, and to be acted on, alike (InfoSEM-B).",
    ),
    "gene-similarity": Entry(
        priors.GeneSimilarity,
        ("effect",),
        read_embedding,
        "Genes with like embeddings are expected to act on each other (InfoSEM-B without roles).",
    ),
    "mixture": Entry(
        _mixture,
        ("effect",),
        _read_embeddings,
        "Of several embeddings, those that fit decide which genes are expected to act on others.",
    ),
    "signed-edges": Entry(
        priors.SignedEdges,
        ("effect",),
        read_signed_edges,
        "Known activators and repressors are expected to act with that sign.",
    ),
    "graph-smooth": Entry(
        priors.GraphSmooth,
        ("effect",),
        read_candidates,
        "Genes that are neighbours in a graph are expected to be acted on, or to act, alike.",
    ),
    "other-network": Entry(
        priors.OtherNetwork,
        ("effect",),
        read_network,
        "Effects are expected as in another network, as far as it proves to fit.",
    ),
    "relaxed-gate": Entry(
        priors.RelaxedGate, ("logit",), None, "Each edge is as good as there or not there."
    ),
    "known-edges": Entry(
        priors.KnownEdges,
        ("logit",),
        read_network,
        "Labelled pairs make their edges more or less probable (InfoSEM-C).",
    ),
    "learned-edges": Entry(
        priors.LearnedEdges,
        ("logit",),
        read_network,
        "Labelled pairs teach which genes regulate and are regulated, and by whom.",
    ),
    "graph": Entry(
        priors.GraphPrior,
        ("effect", "logit"),
        read_candidates,
        "Edges of the graph are expected to be stronger or more probable than others.",
    ),
}


def build(name: str, file: Path | None, site: str, settings: dict[str, Any]) -> Prior:
    """Build a registered prior from its name, its file and its settings.

    Raises
    ------
    ValueError
        If there is no such prior or setting (naming the nearest), it cannot be placed on the
        site, or a file is missing or too many.
    """
    if name not in REGISTRY:
        near = get_close_matches(name, REGISTRY, n=1, cutoff=0.4)
        hint = f"Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"Unknown prior {name!r}; known: {', '.join(REGISTRY)}; your own are called "
            f"module:function. {hint}".rstrip()
        )
    entry = REGISTRY[name]
    if site not in entry.sites:
        fitting = [n for n, e in REGISTRY.items() if site in e.sites]
        raise ValueError(f"{name} is no prior of the {site}; choose one of {', '.join(fitting)}.")
    if (file is None) != (entry.read is None):
        wanted = f"{name}=FILE" if entry.read else f"{name} without a file"
        raise ValueError(f"Expected {wanted}, found {name if file is None else f'{name}={file}'}.")
    known = _settings_of(entry.build)
    for key in settings:
        if key not in known:
            near = get_close_matches(key, known, n=1, cutoff=0.4)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{name} has no setting {key!r}; known: {', '.join(known)}.{hint}")
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
            near = get_close_matches(part, dir(found), n=1, cutoff=0.5)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{path}: {module_name} has no {name!r}.{hint}")
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
