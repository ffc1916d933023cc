"""Priors on effects from tables of edges with a direction of action: up or down, and how far."""

from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
from jax.tree_util import Partial
from jaxtyping import Array, Float

from infosem_jax.data.io import edge_signs
from infosem_jax.grn.priors.arithmetic import Arithmetic
from infosem_jax.grn.priors.binding import BoundPrior, GeneContext, fixed, pair_matrix, positive

# Weights of another network beyond so many times their root mean square say no more.
MOST = 4.0


@dataclass(frozen=True)
class SignedEdges(Arithmetic):
    """Known activators and repressors: the effects of their edges are expected to have that sign.

    ``effect ~ Normal(sign * strength, scale)`` where the sign is known, ``Normal(0, scale)``
    elsewhere.

    Parameters
    ----------
    table
        Columns source, target and ``sign`` or ``mode``: numbers, or words such as activator and
        repressor; 0 and ``unknown`` say nothing. See `infosem_jax.data.read_signed_edges`.
    strength
        Expected size of a known effect.
    scale
        Standard deviation of all effects.
    """

    table: pd.DataFrame = field(compare=False, repr=False)
    strength: float = 0.03
    scale: float = 0.03

    def bind(self, context: GeneContext) -> BoundPrior:
        """Align the signs to the pairs of genes."""
        _on_effects(self, context)
        mean = positive(self, "strength") * self._signs(context)
        return fixed(dist.Normal(jnp.asarray(mean, jnp.float32), positive(self, "scale")), context)

    def coverage(self, context: GeneContext) -> dict[str, Any]:
        """Count known activations and repressions."""
        signs = self._signs(context)
        return {
            "known activations": int((signs > 0).sum()),
            "known repressions": int((signs < 0).sum()),
            "pairs in all": signs.size,
            "regulators with a known sign": f"{(signs != 0).any(1).sum()} of {len(context.rows)}",
        }

    def _signs(self, context: GeneContext) -> Float[np.ndarray, "rows genes"]:
        signed = self.table.assign(sign=edge_signs(self.table, "signed edges"))
        return np.nan_to_num(pair_matrix(signed, context, "sign", "signed edges"))


@dataclass(frozen=True)
class OtherNetwork(Arithmetic):
    """The network of another cell type, tissue or species, trusted as far as the data bear it out.

    ``effect ~ Normal(trust * size * m, scale)`` with m the other network's weights divided by their
    root mean square and cut at 4, and ``trust ~ Beta(agreeing, disagreeing)`` learned with the fit:
    near 0 where the other network says nothing about this one. On the existence of edges, use
    `GraphPrior`.

    Parameters
    ----------
    edges
        Columns source, target and weight (signed), such as the ``edges.csv`` of a fit; pairs that
        are not listed have weight 0.
    size
        Expected size of an effect whose weight is typical of the other network, at full trust.
    scale
        Standard deviation of an effect around its mean.
    agreeing, disagreeing
        What trust is expected before the data, as counts; at least 1. Learned trust is found by
        `infosem_jax.grn.priors.learned`.
    """

    edges: pd.DataFrame = field(compare=False, repr=False)
    size: float = 0.1
    scale: float = 0.05
    agreeing: float = 1.0
    disagreeing: float = 1.0

    def bind(self, context: GeneContext) -> BoundPrior:
        """Align the weights to the pairs of genes, and bring them to scale."""
        _on_effects(self, context)
        counts = (self.agreeing, self.disagreeing)
        if not all(np.isfinite(count) and count >= 1 for count in counts):
            raise ValueError(
                "OtherNetwork: expected agreeing and disagreeing of at least 1, found "
                f"{self.agreeing} and {self.disagreeing}; below, all or no trust is foregone."
            )
        return BoundPrior(
            Partial(
                _trusted,
                jnp.asarray(positive(self, "size") * self._weights(context), jnp.float32),
                jnp.float32(positive(self, "scale")),
                jnp.array(counts, jnp.float32),
            )
        )

    def coverage(self, context: GeneContext) -> dict[str, Any]:
        """Count edges of the other network between the genes."""
        there = self._weights(context) != 0
        return {
            "edges of the other network between the genes": int(there.sum()),
            "pairs in all": there.size,
            "regulators with an edge": f"{there.any(1).sum()} of {len(context.rows)}",
        }

    def _weights(self, context: GeneContext) -> Float[np.ndarray, "rows genes"]:
        if "weight" not in self.edges:
            raise ValueError(
                "Other network: expected columns source, target and weight, found "
                f"{', '.join(map(str, self.edges))}; known signs alone are for SignedEdges."
            )
        weights = np.nan_to_num(pair_matrix(self.edges, context, "weight", "other network"))
        weights[np.asarray(context.rows)[:, None] == np.asarray(context.genes)] = 0.0
        present = weights[weights != 0]
        if not (len(present) and np.isfinite(present).all()):
            raise ValueError(
                "Other network: expected finite weights, some of them not 0, for pairs of these "
                "genes, found none; was it written completely?"
            )
        return np.clip(weights / np.sqrt((present**2).mean()), -MOST, MOST)


def _on_effects(prior: Any, context: GeneContext) -> None:
    if context.site != "effect":
        raise ValueError(
            f"{type(prior).__name__} says how genes act: use it as the prior of the effects; for "
            "the existence of edges take GraphPrior."
        )


def _trusted(
    mean: Float[Array, "rows genes"], scale: Float[Array, ""], counts: Float[Array, " two"]
) -> dist.Distribution:
    trust = jnp.asarray(numpyro.sample("trust", dist.Beta(counts[0], counts[1])))
    return dist.Normal(trust * mean, jnp.broadcast_to(scale, mean.shape)).to_event(2)
