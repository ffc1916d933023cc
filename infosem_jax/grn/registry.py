"""The priors that have a name on the command line, and the paper's variants."""

from collections.abc import Callable
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, NamedTuple

import pandas as pd

from infosem_jax._typing import Path
from infosem_jax.data.io import Embedding, read_embedding, read_network
from infosem_jax.grn import priors
from infosem_jax.grn.binding import Prior


class Entry(NamedTuple):
    """A prior with a name.

    Attributes
    ----------
    build
        Its class.
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


REGISTRY: dict[str, Entry] = {
    "laplace": Entry(priors.Laplace, ("effect",), None, "Few strong effects, most near zero."),
    "mean-absolute": Entry(
        priors.MeanAbsolute, ("effect",), None, "DeepSEM's penalty on the mean absolute effect."
    ),
    "normal": Entry(priors.Normal, ("effect",), None, "Many small effects."),
    "horseshoe": Entry(
        priors.Horseshoe, ("effect",), None, "Most effects near zero, strong ones left alone."
    ),
    "spike-and-slab": Entry(
        priors.SpikeAndSlab, ("effect",), None, "A mixture of negligible and of real effects."
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
        read_network,
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
        raise ValueError(f"Unknown prior {name!r}; known: {', '.join(REGISTRY)}. {hint}".rstrip())
    entry = REGISTRY[name]
    if site not in entry.sites:
        fitting = [n for n, e in REGISTRY.items() if site in e.sites]
        raise ValueError(f"{name} is no prior of the {site}; choose one of {', '.join(fitting)}.")
    if (file is None) != (entry.read is None):
        wanted = f"{name}=FILE" if entry.read else f"{name} without a file"
        raise ValueError(f"Expected {wanted}, found {name if file is None else f'{name}={file}'}.")
    known = [f.name for f in fields(entry.build) if f.compare]  # pyright: ignore[reportArgumentType]
    for key in settings:
        if key not in known:
            near = get_close_matches(key, known, n=1, cutoff=0.4)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{name} has no setting {key!r}; known: {', '.join(known)}.{hint}")
    content = () if entry.read is None or file is None else (entry.read(file),)
    return entry.build(*content, **settings)


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
