"""Gradient-boosted trees for many targets: one ensemble for each principal component of them."""

from dataclasses import dataclass
from itertools import islice

import numpy as np
from jaxtyping import Float, Float32

_SMALL = 10**6  # values


@dataclass(frozen=True)
class TreesConfig:
    """Settings of the trees.

    Attributes
    ----------
    components
        Principal components of the targets at most, each with an ensemble of its own. One ensemble
        per gene would take hours for thousands of genes; leading components hold what samples
        differ in most, and the number that is used is chosen on the validation samples.
    iterations
        Trees of an ensemble at most; the number that is used is chosen likewise.
    learning_rate, leaves, min_samples
        Shrinkage of each tree, its leaves at most, and samples in a leaf at least.
    """

    components: int = 20
    iterations: int = 100
    learning_rate: float = 0.1
    leaves: int = 15
    min_samples: int = 5


def boost(
    x: Float[np.ndarray, "train features"],
    y: Float32[np.ndarray, "train targets"],
    x_valid: Float[np.ndarray, "valid features"],
    y_valid: Float32[np.ndarray, "valid targets"],
    x_test: Float[np.ndarray, "test features"],
    config: TreesConfig,
) -> tuple[Float[np.ndarray, "valid targets"], Float[np.ndarray, "test targets"]]:
    """Train histogram gradient boosting (scikit-learn) on components of the targets.

    Parameters
    ----------
    x, y
        Training samples.
    x_valid, y_valid
        Samples that decide the numbers of trees and of components.
    x_test
        Samples to infer.
    config
        Settings.

    Returns
    -------
    Inferred targets of the validation and of the test samples.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    middle = y.mean(0, dtype=np.float64)
    u, s, axes = np.linalg.svd(y - middle, full_matrices=False)
    n = int(min(config.components, (s > 1e-9 * s[0]).sum()))
    scores, axes = u[:, :n] * s[:n], axes[:n]
    wanted = (y_valid - middle) @ axes.T
    valid, test = np.zeros((len(x_valid), n)), np.zeros((len(x_test), n))
    for i in range(n):
        model = HistGradientBoostingRegressor(
            max_iter=config.iterations,
            learning_rate=config.learning_rate,
            max_leaf_nodes=config.leaves,
            min_samples_leaf=config.min_samples,
            early_stopping=False,  # pyright: ignore[reportArgumentType]
            random_state=0,
        )
        # Threads that share little work spend most of their time waiting for each other.
        with threadpool_limits(1 if x.size < _SMALL else None, "openmp"):
            model.fit(x, scores[:, i])
            stages = np.stack(list(model.staged_predict(x_valid)))
            best = int(((stages - wanted[:, i]) ** 2).mean(1).argmin())
            valid[:, i] = stages[best]
            test[:, i] = next(islice(model.staged_predict(x_test), best, None))
    # Components are orthogonal, so what each adds to the error is its own; leading ones are kept.
    gain = (wanted**2).sum(0) - ((wanted - valid) ** 2).sum(0)
    kept = int(np.concatenate([[0.0], gain.cumsum()]).argmax())
    return middle + valid[:, :kept] @ axes[:kept], middle + test[:, :kept] @ axes[:kept]
