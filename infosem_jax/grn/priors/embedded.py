"""What all priors that hold a gene embedding have in common."""

from dataclasses import replace
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32

from infosem_jax._typing import Orthologues
from infosem_jax.data.io import Embedding, align_embedding
from infosem_jax.grn.priors.binding import GeneContext


@runtime_checkable
class Embedded(Protocol):
    """A prior with vectors of genes, and how names are matched to them."""

    @property
    def embedding(self) -> Any: ...  # noqa: D102
    @property
    def ignore_case(self) -> bool: ...  # noqa: D102
    @property
    def orthologues(self) -> Orthologues | None: ...  # noqa: D102


P = TypeVar("P", bound=Embedded)


def vectors_of(
    prior: Embedded, genes: tuple[str, ...]
) -> tuple[Float32[np.ndarray, "genes features"], Bool[np.ndarray, " genes"]]:
    """Return the vector of each gene, centred over known genes, and which genes are known."""
    vectors, known = align_embedding(
        prior.embedding, genes, ignore_case=prior.ignore_case, orthologues=prior.orthologues
    )
    return np.where(known[:, None], vectors - vectors[known].mean(0), np.float32(0)), known


def unit_vectors_of(
    prior: Embedded, genes: tuple[str, ...]
) -> tuple[Float32[np.ndarray, "genes features"], Bool[np.ndarray, " genes"]]:
    """Return the same, with entries of unit mean square over known genes."""
    centred, known = vectors_of(prior, genes)
    size = np.sqrt((centred[known] ** 2).mean()) or np.float32(1)
    return centred / size, known


def embedding_coverage(prior: Embedded, context: GeneContext) -> dict[str, Any]:
    """Count genes, and regulators where only they act, with an embedding."""
    _, known = vectors_of(prior, context.genes)
    found = {"genes with an embedding": f"{known.sum()} of {len(known)}"}
    if len(context.rows) < len(context.genes):
        has = {gene for gene, k in zip(context.genes, known, strict=True) if k}
        rows = sum(row in has for row in context.rows)
        found["regulators with an embedding"] = f"{rows} of {len(context.rows)}"
    return {**found, "features": prior.embedding.vectors.shape[1]}


def shuffled(prior: P, seed: int) -> P:
    """Return the prior with its vectors permuted among genes, the control of a gene embedding."""
    names, vectors = prior.embedding
    order = np.random.default_rng(seed).permutation(len(names))
    return replace(prior, embedding=Embedding(names, vectors[order]))  # pyright: ignore
