"""A prior on the existence of edges that learns from labels and speaks of unlabelled genes too."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
from jax import lax
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Int

from infosem_jax._typing import Orthologues
from infosem_jax.data.io import Embedding
from infosem_jax.grn.priors.arithmetic import Arithmetic
from infosem_jax.grn.priors.binding import (
    BoundPrior,
    GeneContext,
    for_edges,
    log_odds,
    pair_labels,
    pair_matrix,
    positive,
)
from infosem_jax.grn.priors.embedded import embedding_coverage, unit_vectors_of


@dataclass(frozen=True)
class LearnedEdges(Arithmetic):
    """Labelled pairs teach which genes regulate, are regulated, and by whom.

    ``logit[i, j] ~ Normal(m[i, j], scale)`` and each label is a Bernoulli draw with log-odds
    ``m[i, j] = c + r_i + t_j + u_i . v_j + a(h_i) + b(h_j) + f(h_i) . g(h_j) + w . s[i, j]``:
    a table of regulators (r) and targets (t), which is all that labels of seen genes need; factors
    (u, v); two small networks of the genes' embeddings, ``tanh(h P) Q`` with Q giving a (or b) and
    f (or g), which carry what was learned to genes without a label; and features s of the pair.
    Every one of these has a normal prior around 0, so that the table gives way to the networks
    where a gene has few labels. In the papers' words this is InfoSEM-C with labels as observations
    of the gate; its form and sizes are choices made here, and settings, whose defaults were chosen
    on the transcription factors of BEELINE's mHSC-E, which no benchmark here reports.

    Parameters
    ----------
    table
        Columns source, target and label (1 or 0); without labels, all pairs not named are absent.
    embedding
        Vectors with gene names; None leaves a, b, f and g out.
    pairs
        Features of pairs by name: tables with regulators as index and targets as columns. They are
        brought to mean 0 and variance 1; pairs that they lack count as average.
    scale
        Standard deviation of the log-odds in this data set around m.
    gene_scale, factor_scale, pair_scale
        Of r and t; of u and v; of w.
    rank
        Number of factors; 0 leaves them out.
    hidden, roles
        Width of the networks and number of features that f and g give.
    weight_scale, role_scale
        Of the entries of P and of Q.
    feedback
        Whether expression may move m as well. Without it (a cut) labels alone teach m, and
        expression moves the log-odds of this data set around it: with hundreds of thousands of
        pairs that no label speaks of, feedback holds m back where the fit starts.
    ignore_case, orthologues
        How gene names are matched to the embedding, see `infosem_jax.data.align_embedding`.
    """

    table: pd.DataFrame = field(compare=False, repr=False)
    embedding: Embedding | None = field(default=None, compare=False, repr=False)
    pairs: Mapping[str, pd.DataFrame] = field(default_factory=dict, compare=False, repr=False)
    scale: float = 0.5
    gene_scale: float = 1.0
    factor_scale: float = 0.5
    pair_scale: float = 0.3
    rank: int = 1
    hidden: int = 32
    roles: int = 4
    weight_scale: float = 0.05
    role_scale: float = 0.3
    feedback: bool = False
    ignore_case: bool = False
    orthologues: Orthologues | None = field(default=None, compare=False, repr=False)

    def bind(self, context: GeneContext) -> BoundPrior:
        """Align labels, vectors and features of pairs to the genes."""
        for_edges(self, context)
        for name in ("rank", "hidden", "roles"):
            if getattr(self, name) < (name == "hidden"):
                raise ValueError(
                    f"LearnedEdges: expected {name} of at least {int(name == 'hidden')}, found "
                    f"{getattr(self, name)}."
                )
        present, absent = self._labels(context)
        labelled = present | absent
        if not 0 < present.sum() < labelled.sum():
            raise ValueError(
                f"Known edges: expected labels 1 and 0, found {present.sum()} present and "
                f"{absent.sum()} absent between genes of the data."
            )
        of_parts = ("gene_scale", "factor_scale", "pair_scale", "weight_scale", "role_scale")
        at = {gene: i for i, gene in enumerate(context.genes)}
        return BoundPrior(
            Partial(
                _distribution(self.rank, self.hidden, self.roles, self.feedback),
                self._vectors(context),
                jnp.array([at[row] for row in context.rows]),
                jnp.asarray(self._features(context), jnp.float32),
                jnp.asarray(present),
                jnp.asarray(labelled),
                jnp.float32(log_odds(present.sum() / labelled.sum())),
                {name: jnp.float32(positive(self, name)) for name in ("scale", *of_parts)},
            )
        )

    def coverage(self, context: GeneContext) -> dict[str, Any]:
        """Count labelled pairs, and genes with an embedding."""
        present, absent = self._labels(context)
        report = {
            "pairs labelled present": int(present.sum()),
            "pairs labelled absent": int(absent.sum()),
            "pairs in all": int(np.prod(context.shape)),
            "regulators with a label": f"{(present | absent).any(1).sum()} of {len(context.rows)}",
        }
        return report if self.embedding is None else report | embedding_coverage(self, context)

    def _labels(
        self, context: GeneContext
    ) -> tuple[Bool[np.ndarray, "rows genes"], Bool[np.ndarray, "rows genes"]]:
        other = np.asarray(context.rows)[:, None] != np.asarray(context.genes)
        present, absent = (part & other for part in pair_labels(self.table, context))
        return present, absent if "label" in self.table else other & ~present

    def _vectors(self, context: GeneContext) -> Float[Array, "genes features"]:
        if self.embedding is None:
            return jnp.zeros((len(context.genes), 0))
        return jnp.asarray(unit_vectors_of(self, context.genes)[0])

    def _features(self, context: GeneContext) -> Float[np.ndarray, "features rows genes"]:
        out = np.zeros((len(self.pairs), *context.shape))
        for k, (name, table) in enumerate(sorted(self.pairs.items())):
            long = table.rename_axis("source").reset_index().melt("source", var_name="target")
            values = pair_matrix(long, context, "value", name)
            values[np.asarray(context.rows)[:, None] == np.asarray(context.genes)] = np.nan
            if np.isinf(values).any():
                i, j = np.argwhere(np.isinf(values))[0]
                raise ValueError(
                    f"{name}: expected finite numbers or NaN as features of pairs, found "
                    f"{values[i, j]} for {context.rows[i]} -> {context.genes[j]}."
                )
            known = ~np.isnan(values)
            spread = values[known].std() or 1.0
            out[k][known] = (values[known] - values[known].mean()) / spread
        return out


@functools.cache
def _distribution(rank: int, hidden: int, roles: int, feedback: bool) -> Callable:
    """One function per size, so that equal settings are one compilation."""

    def distribution(
        H: Float[Array, "genes features"],
        rows: Int[Array, " rows"],
        pairs: Float[Array, "pairs rows genes"],
        present: Bool[Array, "rows genes"],
        labelled: Bool[Array, "rows genes"],
        base: Float[Array, ""],
        scales: dict[str, Array],
    ) -> dist.Distribution:
        n_rows, n_genes = labelled.shape
        mean: Any = numpyro.sample("intercept", dist.Normal(base, 1.0))
        mean = mean + _sample("regulator", scales["gene_scale"], n_rows)[:, None]
        mean = mean + _sample("target", scales["gene_scale"], n_genes)[None]
        if rank:
            u = _sample("regulator_factor", scales["factor_scale"], n_rows, rank)
            v = _sample("target_factor", scales["factor_scale"], n_genes, rank)
            mean = mean + u @ v.T
        if H.shape[1]:
            P, Q = (
                (
                    _sample(f"{role}_weight", scales["weight_scale"], H.shape[1], hidden),
                    _sample(f"{role}_role", scales["role_scale"], hidden, 1 + roles),
                )
                for role in ("regulator", "target")
            )
            regulator = jnp.tanh(H[rows] @ P[0]) @ P[1]
            target = jnp.tanh(H @ Q[0]) @ Q[1]
            mean = mean + regulator[:, :1] + target[:, :1].T + regulator[:, 1:] @ target[:, 1:].T
        if len(pairs):
            w = _sample("pair_weight", scales["pair_scale"], len(pairs))
            mean = mean + jnp.tensordot(w, pairs, 1)
        labels = dist.Bernoulli(logits=mean).mask(labelled).to_event(2)
        numpyro.sample("known_edges", labels, obs=present.astype(mean.dtype))
        if not feedback:
            mean = lax.stop_gradient(mean)
        return dist.Normal(mean, scales["scale"]).to_event(2)

    return distribution


def _sample(name: str, scale: Float[Array, ""], *shape: int) -> Any:
    return numpyro.sample(name, dist.Normal(0.0, scale).expand(shape).to_event(len(shape)))
