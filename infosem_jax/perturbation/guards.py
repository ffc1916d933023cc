"""What keeps scores honest: checks of predictions, and of those that come from elsewhere.

Known ways to look better than one is, and what stops them here. Change against one's own control
cells: predictions of profiles are always compared with the observed controls, and a prediction's
own controls must agree with them. Raw values for logarithms: means must be of the size of the
controls. Leaving out what is hard: every test perturbation and gene must be there. Values that are
not finite, of which some measures leave out the rows: refused.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32

from infosem_jax.perturbation.data import Responses, label
from infosem_jax.perturbation.task import Prediction, Task, from_change
from infosem_jax.perturbation.units import check_same_units

# Share of the controls' expression that controls of a prediction may be off by.
CONTROL_TOLERANCE = 0.02


def check_prediction(prediction: Prediction, truth: Responses) -> None:
    """Refuse a prediction of another shape, or with values that are not finite.

    Raises
    ------
    ValueError
        On any of these.
    """
    for name in ("change", "de", "up", "sd"):
        values = getattr(prediction, name)
        if values is None:
            continue
        if values.shape != truth.sign.shape:
            raise ValueError(
                f"{name}: expected [{len(truth.perturbed)} perturbations, {len(truth.genes)} "
                f"genes], found {values.shape}; all test perturbations and genes must be there."
            )
        bad = ~np.isfinite(values)
        if bad.any():
            raise ValueError(
                f"{name}: {int(bad.sum())} values are not finite, first of "
                f"{truth.labels[int(bad.any(1).argmax())]}; a method must predict all of them."
            )
    if prediction.sd is not None and (prediction.sd < 0).any():
        raise ValueError("sd: expected standard deviations of at least 0.")


def from_profiles(
    profiles: Float[np.ndarray, "rows genes"],
    perturbed: Sequence[tuple[str, ...]],
    genes: Sequence[str],
    task: Task,
    *,
    controls: Float[np.ndarray, " genes"] | None = None,
) -> Prediction:
    """Turn mean profiles that another tool predicted into a prediction of a task.

    The change is taken against the observed controls, whatever controls came with the profiles.

    Parameters
    ----------
    profiles
        Predicted mean log expression after each perturbation.
    perturbed, genes
        What the rows and columns are of, in any order.
    task
        The task.
    controls
        Mean of the tool's own control cells, where it gave any; they must be the observed ones.

    Raises
    ------
    ValueError
        If perturbations or genes are missing or named twice, values are in other units, or the
        controls are not the observed ones.
    """
    if task.control is None:
        raise ValueError("Expected a task with values of expression, found a table of signs.")
    names = [tuple(sorted(p)) for p in perturbed]
    if len(set(names)) < len(names) or len(set(genes)) < len(genes):
        raise ValueError("Expected every perturbation and gene once, found one twice.")
    missing = [label(p) for p in task.perturbed if tuple(sorted(p)) not in set(names)]
    missing += [gene for gene in task.genes if gene not in set(genes)]
    if missing:
        raise ValueError(
            f"{len(missing)} test perturbations or genes have no prediction "
            f"({', '.join(missing[:5])}); a score over the others would not be comparable."
        )
    rows = [names.index(tuple(sorted(p))) for p in task.perturbed]
    place = {gene: i for i, gene in enumerate(genes)}
    columns = [place[gene] for gene in task.genes]
    mean: Float32[np.ndarray, "test genes"] = profiles[rows][:, columns].astype(np.float32)
    if not np.isfinite(mean).all():
        raise ValueError("Predicted profiles hold values that are not finite.")
    check_same_units(mean, task.control, "predicted profiles")
    if controls is not None:
        observed = task.control.mean(0)
        off = np.abs(controls[columns] - observed).sum() / max(np.abs(observed).sum(), 1e-12)
        if off > CONTROL_TOLERANCE:
            raise ValueError(
                f"The controls of the prediction are off the observed ones by {off:.1%} of their "
                "expression; predict against the observed control cells."
            )
    return from_change(mean - task.control)
