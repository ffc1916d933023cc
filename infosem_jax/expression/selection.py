"""Which genes to measure: orders of the input genes, and what to expect of the first n of them.

An order is found on the training samples. What to expect of its first n genes is then measured on
the validation samples, with kernel regression on these genes alone.
"""

import logging
import warnings
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float, Int

from infosem_jax._shown import shown
from infosem_jax.expression.baselines import POWERS, kernel_path
from infosem_jax.expression.metrics import gene_pearson
from infosem_jax.expression.task import Task

_log = logging.getLogger("infosem_jax")

# A greedy choice: samples it is judged on, inputs it tries each time, and how many it so takes.
MOST_SAMPLES, TRIED, BY_KERNEL = 500, 20, 30
KERNEL_STRENGTHS = (0.01, 0.1, 1.0)
# A column whose part outside the chosen ones is smaller than this adds rounding errors only.
_NOTHING = 1e-5

Selector: TypeAlias = Callable[[Task, int, int], Int[np.ndarray, " n"]]


@shown("how", "genes", "accuracy")
class Selection(NamedTuple):
    """Input genes in the order in which to measure them, and what the first n are worth.

    Attributes
    ----------
    how
        Name of the selector.
    genes
        Names, the first to measure first, [n].
    sizes
        Numbers of genes that were tried, [sizes].
    accuracy
        Mean over target genes of the correlation on validation samples when only so many are
        measured, by kernel regression, [sizes].
    """

    how: str
    genes: tuple[str, ...]
    sizes: Int[np.ndarray, " sizes"]
    accuracy: Float[np.ndarray, " sizes"]


def select(
    task: Task,
    n: int,
    how: str = "greedy",
    seed: int = 0,
    *,
    sizes: Sequence[int] | None = None,
    selectors: dict[str, Selector] | None = None,
) -> Selection:
    """Choose n input genes to measure.

    Parameters
    ----------
    task
        The task with all inputs that could be measured.
    n
        How many can be.
    how
        ``greedy``, ``linear``, ``lasso``, ``random``, ``first``, or one of ``selectors``.
    seed
        Of the random order, and of selectors that draw.
    sizes
        Numbers of genes to state the accuracy of; about ten from 1 to n where None.
    selectors
        Further ones by name: functions of a task, n and a seed that return places of inputs.

    Raises
    ------
    ValueError
        On an unknown selector, and numbers of genes out of range.
    """
    known = SELECTORS | (selectors or {})
    if how not in known:
        raise ValueError(f"Expected one of {', '.join(known)}, found {how!r}.")
    if not 1 <= n <= len(task.inputs):
        raise ValueError(f"Expected from 1 to {len(task.inputs)} genes, found {n}.")
    tried = np.unique(np.geomspace(1, n, 10).round() if sizes is None else sizes).astype(int)
    if not len(tried) or tried[0] < 1 or tried[-1] > n:
        raise ValueError(f"Expected sizes from 1 to {n}, found {tried.tolist()}.")
    order = known[how](task, n, seed)
    return Selection(
        how,
        tuple(task.inputs[i] for i in order),
        tried,
        expected_accuracy(task, order, tried.tolist()),
    )


def expected_accuracy(
    task: Task, order: Int[np.ndarray, " n"], sizes: Sequence[int]
) -> Float[np.ndarray, " sizes"]:
    """Infer the validation samples from the first genes of an order.

    Parameters
    ----------
    task
        The task.
    order
        Places of inputs.
    sizes
        Numbers of genes.

    Returns
    -------
    Mean correlation over target genes, of kernel regression with the best of a few powers and
    strengths for each size, [sizes].
    """
    accuracy = []
    for size in sizes:
        own = order[:size]
        path = kernel_path(task.x_train[:, own], task.y_train, task.x_valid[:, own], _SETTINGS)
        errors, means = zip(*(_judge(task, values) for values in path), strict=True)
        accuracy.append(means[int(np.argmin(errors))])
    return np.array(accuracy)


def restrict(task: Task, genes: Sequence[str]) -> Task:
    """Keep some inputs of a task, in the order given.

    Raises
    ------
    ValueError
        On genes that are no inputs.
    """
    place = {gene: i for i, gene in enumerate(task.inputs)}
    missing = [gene for gene in genes if gene not in place]
    if missing or not len(genes):
        raise ValueError(
            f"Expected inputs of the task, found {len(missing)} others: {', '.join(missing[:10])}."
            if missing
            else "Expected at least one gene, found none."
        )
    at = np.array([place[gene] for gene in genes])
    return task._replace(
        inputs=tuple(genes),
        x_train=task.x_train[:, at],
        x_valid=task.x_valid[:, at],
        x_test=task.x_test[:, at],
        at_input=task.at_input[at],
    )


def greedy_order(task: Task, n: int, seed: int) -> Int[np.ndarray, " n"]:
    """Take, each time, the input with which kernel regression infers the targets best.

    That regression (see `baselines.kernel_path`, power 1, the best of a few strengths) is the
    strongest part of the joined prediction that is not trained, and finds inputs that tell tissues
    apart as well as those whose levels others follow. It is judged by its squared error on training
    samples that are left out one by one, which needs no fit for each: of at most 500 samples, for
    the first 30 inputs, among the 20 that explain most of what is left by least squares. Further
    ones are those of `linear_order`.

    Parameters
    ----------
    task, n
        The task, and how many of its inputs to take, by their places.
    seed
        Of no matter here.
    """
    rows = np.linspace(0, len(task.x_train) - 1, min(len(task.x_train), MOST_SAMPLES)).astype(int)
    x, y = _centred(task._replace(x_train=task.x_train[rows], y_train=task.y_train[rows]))
    squared = np.zeros((len(x), len(x)))

    def pick(gain: np.ndarray, taken: int) -> int:
        if taken >= BY_KERNEL:
            return int(gain.argmax())
        tried = np.argsort(-gain, kind="stable")[:TRIED]
        with_each = [
            squared + np.subtract.outer(x[:, i], x[:, i]) ** 2 for i in tried[gain[tried] >= 0]
        ]
        best = int(np.argmin([_error_left_out(each, y) for each in with_each]))
        squared[:] = with_each[best]
        return int(tried[best])

    return _project(task, n, pick)


def linear_order(task: Task, n: int, seed: int) -> Int[np.ndarray, " n"]:
    """Take, each time, the input that leaves the least squared error over all targets.

    The error is that of least squares on the inputs taken, summed over targets. Taking input j
    lowers it by ``|Y' x_j|^2 / |x_j|^2``, where ``x_j`` is the part of the input that those taken
    do not explain. So one projection per step updates all candidates, and nothing is fitted again
    (orthogonal least squares; Chen, Billings and Luo 1989). Targets enter through the inner
    products of samples only, so as many columns as samples stand for all of them.

    Inputs that others explain wholly, which happens when there are as many as samples, come last,
    in the order of what each explains alone.

    Parameters
    ----------
    task, n
        The task, and how many of its inputs to take, by their places.
    seed
        Of no matter here.
    """
    return _project(task, n, lambda gain, taken: int(gain.argmax()))


def lasso_order(task: Task, n: int, seed: int) -> Int[np.ndarray, " n"]:
    """Take inputs in the order in which they enter the path of the multi-task lasso.

    It minimises ``|Y - X B|^2 / 2 samples + strength sum_j |B_j|``, with one norm for an input's
    coefficients of all targets. Falling strengths let more and more inputs in; those that enter at
    one strength are ordered by their norm. Targets are turned to their principal components, which
    changes no solution, and the first 50 of them stand for all.

    Parameters
    ----------
    task, n
        The task, and how many of its inputs to take, by their places.
    seed
        Of no matter here.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import lasso_path

    x, y = _centred(task)
    u, s, _ = np.linalg.svd(y, full_matrices=False)
    y = np.asfortranarray((u * s)[:, :50])
    x = np.asfortranarray(x / np.maximum(np.sqrt((x**2).mean(0)), 1e-12))
    top = np.sqrt(((x.T @ y) ** 2).sum(1)).max() / len(x)
    order: list[int] = []
    start = np.zeros((y.shape[1], x.shape[1]), order="F")
    # Strengths fall in blocks, so that the costly end of the path is left out where it can be.
    for block in np.split(top * np.logspace(0, -3, 61)[1:], 12):
        settings: Any = {"alphas": block, "tol": 1e-3, "max_iter": 300, "coef_init": start}
        with warnings.catch_warnings():
            # The order of entry needs no digits beyond those that the tolerance leaves.
            warnings.simplefilter("ignore", ConvergenceWarning)
            path = lasso_path(x, y, **settings)[1]
        start = np.asfortranarray(path[..., -1])
        for coefficients in np.moveaxis(path, -1, 0):
            norm = np.sqrt((coefficients**2).sum(0))
            new = np.setdiff1d(np.flatnonzero(norm), order)
            order += new[np.argsort(-norm[new], kind="stable")].tolist()
        if len(order) >= n:
            break
    if len(order) < n:
        rest = np.setdiff1d(np.arange(x.shape[1]), order)
        alone = _explained(y, x[:, rest], np.ones(len(rest), bool))
        order += rest[np.argsort(-alone, kind="stable")].tolist()
    return np.array(order[:n], int)


SELECTORS: dict[str, Selector] = {
    "random": lambda task, n, seed: np.random.default_rng(seed).permutation(len(task.inputs))[:n],
    "first": lambda task, n, seed: np.arange(n),
    "lasso": lasso_order,
    "linear": linear_order,
    "greedy": greedy_order,
}

_SETTINGS = tuple(product(POWERS, (0.01, 0.1, 1.0, 10.0)))


def _project(task: Task, n: int, pick: Callable[[np.ndarray, int], int]) -> Int[np.ndarray, " n"]:
    """Take inputs as told by what each would explain, -1 of those that explain nothing more."""
    x, y = _centred(task)
    x0_size = (x**2).sum(0)
    alone = _explained(y, x, x0_size > 0)
    order: list[int] = []
    taken = np.zeros(x.shape[1], bool)
    basis = np.zeros((len(x), 0))
    products = y.T @ x
    while len(order) < n:
        size = (x**2).sum(0)
        useful = ~taken & (size > _NOTHING**2 * np.maximum(x0_size, 1e-30))
        if not useful.any():
            break
        gain = np.where(useful, (products**2).sum(0) / np.where(useful, size, 1.0), -1.0)
        best = pick(gain, len(order))
        # Projected twice: after many steps rounding errors would creep back in.
        axis = x[:, best] - basis @ (basis.T @ x[:, best])
        axis /= np.linalg.norm(axis)
        along = axis @ x
        x -= np.outer(axis, along)
        products -= np.outer(axis @ y, along)
        basis = np.column_stack([basis, axis])
        taken[best] = True
        order.append(best)
    if len(order) < n:
        _log.warning(
            "%d training samples tell %d inputs apart; the others are ordered by what each "
            "explains alone",
            len(x), len(order),
        )  # fmt: skip
        rest = np.flatnonzero(~taken)
        order += rest[np.argsort(-alone[rest], kind="stable")][: n - len(order)].tolist()
    return np.array(order, int)


def _error_left_out(
    squared: Float[np.ndarray, "samples samples"], y: Float[np.ndarray, "samples columns"]
) -> float:
    """Return the squared error of kernel regression on samples that are left out one by one.

    Parameters
    ----------
    squared
        Squared distances of samples.
    y
        Centred targets.
    """
    gram = -0.5 * np.sqrt(squared)
    of_all = gram.mean(0)
    gram += of_all.mean() - of_all - of_all[:, None]
    value, vector = np.linalg.eigh(gram)
    along, unit = vector.T @ y, max(float(value.mean()), 1e-30)
    errors = []
    for strength in KERNEL_STRENGTHS:
        kept = value.clip(0) / (value.clip(0) + strength * unit)
        own_share = vector**2 @ kept + 1 / len(y)
        left = (y - vector @ (kept[:, None] * along)) / (1 - own_share)[:, None]
        errors.append(float((left**2).sum()))
    return min(errors)


def _judge(task: Task, values: np.ndarray) -> tuple[float, float]:
    correlation = gene_pearson(task.y_valid, values)
    defined = correlation[~np.isnan(correlation)]
    error = float(((task.y_valid - values) ** 2).mean())
    return error, float(defined.mean()) if len(defined) else float("nan")


def _centred(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Return centred inputs, and columns with the inner products of the centred targets."""
    x = task.x_train.astype(np.float64)
    y = task.y_train.astype(np.float64)
    x, y = x - x.mean(0), y - y.mean(0)
    if y.shape[1] > len(y):
        value, vector = np.linalg.eigh(y @ y.T)
        y = vector * np.sqrt(value.clip(0))
    return x, y


def _explained(y: np.ndarray, x: np.ndarray, useful: np.ndarray) -> np.ndarray:
    size = np.where(useful, (x**2).sum(0), 1.0)
    return np.where(useful, ((y.T @ x) ** 2).sum(0) / np.maximum(size, 1e-30), 0.0)
