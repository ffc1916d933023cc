"""Probabilities of several fits brought into one, by what predicts the validation labels best."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logit

RIDGE = 10.0
# Gates that are open or closed for sure have finite log-odds.
_LEAST = 1e-7


def stack(
    fits: Sequence[Float[np.ndarray, "regulators genes"]],
    validation: Float[np.ndarray, "regulators genes"],
) -> Float[np.ndarray, "regulators genes"]:
    """Average the log-odds of fits, weighted as best predicts the validation labels.

    With ``l_k`` the log-odds of fit k, probabilities are ``expit(a + sum_k w_k l_k)``. Weights are
    at least 0, and maximise the likelihood of the labels with a ridge of 10 towards equal weights;
    equal where labels of one kind are missing, or where no fit has a weight.

    Parameters
    ----------
    fits
        Probabilities, one array for each fit.
    validation
        Labels 1 and 0, NaN where there is none.
    """
    log_odds = logit(np.clip(np.stack(fits), _LEAST, 1 - _LEAST))
    equal = np.full(len(fits), 1 / len(fits))
    known = ~np.isnan(validation)
    y, x = validation[known], log_odds[:, known]
    if not 0 < y.sum() < len(y):
        return expit(np.tensordot(equal, log_odds, 1))

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        score = theta[0] + theta[1:] @ x
        away = theta[1:] - equal
        value = -(y * log_expit(score) + (1 - y) * log_expit(-score)).sum()
        error = expit(score) - y
        gradient = np.concatenate([[error.sum()], x @ error + RIDGE * away])
        return value + 0.5 * RIDGE * away @ away, gradient

    bounds = [(None, None)] + [(0, None)] * len(fits)
    best = minimize(loss, np.concatenate([[0.0], equal]), jac=True, bounds=bounds).x
    weights = best[1:] if best[1:].any() else equal
    return expit(best[0] + np.tensordot(weights, log_odds, 1))
