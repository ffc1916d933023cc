"""What a prior is to the model: a function of the gene context, aligned to the data's genes."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import jax
import numpy as np
import numpyro.distributions as dist
import pandas as pd
from jax.tree_util import Partial
from jaxtyping import Bool, Float
from numpyro import handlers

from infosem_jax.data._names import near_misses
from infosem_jax.grn.priors import distributions

log = logging.getLogger("infosem_jax")


class Learned(NamedTuple):
    """What cells say of effects, in units of the prior's scale, for priors whose mean asks for it.

    Attributes
    ----------
    roles
        Returns the mean of each effect, [rows, genes], from the vectors of all genes, [genes,
        features], and a rank; the mean for a target comes from the cells of all others.
    effects
        Returns the effects without a prior mean, [rows, genes].
    """

    roles: Callable[[np.ndarray, int], np.ndarray]
    effects: Callable[[], np.ndarray]


class Expression(NamedTuple):
    """What cells say, for priors that learn from labels what that is worth.

    Attributes
    ----------
    evidence
        Returns the log Bayes factor of each edge, which is added to the log-odds of the edge prior,
        [rows, genes].
    vectors
        Returns vectors of genes with like expression, [genes, features].
    """

    evidence: Callable[[], np.ndarray]
    vectors: Callable[[], np.ndarray]


@dataclass(frozen=True)
class GeneContext:
    """What a prior may know about the fit before seeing expression.

    Attributes
    ----------
    genes
        Names of the targets, the columns of the effects.
    rows
        Names of the genes that act, the rows of the effects.
    cells
        Number of cells.
    site
        ``effect`` or ``logit``, whichever the prior is placed on.
    learned
        What the cells say, of an engine that learns it in closed form; None where a prior declares
        what is to be learned.
    expression
        What the cells say of edges, for an edge prior of the exact engine.
    checking
        Whether only errors are asked for, so that nothing need be learned yet.
    """

    genes: tuple[str, ...]
    rows: tuple[str, ...]
    cells: int
    site: str = "effect"
    learned: Learned | None = None
    expression: Expression | None = None
    checking: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Event shape of the prior, [rows, genes]."""
        return len(self.rows), len(self.genes)


class BoundPrior(NamedTuple):
    """A prior aligned to the genes of one data set: a pytree, ready for ``jit`` and ``vmap``.

    Attributes
    ----------
    distribution
        Called inside the model, returns a distribution with event shape [rows, genes].
    observe
        Called with the sampled logits where labels are observations of the gate, else None.
    """

    distribution: Partial
    observe: Partial | None = None


@runtime_checkable
class Bindable(Protocol):
    """A prior that carries data about genes."""

    def bind(self, context: GeneContext) -> BoundPrior:
        """Align the prior's data to the genes."""
        ...


Prior: TypeAlias = dist.Distribution | Bindable | Callable[[GeneContext], dist.Distribution]


class Priors(NamedTuple):
    """The priors of one model.

    Attributes
    ----------
    effect
        Prior of the effects; None is ``MeanAbsolute()``.
    edge
        Prior of the logits; None is a model without a gate.
    record
        Name (``prior``), ``file`` and settings of each, by ``effect`` and ``edge``, as a
        configuration file has them; empty for priors made in Python.
    """

    effect: Prior | None = None
    edge: Prior | None = None
    record: Mapping[str, Mapping[str, Any]] = {}


PriorLike: TypeAlias = Priors | Prior | Mapping[str, Prior | None] | None


def as_priors(prior: PriorLike) -> Priors:
    """Read the ways of naming priors: a prior of the effects, a pair, or a mapping by site."""
    if isinstance(prior, Priors):
        return prior
    if isinstance(prior, Mapping):
        unknown = set(prior) - {"effect", "edge"}
        if unknown:
            raise ValueError(f"Expected priors for effect and edge, found {sorted(unknown)}.")
        return Priors(prior.get("effect"), prior.get("edge"))
    return Priors(prior)


def bind(prior: Prior, context: GeneContext) -> BoundPrior:
    """Align a prior of any kind to the genes of the data.

    Raises
    ------
    ValueError
        If its shape does not fit, or it knows none of the genes.
    TypeError
        If it is not a prior.
    """
    if isinstance(prior, dist.Distribution):
        return fixed(prior, context)
    if isinstance(prior, Bindable):
        return prior.bind(context)
    if callable(prior):
        return bind_function(prior, context)
    raise TypeError(
        "Expected a NumPyro distribution, a prior of infosem_jax.grn.priors or a function of the "
        f"gene context that returns a distribution, found {type(prior).__name__}."
    )


def bind_function(
    function: Callable[..., dist.Distribution], context: GeneContext, *given: Any
) -> BoundPrior:
    """Bind a function of the gene context.

    Parameters
    ----------
    function
        Returns a distribution.
    context
        The genes.
    given
        Arrays, or trees of them, that it takes beside the context.

    Raises
    ------
    ValueError, TypeError
        If it returns or declares something that cannot be fitted.
    """
    bound = BoundPrior(Partial(_UserPrior(function, context), *given))
    _check_sites(bound)
    return bound


def coverage(prior: Prior, context: GeneContext) -> dict[str, Any]:
    """Return how much of the data a prior knows about; empty where it treats all genes alike."""
    report = getattr(prior, "coverage", None)
    return report(context) if report else {}


def say_coverage(priors: Priors, site: str, covered: Mapping[str, Any]) -> None:
    """Log how much of the data a prior knows about; nothing where it treats all genes alike.

    Parameters
    ----------
    priors
        The priors of the model.
    site
        Which of them: effect or edge.
    covered
        What `coverage` returns of it.
    """
    text = "; ".join(f"{key}: {value}" for key, value in covered.items())
    if text:
        name = priors.record.get(site, {}).get("prior", type(getattr(priors, site)).__name__)
        log.info("Prior on the %s, %s: %s", site, name, text)


def pair_matrix(
    table: pd.DataFrame,
    context: GeneContext,
    column: str | None,
    what: str,
    *,
    allow_none: bool = False,
) -> Float[np.ndarray, "rows genes"]:
    """Lay a table of pairs out as a matrix: NaN where it has no pair, 1 where it has no values.

    Parameters
    ----------
    table
        Columns source, target and ``column``.
    context
        The genes.
    column
        Which column to lay out; None for presence.
    what
        What the table is called in messages.
    allow_none
        Whether a table without any pair among the genes is accepted.

    Raises
    ------
    ValueError
        If columns are missing, or no pair is among the genes.
    """
    missing = {"source", "target"} - set(table.columns)
    if missing:
        raise ValueError(
            f"{what}: expected columns source and target, found {', '.join(map(str, table))}."
        )
    row = pd.Index(context.rows).get_indexer(pd.Index(table["source"]))
    gene = pd.Index(context.genes).get_indexer(pd.Index(table["target"]))
    here = (row >= 0) & (gene >= 0)
    if not here.any() and not allow_none:
        names = ", ".join(f"{s} -> {t}" for s, t in table[["source", "target"]].head(3).to_numpy())
        raise ValueError(
            f"{what}: none of the {len(table)} pairs ({names}, ...) joins a regulator to a gene of "
            f"the data ({', '.join(context.genes[:3])}, ...); {_advice(table, context)}"
        )
    out = np.full(context.shape, np.nan)
    value = table[column].to_numpy(float) if column else np.ones(len(table))
    out[row[here], gene[here]] = value[here]
    return out


def _advice(table: pd.DataFrame, context: GeneContext) -> str:
    back = table["target"].isin(context.rows) & table["source"].isin(context.genes)
    if back.any():
        return f"{back.sum()} do the other way round: the source is the regulator."
    known = [name for name in context.genes if name in set(table["source"]) | set(table["target"])]
    if known:
        return "check which genes are regulators."
    near = near_misses(context.genes, [*table["source"], *table["target"]], "Its names")
    return f"check symbols, species and case. {near}"


def pair_labels(
    table: pd.DataFrame, context: GeneContext
) -> tuple[Bool[np.ndarray, "rows genes"], Bool[np.ndarray, "rows genes"]]:
    """Lay labels out as matrices: which pairs are labelled present, and which absent.

    Parameters
    ----------
    table
        Columns source, target and, where absences are known too, label (1 or 0).
    context
        The genes.

    Raises
    ------
    ValueError
        As :func:`pair_matrix`, and on other labels.
    """
    labels = pair_matrix(table, context, "label" if "label" in table else None, "known edges")
    wrong = labels[~np.isnan(labels) & ~np.isin(labels, (0, 1))]
    if len(wrong):
        raise ValueError(f"Known edges: expected labels 1 and 0, found {wrong[0]:g}.")
    return labels == 1, labels == 0


def log_odds(p: float | np.ndarray) -> np.ndarray | np.floating:
    """Return the logit of a probability."""
    p = np.asarray(p, np.float64)
    return np.log(p) - np.log1p(-p)


def positive(prior: Any, name: str) -> float:
    """Return a setting of a prior, refusing what is not a positive number."""
    value = getattr(prior, name)
    if not (np.isfinite(value) and value > 0):
        raise ValueError(f"{type(prior).__name__}: expected a positive {name}, found {value}.")
    return value


def share(prior: Any, name: str) -> float:
    """Return a setting of a prior, refusing what is no probability between 0 and 1."""
    value = getattr(prior, name)
    if not 0 < value < 1:
        raise ValueError(f"{type(prior).__name__}: expected 0 < {name} < 1, found {value}.")
    return value


def for_edges(prior: Any, context: GeneContext) -> None:
    """Refuse what says whether edges exist as a prior of effects."""
    if context.site != "logit":
        raise ValueError(
            f"{type(prior).__name__} says whether an edge exists: use it as the edge prior, not "
            "on effects."
        )


@dataclass(frozen=True)
class _UserPrior:
    function: Callable
    context: GeneContext

    def __call__(self, *given: Any) -> dist.Distribution:
        out = self.function(self.context, *given)
        if not isinstance(out, dist.Distribution):
            raise TypeError(
                f"A prior function must return a NumPyro distribution, found {type(out).__name__}."
            )
        return distributions.spread(out, self.context.shape)


def _check_sites(bound: BoundPrior) -> None:
    """Call a function once, without computing anything, and refuse sites that cannot be fitted."""

    def declared():
        with handlers.block(), handlers.seed(rng_seed=0):
            handlers.substitute(bound.distribution, substitute_fn=_refused)()

    jax.eval_shape(declared)


def _refused(site: dict[str, Any]) -> None:
    """Refuse a latent site that is discrete or improper, before it is drawn."""
    if site["type"] != "sample" or site["is_observed"]:
        return
    found: Any = site["fn"]
    while hasattr(found, "base_dist"):
        found = found.base_dist
    where = f"Site {site['name']!r} of a prior: expected a"
    if found.is_discrete:
        raise ValueError(
            f"{where} continuous distribution, found {type(found).__name__}; sum it out, as a "
            "MixtureSameFamily does."
        )
    if isinstance(found, dist.ImproperUniform):
        raise ValueError(
            f"{where} distribution that can be drawn from, found ImproperUniform; take a wide one, "
            "or numpyro.param for a number without a prior."
        )


def fixed(distribution: dist.Distribution, context: GeneContext) -> BoundPrior:
    """Spread a distribution over all pairs."""
    spread = distributions.spread(distribution, context.shape)
    return BoundPrior(Partial(_unpack, distributions.Ordered(spread)))


def _unpack(ordered: distributions.Ordered) -> dist.Distribution:
    return ordered.distribution
