"""A prior on the existence of edges from the networks of other cell types or species."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pandas as pd
from jaxtyping import Bool, Float

from infosem_jax._typing import Names
from infosem_jax.data._species import human_symbols
from infosem_jax.grn.priors.arithmetic import Arithmetic
from infosem_jax.grn.priors.binding import (
    BoundPrior,
    GeneContext,
    fixed,
    log_odds,
    pair_labels,
    positive,
)

# Factors that a target's average number of factors counts as, where few are known.
AVERAGE = 2.0
# What the networks of BEELINE's hESC, hHEP, mDC and mESC were found to be worth on mHSC-E.
TRUST = (0.4, 1.4)
# Of popularity and of own edges over pairs, where they are known.
SPREAD = (0.75, 0.2)
# Networks that foretell each other less than this count for less.
FAINT = 0.05


class Elsewhere(NamedTuple):
    """What other networks say of pairs.

    Attributes
    ----------
    popularity
        Log-odds that a regulator's target is one of other regulators, less the mean over targets;
        mean over networks, 0 where none names the target, [rows, genes].
    own
        What is known of the regulator's own edges, 1 or 0 less what popularity has it expect; mean
        over the networks that have edges of it, else 0, [rows, genes].
    """

    popularity: Float[np.ndarray, "rows genes"]
    own: Float[np.ndarray, "rows genes"]


@dataclass(frozen=True)
class KnownElsewhere(Arithmetic):
    """Edges are expected where networks of other cell types have them, or popular targets.

    ``logit[i, j] ~ Normal(c + d[i, j], scale)`` with
    ``d = strength (a p + b o) / (0.75 a + 0.2 b + 0.05)``: p is the popularity of the target among
    other regulators and o the regulator's own edges, both elsewhere (see ``Elsewhere``), which
    usually spread by 0.75 and 0.2, so that d spreads by about ``strength`` where own edges are
    known and by less where they are not. The trust a and b is learned by logistic regression of
    labels less their mean over a regulator's pairs: from labels of this cell type (``known``) where
    they are of both kinds, else from how the networks foretell each other, and is at least 0; a
    single network is trusted as four BEELINE cell types proved right for mHSC-E, on which
    ``strength`` was chosen as well. Genes of human and mouse are matched by orthologue, symbol in
    any case, alias and identifier; others by name.

    Parameters
    ----------
    networks
        Tables of other cell types, columns source and target; rows labelled 0 are no edges.
    known
        Labels of this cell type, columns source, target and label.
    edges
        Share of pairs that are edges; None takes that of the networks.
    strength
        How far d spreads over pairs, in log-odds, where networks foretell each other.
    scale
        Standard deviation of the log-odds.
    """

    networks: tuple[pd.DataFrame, ...] = field(compare=False, repr=False)
    known: pd.DataFrame | None = field(default=None, compare=False, repr=False)
    edges: float | None = None
    strength: float = 2.0
    scale: float = 1.0

    def bind(self, context: GeneContext) -> BoundPrior:
        """Align the networks to the pairs of genes, and learn what to make of them."""
        if context.site != "logit":
            raise ValueError(
                "KnownElsewhere says whether an edge exists: use it as the edge prior, not on "
                "effects."
            )
        if self.edges is not None and not 0 < self.edges < 1:
            raise ValueError(f"KnownElsewhere: expected 0 < edges < 1, found {self.edges}.")
        others = self._aligned(context.genes)
        told = elsewhere(others, context.rows, context.genes)
        a, b = self._trust(others, context)
        share = self.edges or float(np.mean([each.density for each in others]))
        shift = (a * told.popularity + b * told.own) / (a * SPREAD[0] + b * SPREAD[1] + FAINT)
        loc = log_odds(np.clip(share, 0.001, 0.999)) + positive(self, "strength") * shift
        prior = dist.Normal(jnp.asarray(loc, jnp.float32), positive(self, "scale"))
        return fixed(prior, context)

    def coverage(self, context: GeneContext) -> dict[str, Any]:
        """Count what other networks know, and tell how far they are trusted."""
        others = self._aligned(context.genes)
        known = np.any([each.named for each in others], axis=0)
        of = {row for each in others for row in each.regulators}
        a, b = self._trust(others, context)
        return {
            "other networks": len(others),
            "targets they know": f"{known.sum()} of {len(context.genes)}",
            "regulators with edges there": f"{len(of.intersection(context.rows))} of "
            f"{len(context.rows)}",
            "trust in popularity": round(a, 3),
            "trust in own edges": round(b, 3),
        }

    def _trust(self, others: "Sequence[Aligned]", context: GeneContext) -> tuple[float, float]:
        """Learn what popularity and own edges elsewhere count."""
        if self.known is not None:
            present, absent = pair_labels(self.known, context)
            if present.sum() > 0 and absent.sum() > 0:
                told = elsewhere(others, context.rows, context.genes)
                return _learned([(told, present, present | absent)])
        examples = []
        for i, each in enumerate(others):
            rest = [*others[:i], *others[i + 1 :]]
            if rest and each.regulators:
                told = elsewhere(rest, each.regulators, context.genes)
                places = np.asarray(context.genes) != np.asarray(each.regulators)[:, None]
                examples.append((told, each.edges, each.named & places))
        return _learned(examples) if examples else TRUST

    def _aligned(self, genes: Names) -> "list[Aligned]":
        if not self.networks:
            raise ValueError("KnownElsewhere: expected at least one network, found none.")
        found = [align(table, genes) for table in self.networks]
        found = [each for each in found if each.regulators]
        if not found:
            table = self.networks[0]
            raise ValueError(
                "KnownElsewhere: no edge of the other networks is on a gene of the data; genes "
                f"look like {', '.join(list(genes)[:3])}, theirs like "
                f"{', '.join(map(str, table['source'][:3]))}."
            )
        return found


class Aligned(NamedTuple):
    """A network on the genes of the data.

    Attributes
    ----------
    regulators
        Its regulators by the names of the data; they need not be among their genes.
    edges
        Which pairs are edges, [regulators, genes].
    named
        Which genes it names.
    density
        Share of edges among the pairs of its regulators and the genes that it names.
    """

    regulators: tuple[str, ...]
    edges: Bool[np.ndarray, "regulators genes"]
    named: Bool[np.ndarray, " genes"]
    density: float


def elsewhere(others: Sequence[Aligned], rows: Names, genes: Names) -> Elsewhere:
    """Sum up what aligned networks say of the pairs of some rows with all genes.

    Parameters
    ----------
    others
        The networks.
    rows, genes
        Names of regulators and of targets.
    """
    popularity, own = (np.zeros((len(rows), len(genes))) for _ in range(2))
    known, of_own = np.zeros(len(genes)), np.zeros(len(rows))
    for each in others:
        at = {name: i for i, name in enumerate(each.regulators)}
        has = np.array([row in at for row in rows])
        edges = np.zeros((len(rows), len(genes)))
        edges[has] = each.edges[[at[row] for row in rows if row in at]]
        # A regulator's own edges say nothing of what others have in common with it.
        count = each.edges.sum(0) - edges
        factors = len(each.regulators) - has[:, None]
        mean = np.clip(each.density, 1e-3, 1 - 1e-3)
        rate = np.asarray(log_odds((count + AVERAGE * mean) / (factors + AVERAGE)))
        named = each.named
        rate = np.where(named, rate - rate[:, named].mean(1, keepdims=True), 0.0)
        share = np.clip(edges[:, named].mean(1, keepdims=True), 0.01, 0.99)
        expected = 1 / (1 + np.exp(-(rate + log_odds(share))))
        popularity += rate
        known += named
        own += np.where(has[:, None] & named, edges - expected, 0.0)
        of_own += has
    return Elsewhere(popularity / np.maximum(known, 1), own / np.maximum(of_own, 1)[:, None])


def align(table: pd.DataFrame, genes: Names) -> Aligned:
    """Bring a network to the genes of the data: by orthologue, symbol, alias and identifier.

    Parameters
    ----------
    table
        Columns source and target; rows labelled 0 are no edges.
    genes
        Genes of the data.

    Raises
    ------
    ValueError
        If columns are missing.
    """
    missing = {"source", "target"} - set(table.columns)
    if missing:
        raise ValueError(
            f"KnownElsewhere: expected columns source and target, found {', '.join(table)}."
        )
    present = np.asarray(table["label"]) > 0 if "label" in table else np.ones(len(table), bool)
    ends = [pd.factorize(table[column].astype(str)) for column in ("source", "target")]
    names = sorted({str(name) for _, known in ends for name in known})
    human = human_symbols(list(genes))
    theirs = human_symbols(names) if human else {}
    at = {str(human.get(gene, gene)): i for i, gene in reversed([*enumerate(genes)])}
    place = {name: at.get(theirs.get(name, name), -1) for name in names}
    # Regulators are called as the data call them, where these have them.
    called = {name: genes[i] if i >= 0 else theirs.get(name, name) for name, i in place.items()}
    named = np.zeros(len(genes), bool)
    named[[i for i in place.values() if i >= 0]] = True
    (source, of_source), (target, of_target) = ends
    column = np.array([place[name] for name in of_target], int)[target]
    regulator = np.array([called[name] for name in of_source], object)[source]
    kept = present & (column >= 0)
    kept[kept] = np.asarray(genes, object)[column[kept]] != regulator[kept]
    regulators = tuple(sorted(set(regulator[kept])))
    edges = np.zeros((len(regulators), len(genes)), bool)
    edges[pd.Index(regulators).get_indexer(pd.Index(regulator[kept])), column[kept]] = True
    density = float(edges[:, named].mean()) if regulators else 0.0
    return Aligned(regulators, edges, named, density)


def _learned(
    examples: Sequence[tuple[Elsewhere, np.ndarray, np.ndarray]],
) -> tuple[float, float]:
    """Regress labels on what is known elsewhere, both less their mean over a regulator's pairs."""
    from sklearn.linear_model import LogisticRegression

    x, y, weight = [], [], []
    for told, present, labelled in examples:
        for row in np.flatnonzero(labelled.any(1)):
            at = labelled[row]
            hit = present[row, at]
            if 0 < hit.sum() < len(hit):
                part = np.stack([told.popularity[row, at], told.own[row, at]], 1)
                x.append(part - part.mean(0))
                y.append(hit)
                weight.append(np.full(len(hit), 1 / max(len(examples), 1)))
    if not x:
        return TRUST
    model = LogisticRegression(C=1.0)
    model.fit(np.concatenate(x), np.concatenate(y), sample_weight=np.concatenate(weight))
    a, b = np.maximum(model.coef_[0], 0.0)
    return float(a), float(b)
