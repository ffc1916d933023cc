"""Priors that are functions of what was measured of each gene: `GeneCovariates`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pandas as pd
from jaxtyping import Array, Float

from infosem_jax.grn.priors.arithmetic import Arithmetic
from infosem_jax.grn.priors.binding import BoundPrior, GeneContext, bind_function


@dataclass(frozen=True)
class GeneCovariates(Arithmetic):
    """A function of covariates of the genes, such as their length or expression elsewhere.

    ``function(context, rows, genes)`` returns a distribution, as any prior function does. ``rows``
    and ``genes`` hold the covariates by name, an array each, [rows] and [genes], in the order of
    ``context.rows`` and ``context.genes``. They are arguments of the compiled program: another
    table of the same columns, such as a shuffled control, is not compiled again. Covariates of
    cells are taken out of expression instead, see `infosem_jax.grn.fit`.

    Parameters
    ----------
    function
        What returns the distribution; it may declare parameters and sample sites.
    table
        A row for each gene, with its name as index, and a column of numbers for each covariate.
    """

    function: Callable[..., dist.Distribution]
    table: pd.DataFrame = field(compare=False, repr=False)

    def bind(self, context: GeneContext) -> BoundPrior:
        """Bring the covariates to the order of the genes.

        Raises
        ------
        ValueError
            If a gene has no row or two, or a column is not of finite numbers.
        """
        given = (self._aligned(names) for names in (context.rows, context.genes))
        return bind_function(self.function, context, *given)

    def coverage(self, context: GeneContext) -> dict[str, Any]:
        """Name the covariates."""
        return {"covariates of genes": ", ".join(map(str, self.table))}

    def _aligned(self, names: tuple[str, ...]) -> dict[str, Float[Array, " names"]]:
        twice = self.table.index[self.table.index.duplicated()]
        if len(twice):
            raise ValueError(
                f"GeneCovariates: expected one row for each gene, found more for {twice[0]}."
            )
        lacking = [name for name in names if name not in self.table.index]
        if lacking:
            raise ValueError(
                f"GeneCovariates: expected a row for each of {len(names)} genes, found none for "
                f"{len(lacking)} ({', '.join(lacking[:3])}, ...); the index is "
                f"{', '.join(map(str, self.table.index[:3]))}, .... Give genes that nothing is "
                "known of a value that says nothing; covariates of cells go to grn.fit(data, "
                "covariates=table)."
            )
        found = {}
        for column, values in self.table.loc[list(names)].items():
            numbers = np.asarray(pd.to_numeric(values, errors="coerce"), np.float32)
            wrong = np.flatnonzero(~np.isfinite(numbers))
            if len(wrong):
                raise ValueError(
                    f"GeneCovariates: expected finite numbers in column {column!r}, found "
                    f"{values.iloc[wrong[0]]} for {names[wrong[0]]}."
                )
            found[str(column)] = jnp.asarray(numbers)
        return found
