"""A knowledge graph or another network as prior."""

from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pandas as pd

from infosem_jax.grn.priors.arithmetic import Arithmetic
from infosem_jax.grn.priors.binding import (
    BoundPrior,
    GeneContext,
    fixed,
    log_odds,
    pair_matrix,
    positive,
    share,
)


@dataclass(frozen=True)
class GraphPrior(Arithmetic):
    """Edges of a knowledge graph or of another network may be strong, all others are small.

    On the effect, ``Normal(0, scale)`` where the graph has an edge and
    ``Normal(0, scale * elsewhere)`` where it has none; with a column ``sign`` the mean moves to
    ``sign * scale``. On the logit, ``Normal(mu, 1)`` with ``sigmoid(mu) = probability`` on edges
    and the share of edges among all pairs elsewhere. A column ``weight``, divided by its largest
    size, interpolates between the two. Probabilities of the exact engine start from no fewer edges
    than without the graph.

    Parameters
    ----------
    graph
        Columns source, target and optionally weight, sign.
    scale
        Standard deviation of the effect of an edge in the graph.
    elsewhere
        How much smaller other effects are.
    probability
        Probability of an edge in the graph, for the logit.
    directed
        Whether source acts on target only; False uses both directions.
    """

    graph: pd.DataFrame = field(compare=False, repr=False)
    scale: float = 0.03
    elsewhere: float = 0.2
    probability: float = 0.8
    directed: bool = True

    def bind(self, context: GeneContext) -> BoundPrior:
        """Align the graph to the pairs of genes."""
        if positive(self, "elsewhere") > 1:
            raise ValueError(f"GraphPrior: expected elsewhere <= 1, found {self.elsewhere}.")
        probability = share(self, "probability")
        strength, sign = self._strength(context), self._matrix(context, "sign")
        if context.site == "logit":
            base = np.clip((strength > 0).mean(), 0.01, 0.99)
            p = base + np.maximum(probability - base, 0) * strength
            return fixed(dist.Normal(jnp.asarray(log_odds(p), jnp.float32), 1.0), context)
        sd = positive(self, "scale") * (self.elsewhere + (1 - self.elsewhere) * strength)
        mean = self.scale * strength * np.nan_to_num(sign)
        return fixed(
            dist.Normal(jnp.asarray(mean, jnp.float32), jnp.asarray(sd, jnp.float32)), context
        )

    def coverage(self, context: GeneContext) -> dict[str, Any]:
        """Count edges of the graph between the genes."""
        strength = self._strength(context)
        return {
            "edges of the graph between the genes": int((strength > 0).sum()),
            "pairs in all": strength.size,
            "regulators with an edge": f"{(strength > 0).any(1).sum()} of {len(context.rows)}",
        }

    def _strength(self, context: GeneContext) -> np.ndarray:
        strength = np.abs(np.nan_to_num(self._matrix(context, "weight")))
        largest = strength.max()
        return strength / largest if largest > 0 else strength

    def _matrix(self, context: GeneContext, column: str) -> np.ndarray:
        if column == "sign" and "sign" not in self.graph:
            return np.zeros(context.shape)
        value = column if column in self.graph else None
        out = pair_matrix(self.graph, context, value, "graph", allow_none=not self.directed)
        if self.directed:
            return out
        back = self.graph.rename(columns={"source": "target", "target": "source"})
        reverse = pair_matrix(back, context, value, "graph", allow_none=True)
        if np.isnan(out).all() and np.isnan(reverse).all():
            pair_matrix(self.graph, context, value, "graph")
        return np.where(np.isnan(out), reverse, out)
