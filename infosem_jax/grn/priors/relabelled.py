"""The control of any prior: the same knowledge with the names of genes permuted."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpyro.distributions as dist

from infosem_jax.grn.priors.arithmetic import Arithmetic
from infosem_jax.grn.priors.binding import BoundPrior, GeneContext, bind, coverage


@dataclass(frozen=True)
class Relabelled(Arithmetic):
    """A prior under permuted names of genes, the shuffled-gene control of any prior.

    What the prior knows of one gene bears on another; how much it knows, and in what pattern, stays
    as it is. No gene keeps its name.

    Parameters
    ----------
    prior
        Any prior that knows genes by name, user-written functions included.
    seed
        Seed of the permutation.
    among
        Genes that swap names among themselves, as all others do; None takes those with rows. Where
        every gene has a row, give the regulators: otherwise tables of their edges would concern
        genes that are no candidates.
    """

    prior: Any
    seed: int = 0
    among: tuple[str, ...] | None = None

    def bind(self, context: GeneContext) -> BoundPrior:
        """Align the prior to the genes by their new names."""
        if isinstance(self.prior, dist.Distribution) and self.prior.shape():
            raise ValueError(
                "Relabelled: expected a prior that knows genes by name, found a distribution over "
                f"{list(self.prior.shape())}; write a function of the gene context that returns it."
            )
        return bind(self.prior, self.permuted(context))

    def coverage(self, context: GeneContext) -> dict[str, Any]:
        """Return what the prior covers under the new names."""
        return coverage(self.prior, self.permuted(context))

    def permuted(self, context: GeneContext) -> GeneContext:
        """Return the context in which genes have each other's names."""
        chosen = set(context.rows if self.among is None else self.among)
        if not chosen & set(context.genes):
            raise ValueError(
                "Relabelled: expected genes of the data among which to permute names, found none "
                f"of the {len(chosen)}; check symbols, species and case."
            )
        rng = np.random.default_rng(self.seed)
        name = {}
        for inside in (True, False):
            order = rng.permutation(sorted(g for g in context.genes if (g in chosen) == inside))
            # One cycle through all of them, so that no gene gets its own name.
            name |= zip(order.tolist(), np.roll(order, 1).tolist(), strict=True)
        genes, rows = (tuple(name[gene] for gene in old) for old in (context.genes, context.rows))
        return replace(context, genes=genes, rows=rows)
