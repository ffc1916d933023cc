"""Predictions scored on observed cells, between the mean response and a replicate."""

# pyright: reportOptionalSubscript=false
# That sparse arrays have a shape, their stubs do not say.

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from scipy import sparse

from infosem_jax.perturbation import virtual_cell
from infosem_jax.perturbation.data import Cells, Responses
from infosem_jax.perturbation.de import Changes, signs
from infosem_jax.perturbation.metrics import LOWER, Scores, calibrate, evaluate
from infosem_jax.perturbation.profiles import (
    Profiles,
    Values,
    halves,
    mean_response,
    profiles_of_cells,
    profiles_of_means,
)
from infosem_jax.perturbation.task import Prediction

# Bounds of placed scores in the mean of the six; the others have none.
CLAMPS = {"mse": (0.0, 1.0), "lfc_error": (-6.0, np.inf)}
SPLITS = 5


class Panel(NamedTuple):
    """Observed cells of one cell line, and what they say.

    Attributes
    ----------
    cells, group
        Cells of the perturbations, and the number of the perturbation of each.
    controls
        Control cells.
    perturbed
        Genes of each perturbation.
    genes
        Names of genes.
    own
        Which genes each perturbation perturbs, [n, genes].
    truth
        Profiles of the cells.
    """

    cells: Values
    group: Int[np.ndarray, " cells"]
    controls: Values
    perturbed: tuple[tuple[str, ...], ...]
    genes: tuple[str, ...]
    own: Bool[np.ndarray, "n genes"]
    truth: Profiles

    @property
    def n_cells(self) -> Int[np.ndarray, " n"]:
        """Number of cells of each perturbation."""
        return np.bincount(self.group)


class Bounds(NamedTuple):
    """What scores are placed between.

    Attributes
    ----------
    mean
        Scores of the mean response of the panel's perturbations, predicted for all of them.
    replicate
        Means over splits of the scores of one half of the cells, beside its half of the controls,
        against the other half beside the other controls.
    spread
        Deviations of the latter over splits.
    """

    mean: Scores
    replicate: dict[str, float]
    spread: dict[str, float]


def make_panel(
    cells: Values,
    group: Int[np.ndarray, " cells"],
    controls: Values,
    perturbed: Sequence[tuple[str, ...]],
    genes: Sequence[str],
) -> Panel:
    """Bring observed cells of one cell line to profiles.

    Parameters
    ----------
    cells, group
        Cells of the perturbations, and the number of the perturbation of each.
    controls
        Control cells.
    perturbed
        Genes of each perturbation.
    genes
        Names of genes.
    """
    own = np.array([np.isin(genes, p) for p in perturbed])
    truth = profiles_of_cells(cells, group, controls)
    return Panel(cells, group, controls, tuple(perturbed), tuple(genes), own, truth)


def panels_of_lines(
    cells: Cells, controls: Mapping[str, Float32[np.ndarray, "controls genes"]], truth: Responses
) -> list[tuple[Int[np.ndarray, " rows"], Panel]]:
    """Bring the cells of a screen to a panel for each cell line, and say which rows it is of.

    Parameters
    ----------
    cells
        Cells of the screen, logarithms.
    controls
        Control cells of each line, logarithms.
    truth
        Responses of the perturbations to score.
    """
    places: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    for i, at in enumerate(zip(cells.line, cells.perturbed, strict=True)):
        places.setdefault(at, []).append(i)
    found = []
    for line in sorted(set(truth.line)):
        rows = np.flatnonzero([own == line for own in truth.line])
        perturbed = [truth.perturbed[i] for i in rows]
        own = [places[line, genes] for genes in perturbed]
        group = np.repeat(np.arange(len(own)), [len(each) for each in own])
        values, others = (
            Values(sparse.csr_array(x), "log", 1.0)
            for x in (cells.x[np.concatenate(own)], controls[line])
        )
        found.append((rows, make_panel(values, group, others, perturbed, truth.genes)))
    return found


def score(panel: Panel, predicted: Profiles) -> Scores:
    """Score predicted profiles by the measures of `metrics.evaluate` and of `virtual_cell`.

    The reference of measures beyond the mean is the mean response of the panel; that of a gene is
    over perturbations of other genes.

    Parameters
    ----------
    panel
        Observed cells.
    predicted
        Profiles of the same perturbations and genes, by the same controls.
    """
    return _score(panel, predicted, panel.truth, None)


def bounds(panel: Panel, *, splits: int = SPLITS, seed: int = 0) -> Bounds:
    """Score the mean response and replicates.

    Parameters
    ----------
    panel
        Observed cells; perturbations with fewer than 4 have no replicate, and so none has then.
    splits
        How often the cells are split; 0 for no replicate.
    seed
        Seeds draws and splits.
    """
    mean = np.tile(mean_response(panel.cells, panel.group, panel.own), (len(panel.own), 1))
    low = score(panel, profiles_of_means(mean, panel.n_cells, panel.controls, seed))
    found = []
    enough = min(panel.n_cells.min(), panel.controls.x.shape[0]) >= 4
    for stream in np.random.default_rng(seed).spawn(splits if enough else 0):
        one, other = _split(panel, stream)
        found.append(_score(panel, other, one, panel.truth).metrics)
    names = low.metrics
    values = {name: np.array([each[name] for each in found]) for name in names}
    return Bounds(
        low,
        {name: float(x.mean()) if len(x) else np.nan for name, x in values.items()},
        {name: float(x.std(ddof=1)) if len(x) > 1 else np.nan for name, x in values.items()},
    )


def place(metrics: dict[str, float], between: Bounds) -> dict[str, float]:
    """Place scores between the mean response, 0, and the replicate, 1.

    ``virtual_cell`` is the mean of the six placed measures of that setting, the squared error cut
    to 0 to 1 and the error of fold changes at -6. Those that are not defined are left out of it: by
    the truth alone, so that they are the same for all predictions.

    Parameters
    ----------
    metrics
        Scores by name.
    between
        The bounds.
    """
    placed = calibrate(metrics, between.mean.metrics, between.replicate)
    bound = {name: CLAMPS.get(name, (-np.inf, np.inf)) for name in virtual_cell.NAMES}
    six = np.array([np.clip(placed[name], *ends) for name, ends in bound.items()])
    defined = six[np.isfinite(six)]
    return placed | {"virtual_cell": float(defined.mean()) if len(defined) else np.nan}


def lower_is_better(name: str) -> bool:
    """Tell whether a measure is one of error."""
    return name.removesuffix("_affected") in LOWER


def _split(panel: Panel, rng: np.random.Generator) -> tuple[Profiles, Profiles]:
    """Return profiles of the two halves of the cells, each beside its half of the controls."""
    groups = [np.flatnonzero(panel.group == i) for i in range(len(panel.own))]
    controls = halves([np.arange(panel.controls.x.shape[0])], rng)
    found = []
    for cells, (other,) in zip(halves(groups, rng), controls, strict=True):
        number = np.repeat(np.arange(len(cells)), [len(each) for each in cells])
        own = panel.cells[np.concatenate(cells)]
        found.append(profiles_of_cells(own, number, panel.controls[other]))
    return found[0], found[1]


def _score(panel: Panel, predicted: Profiles, truth: Profiles, full: Profiles | None) -> Scores:
    own = panel.own
    kept = np.where(own.all(0), True, ~own)
    reference = np.tile((truth.change * kept).sum(0) / kept.sum(0), (len(own), 1))
    responses = _responses(panel, truth)
    size = np.abs(predicted.change)
    change = Prediction(*(x.astype(np.float32) for x in (predicted.change, size, predicted.change)))
    found = evaluate(change, responses, reference.astype(np.float32), changes=_changes(predicted))
    six = virtual_cell.measure(predicted, truth, own, panel.genes, full=full)
    return found._replace(metrics=found.metrics | six.metrics, each=found.each | six.each)


def _responses(panel: Panel, truth: Profiles) -> Responses:
    changes = _changes(truth)
    n = len(panel.perturbed)
    return Responses(
        "truth",
        panel.perturbed,
        ("all",) * n,
        panel.genes,
        signs(changes),
        np.ones(panel.own.shape, bool),
        np.tile(truth.control, (n, 1)).astype(np.float32),
        truth.change.astype(np.float32),
        changes,
        n_cells=panel.n_cells,
    )


def _changes(profiles: Profiles) -> Changes:
    """Return fold changes, 0 of genes that were not tested, and adjusted p-values."""
    lfc = np.nan_to_num(profiles.lfc)
    return Changes(lfc.astype(np.float32), profiles.fdr.astype(np.float32))


def log_change(panel: Panel, change: Float[np.ndarray, "n genes"], seed: int) -> Profiles:
    """Take predicted changes of mean log expression as profiles; of a panel of logarithms.

    Parameters
    ----------
    panel
        Observed cells.
    change
        Predicted changes.
    seed
        Seeds the cells that are made for tests.
    """
    mean = np.maximum(panel.truth.control + change, 0.0)
    return profiles_of_means(mean, panel.n_cells, panel.controls, seed)
