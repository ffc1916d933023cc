"""The result of a fit as a regulatory network: ranked edges with their uncertainty, in the formats of the field."""

from typing import NamedTuple

from jaxtyping import Float

from infosem_jax._typing import Array


class Network(NamedTuple):
    """Posterior summary of every candidate edge, over the seeds of a fit.

    Attributes
    ----------
    regulators, genes
        Names of the rows and columns.
    weight
        Mean effect over seeds and posterior, [regulators, genes]; zero from a gene to itself.
    sd
        Standard deviation of the effect, [regulators, genes]: within the posterior and across seeds,
        ``sqrt(mean(sd_seed^2) + var(mean_seed))``.
    sign_agreement
        Posterior share, over seeds, of the sign of ``weight``, [regulators, genes], in [0, 1].
    probability
        Mean gate probability, [regulators, genes]; None where the model has no gate.
    name
        What the data were called.
    """

    regulators: tuple[str, ...]
    genes: tuple[str, ...]
    weight: Float[Array, "regulators genes"]
    sd: Float[Array, "regulators genes"]
    sign_agreement: Float[Array, "regulators genes"]
    probability: Float[Array, "regulators genes"] | None = None
    name: str = "data"
