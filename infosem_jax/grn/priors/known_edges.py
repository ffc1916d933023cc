"""Labelled pairs as prior of the existence of edges: InfoSEM-C."""

from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
from jax.tree_util import Partial
from jaxtyping import Array

from infosem_jax.grn.priors.arithmetic import Arithmetic
from infosem_jax.grn.priors.binding import (
    BoundPrior,
    GeneContext,
    fixed,
    for_edges,
    log_odds,
    pair_labels,
    positive,
    share,
)


@dataclass(frozen=True)
class KnownEdges(Arithmetic):
    """InfoSEM-C: labelled pairs shift the log-odds that an edge exists.

    As a prior, ``logit ~ Normal(mu(label), scale)``, ``sigmoid(mu)`` = present, absent or unknown.
    As an observation (``observe=True``), ``logit ~ Normal(mu(unknown), scale)`` and each label is a
    Bernoulli draw of its gate. That labels inform the logits is known from the paper; the means and
    the scale are choices made here, and settings. In the exact engine labels also show how fast
    probabilities of all pairs rise with what the expression says of them.

    Parameters
    ----------
    table
        Columns source, target and, where absences are known too, label (1 or 0).
    present, absent
        Probability of an edge labelled present or absent.
    unknown
        Probability of an unlabelled one; None takes the share of present labels among the labelled
        pairs, or among all pairs where the table holds only present ones. Probabilities of the
        exact engine take from the expression too how many edges there are; where the table holds
        only present ones, they start from as many as without it, or from more.
    scale
        Standard deviation of the log-odds.
    observe
        Whether labels are observations of the gate instead of prior means.
    """

    table: pd.DataFrame = field(compare=False, repr=False)
    present: float = 0.95
    absent: float = 0.05
    unknown: float | None = None
    scale: float = 1.0
    observe: bool = False

    def bind(self, context: GeneContext) -> BoundPrior:
        """Align the labels to the pairs of genes."""
        for_edges(self, context)
        for name in ("present", "absent", *([] if self.unknown is None else ["unknown"])):
            share(self, name)
        present, absent = pair_labels(self.table, context)
        unknown = log_odds(np.float64(self._unknown(present, absent)))
        scale = positive(self, "scale")
        if self.observe:
            prior = dist.Normal(jnp.full(context.shape, unknown, jnp.float32), scale)
            observe = Partial(_observe_gate, jnp.asarray(present), jnp.asarray(present | absent))
            return fixed(prior, context)._replace(observe=observe)
        loc = np.select([present, absent], [log_odds(self.present), log_odds(self.absent)], unknown)
        return fixed(dist.Normal(jnp.asarray(loc, jnp.float32), scale), context)

    def coverage(self, context: GeneContext) -> dict[str, Any]:
        """Count labelled pairs."""
        present, absent = pair_labels(self.table, context)
        rows = (present | absent).any(1).sum()
        return {
            "pairs labelled present": int(present.sum()),
            "pairs labelled absent": int(absent.sum()),
            "pairs in all": int(np.prod(context.shape)),
            "regulators with a label": f"{rows} of {len(context.rows)}",
            "probability of an unlabelled pair": round(self._unknown(present, absent), 4),
        }

    def _unknown(self, present: np.ndarray, absent: np.ndarray) -> float:
        if self.unknown is not None:
            return self.unknown
        n = (present | absent).sum() if absent.any() else present.size
        return float(np.clip(present.sum() / n, 0.01, 0.99))


def _observe_gate(present: Array, labelled: Array, logit: Array) -> None:
    gate = dist.Bernoulli(logits=logit).mask(labelled).to_event(2)
    numpyro.sample("known_edges", gate, obs=present.astype(logit.dtype))
