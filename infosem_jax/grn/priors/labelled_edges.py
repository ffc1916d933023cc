"""A prior on the existence of edges that learns from labels what else to believe, and how far."""

import logging
from dataclasses import dataclass, field, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pandas as pd
from jaxtyping import Float

from infosem_jax._typing import Orthologues
from infosem_jax.data.io import Embedding
from infosem_jax.data.text_vectors import text_vectors
from infosem_jax.grn.priors import label_parts
from infosem_jax.grn.priors.arithmetic import Arithmetic
from infosem_jax.grn.priors.binding import (
    BoundPrior,
    GeneContext,
    fixed,
    log_odds,
    pair_labels,
    positive,
)
from infosem_jax.grn.priors.embedded import embedding_coverage, vectors_of
from infosem_jax.grn.priors.known_elsewhere import align, elsewhere

log = logging.getLogger("infosem_jax")

# Directions that vectors are brought to.
FEATURES = 48
EVIDENCE = "expression"


@dataclass(frozen=True)
class LabelledEdges(Arithmetic):
    """Labelled pairs teach what tells edges from other pairs, each kind of pairs for itself.

    ``logit[i, j] ~ Normal(a_k + sum_p w_kp x_p[i, j], scale)``: parts x are what labels teach of
    rates, of genes with like texts and like expression, of factors and of shared partners (see
    ``infosem_jax.grn.priors.label_parts``); the similarity of the genes' vectors; networks of other
    cell types; and, in the exact engine, the log Bayes factor of the expression, which is what it
    is without labels (weight 1) unless labels say otherwise. The kind k of a pair is whether its
    regulator and its target have labels in that role; offset and weights w >= 0 are those that best
    foretell labelled pairs held out in the same way, by logistic regression with rates of the genes
    held out and a ridge that is learned, so that few labels leave what is known without them as it
    is; what labels teach in log-odds counts once at most. So knowledge that does not carry over to
    unknown regulators has no weight there. A pair's own label is taken to be wrong with probability
    ``error``. Form and sizes were chosen on BEELINE's mHSC-E.

    Parameters
    ----------
    table
        Columns source, target and label (1 or 0). Without labels, pairs of its regulators and
        other genes that it names are absent as far as is known.
    embedding
        Vectors with gene names, or a table of texts as for `GeneTexts`.
    networks
        Tables of other cell types, columns source and target, as for `KnownElsewhere`.
    error
        Share of labels that are wrong.
    scale
        Standard deviation of the log-odds.
    ignore_case, orthologues
        How gene names are matched to the embedding, see `infosem_jax.data.align_embedding`.
    """

    table: pd.DataFrame = field(compare=False, repr=False)
    embedding: Embedding | pd.DataFrame | None = field(default=None, compare=False, repr=False)
    networks: tuple[pd.DataFrame, ...] = field(default=(), compare=False, repr=False)
    error: float = 0.05
    scale: float = 1.0
    ignore_case: bool = False
    orthologues: Orthologues | None = field(default=None, compare=False, repr=False)

    def bind(self, context: GeneContext) -> BoundPrior:
        """Learn from the labels of pairs of the genes."""
        if context.site != "logit":
            raise ValueError(
                "LabelledEdges says whether an edge exists: use it as the edge prior, not on "
                "effects."
            )
        scale = positive(self, "scale")
        if not 0 < self.error < 0.5:
            raise ValueError(f"LabelledEdges: expected 0 < error < 0.5, found {self.error}.")
        labels = self._labels(context)
        if context.checking:
            return fixed(dist.Normal(0.0, scale), context)
        loc = self._log_odds(labels, context)
        # What is learned is the log-odds of the mean probability.
        loc = loc * np.sqrt(1 + np.pi * scale**2 / 8)
        return fixed(dist.Normal(jnp.asarray(loc, jnp.float32), scale), context)

    def coverage(self, context: GeneContext) -> dict[str, Any]:
        """Count labels, pairs by what is labelled of their genes, and what else is known."""
        labels = self._labels(context)
        asked = label_parts.kinds(~np.isnan(labels))
        names = ("pairs of known genes", "of unknown targets", "of unknown regulators", "of both")
        report = {
            "pairs labelled present": int((labels == 1).sum()),
            "pairs labelled absent": int((labels == 0).sum()),
            "regulators with a label": f"{asked['pairs'].any(1).sum()} of {len(context.rows)}",
            **{name: int(mask.sum()) for name, mask in zip(names, asked.values(), strict=True)},
            "other networks": len(self.networks),
        }
        if self.embedding is None:
            return report
        return report | embedding_coverage(self._with_vectors(context), context)

    def _with_vectors(self, context: GeneContext) -> Any:
        if not isinstance(self.embedding, pd.DataFrame):
            return self
        return replace(self, embedding=text_vectors(context.genes, self.embedding))

    def _labels(self, context: GeneContext) -> Float[np.ndarray, "rows genes"]:
        """Lay labels out: 1 and 0, NaN where there is none."""
        present, absent = pair_labels(self.table, context)
        if "label" not in self.table:
            genes = np.asarray(context.genes)
            named = np.isin(genes, self.table["source"]) | np.isin(genes, self.table["target"])
            absent = present.any(1, keepdims=True) & named & ~present
        labels = np.select([present, absent], [1.0, 0.0], np.nan)
        labels[np.asarray(context.rows)[:, None] == np.asarray(context.genes)] = np.nan
        if not (labels == 1).any() or not (labels == 0).any():
            raise ValueError(
                f"Known edges: expected labels 1 and 0, found {(labels == 1).sum()} present and "
                f"{(labels == 0).sum()} absent between genes of the data."
            )
        return labels

    def _log_odds(
        self, labels: Float[np.ndarray, "rows genes"], context: GeneContext
    ) -> Float[np.ndarray, "rows genes"]:
        # Folds, and so weights, are the same in every order of the genes.
        rows, genes = (np.argsort(names) for names in (context.rows, context.genes))
        names = np.asarray(context.genes)[genes].tolist()
        regulators = np.asarray(context.rows)[rows].tolist()
        at = pd.Index(names).get_indexer(pd.Index(regulators))
        vectors, pairs = {}, {}
        if self.embedding is not None:
            vectors["texts"] = _directions(vectors_of(self._with_vectors(context), tuple(names))[0])
            pairs["similarity"] = vectors["texts"][at] @ vectors["texts"].T
        if self.networks:
            others = [align(table, names) for table in self.networks]
            told = elsewhere(others, regulators, names)
            pairs |= {"popularity elsewhere": told.popularity, "own edges elsewhere": told.own}
        if context.expression is not None:
            vectors["expression"] = _directions(context.expression.vectors()[genes])
            pairs[EVIDENCE] = context.expression.evidence()[np.ix_(rows, genes)]
        found = label_parts.learn(labels[np.ix_(rows, genes)], at, vectors, pairs, EVIDENCE)
        for kind, weights in found.weights.items():
            said = [f"{name} {w:.2f}" for name, w in weights.items() if w >= 0.005]
            log.debug("labels, %s: %s", kind, ", ".join(said) or "nothing carries over")
        out = np.empty(labels.shape)
        out[np.ix_(rows, genes)] = found.log_odds
        if context.expression is not None:
            # The engine adds this to what the prior says.
            out -= context.expression.evidence()
        own = float(log_odds(1 - self.error))
        stated = "label" in self.table
        return out + np.select([labels == 1, labels == 0], [own, -own * stated], 0.0)


def _directions(
    vectors: Float[np.ndarray, "genes features"],
) -> Float[np.ndarray, "genes directions"]:
    """Bring vectors to their main directions, and to length one; those of zeros stay."""
    left, size, _ = np.linalg.svd(vectors.astype(np.float64), full_matrices=False)
    short = (left * size)[:, :FEATURES]
    length = np.linalg.norm(short, axis=1, keepdims=True)
    return np.divide(short, length, out=np.zeros_like(short), where=length > 1e-9)
