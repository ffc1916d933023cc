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
from infosem_jax.grn.priors.arithmetic import LearnedStrength as LearnedStrength
from infosem_jax.grn.priors.arithmetic import Sum as Sum
from infosem_jax.grn.priors.arithmetic import Weakened as Weakened
from infosem_jax.grn.priors.arithmetic import learned_strength as learned_strength
from infosem_jax.grn.priors.arithmetic import scan as scan
from infosem_jax.grn.priors.binding import Bindable as Bindable
from infosem_jax.grn.priors.binding import BoundPrior as BoundPrior
from infosem_jax.grn.priors.binding import GeneContext as GeneContext
from infosem_jax.grn.priors.binding import Prior as Prior
from infosem_jax.grn.priors.binding import bind as bind
from infosem_jax.grn.priors.binding import coverage as coverage
from infosem_jax.grn.priors.binding import fixed, log_odds, pair_labels, positive
from infosem_jax.grn.priors.binding import pair_matrix as pair_matrix
from infosem_jax.grn.priors.embedded import shuffled as shuffled
from infosem_jax.grn.priors.graph_smooth import GraphSmooth as GraphSmooth
from infosem_jax.grn.priors.learned_edges import LearnedEdges as LearnedEdges
from infosem_jax.grn.priors.mixture import Mixture as Mixture
from infosem_jax.grn.priors.mixture import learned as learned
from infosem_jax.grn.priors.relabelled import Relabelled as Relabelled
from infosem_jax.grn.priors.shrinkage import GeneScales as GeneScales
from infosem_jax.grn.priors.shrinkage import RegularisedHorseshoe as RegularisedHorseshoe
from infosem_jax.grn.priors.shrinkage import RelaxedGate as RelaxedGate
from infosem_jax.grn.priors.signed import OtherNetwork as OtherNetwork
from infosem_jax.grn.priors.signed import SignedEdges as SignedEdges
from infosem_jax.grn.priors.similarity import GeneSimilarity as GeneSimilarity


@dataclass(frozen=True)
class KnownEdges(Arithmetic):
    """InfoSEM-C: labelled pairs shift the log-odds that an edge exists.

    As a prior, ``logit ~ Normal(mu(label), scale)``, ``sigmoid(mu)`` = present, absent or unknown.
    As an observation (``observe=True``), ``logit ~ Normal(mu(unknown), scale)`` and each label is a
    Bernoulli draw of its gate. That labels inform the logits is known from the paper; the means and
    the scale are choices made here, and settings.

    Parameters
    ----------
    table
        Columns source, target and, where absences are known too, label (1 or 0).
    present, absent
        Probability of an edge labelled present or absent.
    unknown
        Probability of an unlabelled one; None takes the share of present labels among the labelled
        pairs, or among all pairs where the table holds only present ones.
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
        if context.site != "logit":
            raise ValueError(
                "KnownEdges says whether an edge exists: use it as the edge prior, not on effects."
            )
        for name in ("present", "absent", "unknown"):
            p = getattr(self, name)
            if p is not None and not 0 < p < 1:
                raise ValueError(f"KnownEdges: expected 0 < {name} < 1, found {p}.")
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
