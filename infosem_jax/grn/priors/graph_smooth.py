"""A prior on effects that expects neighbours in a knowledge graph to act, or be acted on, alike."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pandas as pd
import scipy.sparse as sp
from jax import random
from jax.scipy.sparse.linalg import cg
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int
from numpyro.distributions import constraints
from scipy.sparse.linalg import splu

from infosem_jax.grn.priors.arithmetic import Arithmetic
from infosem_jax.grn.priors.binding import BoundPrior, GeneContext, fixed, positive

Over = Literal["targets", "regulators", "both"]


class Links(NamedTuple):
    """Undirected edges of a graph, and what they do to a density.

    Attributes
    ----------
    one, other
        The two ends, [links].
    weight
        Strength times the edge's weight, [links].
    log_determinant
        Of I + L, where ``x^T L x = sum(weight * (x[one] - x[other])^2)``.
    """

    one: Int[Array, " links"]
    other: Int[Array, " links"]
    weight: Float[Array, " links"]
    log_determinant: Float[Array, ""]


@dataclass(frozen=True)
class GraphSmooth(Arithmetic):
    """Genes that are neighbours in a graph are acted on alike, or act alike.

    Over targets, each row of the effects is ``Normal(0, scale^2 (I + strength L)^-1)`` with L the
    Laplacian of the graph, its weights divided by the mean degree; over regulators, each column is.
    Over both, the covariance is the product of the two. Genes without neighbours have
    ``Normal(0, scale)``; those with many are held most tightly. Costs rows times edges a step.

    The exact engine centres effects on a target on those on its neighbours, as they are by the
    cells alone and with the weights that the Laplacian gives them; it takes ``targets`` only.

    Parameters
    ----------
    graph
        Columns source, target and optionally weight; directions and signs do not matter.
    scale
        Standard deviation of an effect on, or of, a gene without neighbours.
    strength
        How much a gene's average neighbourhood weighs against its own prior.
    over
        ``targets``, ``regulators`` (all genes with a row) or ``both``.
    """

    graph: pd.DataFrame = field(compare=False, repr=False)
    scale: float = 0.03
    strength: float = 1.0
    over: Over = "targets"

    def bind(self, context: GeneContext) -> BoundPrior:
        """Align the graph to the genes."""
        if context.site != "effect":
            raise ValueError(
                "GraphSmooth says which genes act alike: use it as the prior of the effects."
            )
        targets, regulators = self._links(context)
        if context.learned is not None:
            if targets is None or regulators is not None:
                raise ValueError(
                    "GraphSmooth: expected over to be targets with the exact engine, found "
                    f"{self.over}; fit it with the svi engine (--engine svi)."
                )
            scale = positive(self, "scale")
            mean = scale * _of_neighbours(targets, context.learned.effects())
            return fixed(dist.Normal(jnp.asarray(mean, jnp.float32), scale), context)
        scale = jnp.full(context.shape, positive(self, "scale"), jnp.float32)
        return BoundPrior(Partial(GraphNormal, scale, targets, regulators))

    def coverage(self, context: GeneContext) -> dict[str, Any]:
        """Count links and the genes that have some."""
        report: dict[str, Any] = {}
        sides = zip(("targets", "regulators"), self._links(context), strict=True)
        for (name, links), n in zip(sides, context.shape[::-1], strict=True):
            if links is not None:
                linked = len(np.unique([links.one, links.other]))
                report[f"links between {name}"] = len(links.one)
                report[f"{name} with a neighbour"] = f"{linked} of {n}"
        return report

    def _links(self, context: GeneContext) -> tuple[Links | None, Links | None]:
        if self.over not in get_args(Over):
            raise ValueError(
                f"GraphSmooth: expected over to be one of {', '.join(get_args(Over))}, found "
                f"{self.over!r}."
            )
        strength = positive(self, "strength")
        targets = regulators = None
        if self.over != "regulators":
            targets = _links(self.graph, context.genes, strength, "targets")
        if self.over != "targets":
            regulators = _links(self.graph, context.rows, strength, "regulators")
        return targets, regulators


class GraphNormal(dist.Distribution):
    """Normal over [rows, genes] whose precision is ``I + L`` along genes, rows or both.

    Parameters
    ----------
    scale
        Of entries without neighbours, [rows, genes], all equal.
    targets, regulators
        Links between genes and between rows; None leaves a side out.
    """

    support: Any = constraints.independent(constraints.real, 2)
    arg_constraints: ClassVar = {"scale": constraints.positive}
    pytree_data_fields = ("scale", "targets", "regulators")

    def __init__(self, scale, targets=None, regulators=None, *, validate_args=None):
        self.scale, self.targets, self.regulators = scale, targets, regulators
        super().__init__(event_shape=jnp.shape(scale), validate_args=validate_args)

    def sample(self, key: Any, sample_shape=()):
        """Draw by solving for noise whose covariance is the precision, one side at a time."""
        rows, genes = self.event_shape
        along_genes, along_rows = (
            0 if side is None else len(side.one) for side in (self.targets, self.regulators)
        )
        noise = random.normal(key, (*sample_shape, genes + along_genes, rows + along_rows))
        out = _solve(self.targets, noise, genes)
        return self.scale * _solve(self.regulators, jnp.swapaxes(out, -1, -2), rows)

    def log_prob(self, value):
        """Return the log density, by sums over links."""
        x = value / self.scale
        turned = jnp.swapaxes(x, -1, -2)
        held = jnp.swapaxes(_precision(self.regulators, x), -1, -2)
        square = (held * turned).sum((-1, -2))
        if self.targets is not None:
            steps = _steps(self.targets, held) * _steps(self.targets, turned)
            square += (self.targets.weight[:, None] * steps).sum((-1, -2))
        rows, genes = self.event_shape
        determinant = jnp.zeros(())
        for side, times in ((self.targets, rows), (self.regulators, genes)):
            if side is not None:
                determinant += times * side.log_determinant
        constant = 2 * jnp.log(self.scale).sum() + rows * genes * jnp.log(2 * jnp.pi)
        return 0.5 * (determinant - square - constant)

    @property
    def mean(self):
        """Zero everywhere."""
        return jnp.zeros(self.event_shape)


def _links(graph: pd.DataFrame, names: tuple[str, ...], strength: float, what: str) -> Links:
    missing = {"source", "target"} - set(graph.columns)
    if missing:
        raise ValueError(
            f"graph: expected columns source and target, found {', '.join(map(str, graph))}."
        )
    at = pd.Index(names)
    ends = np.stack([at.get_indexer(pd.Index(graph[side])) for side in ("source", "target")])
    weight = np.abs(graph["weight"].to_numpy(float)) if "weight" in graph else np.ones(len(graph))
    if not np.isfinite(weight).all():
        raise ValueError("graph: expected finite weights, found others.")
    here = (ends >= 0).all(0) & (ends[0] != ends[1]) & (weight > 0)
    if not here.any():
        shown = ", ".join(f"{s} - {t}" for s, t in graph[["source", "target"]].head(3).to_numpy())
        raise ValueError(
            f"graph: none of the {len(graph)} edges ({shown}, ...) joins two of the {what} "
            f"({', '.join(names[:3])}, ...); check symbols, species and case."
        )
    n = len(names)
    # Both directions of an edge, and repetitions of it, are one link: the strongest of them.
    pairs, link = np.unique(np.sort(ends[:, here], 0), axis=1, return_inverse=True)
    strongest = np.zeros(pairs.shape[1])
    np.maximum.at(strongest, link, weight[here])
    relative = strength * n * strongest / (2 * strongest.sum())
    across = sp.coo_array((relative, (pairs[0], pairs[1])), shape=(n, n))
    across = (across + across.T).tocsc()
    precision = sp.eye_array(n) + sp.diags_array(across.sum(1)) - across
    log_determinant = np.log(np.abs(splu(precision.tocsc()).U.diagonal())).sum()
    return Links(
        jnp.asarray(pairs[0], jnp.int32),
        jnp.asarray(pairs[1], jnp.int32),
        jnp.asarray(relative, jnp.float32),
        jnp.float32(log_determinant),
    )


def _of_neighbours(links: Links, effects: np.ndarray) -> np.ndarray:
    """Return the mean of each target's effects given those of its neighbours, [rows, genes]."""
    n = effects.shape[1]
    one, other, weight = (np.asarray(part) for part in links[:3])
    across = sp.coo_array((weight, (one, other)), shape=(n, n))
    across = (across + across.T).tocsc()
    return (effects @ across) / (1 + across.sum(0))


def _steps(links: Links, x: Float[Array, "*many genes columns"]) -> Array:
    """Return the difference along each link."""
    return x[..., links.one, :] - x[..., links.other, :]


def _spread_back(links: Links, steps: Array, n: int) -> Array:
    """Add to both ends what belongs to each link: the transpose of `_steps`."""
    out = jnp.zeros((*steps.shape[:-2], n, steps.shape[-1]), steps.dtype)
    one, other = ((..., end, slice(None)) for end in (links.one, links.other))
    return out.at[one].add(steps).at[other].add(-steps)  # noqa: PD008


def _precision(links: Links | None, x: Float[Array, "*many genes columns"]) -> Array:
    if links is None:
        return x
    weighted = links.weight[:, None] * _steps(links, x)
    return x + _spread_back(links, weighted, x.shape[-2])


def _solve(links: Links | None, noise: Float[Array, "*many noise columns"], n: int) -> Array:
    """Turn white noise of the n genes and the links into noise whose precision is I + L."""
    if links is None:
        return noise
    own, between = noise[..., :n, :], noise[..., n:, :]
    right = own + _spread_back(links, jnp.sqrt(links.weight)[:, None] * between, n)
    return cg(Partial(_precision, links), right, tol=1e-6, maxiter=500)[0]
