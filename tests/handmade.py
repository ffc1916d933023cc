"""Fits whose answers are known, because their parameters were written by hand."""

import numpy as np

from infosem_jax.data.dataset import Dataset
from infosem_jax.engine import training
from infosem_jax.grn.config import Config
from infosem_jax.grn.result import Fit

SMALL = 1e-2  # tanh is a straight line to 1e-4 x^2 / 3 there
HIDDEN = 2


def straight(slopes) -> dict:
    """Parameters of a scalar network that multiplies its input by a slope for each output."""
    first, second = np.zeros((1, HIDDEN)), np.zeros((HIDDEN, HIDDEN))
    last = np.zeros((HIDDEN, len(slopes)))
    first[0, 0] = second[0, 0] = SMALL
    last[0] = np.asarray(slopes) / SMALL**2
    return {
        f"Dense_{i}": {"kernel": kernel, "bias": np.zeros(kernel.shape[1])}
        for i, kernel in enumerate((first, second, last))
    }


def linear_fit(W, genes, rows, *, slope=1.0, log_scale=None, seeds=1, **settings) -> Fit:
    """A fit with effects W [rows, genes], a decoder of a slope, and the encoder that undoes it.

    Rows and genes of W are sorted by name; those of the results are as in ``genes``.
    """
    config = Config(
        rows="all" if len(rows) == len(genes) else "regulators",
        guide="point" if log_scale is None else "normal",
        latent_prior="standard",
        absorbed="location",
        hidden=HIDDEN,
        knots=0,
        **{"normalisation": "zscore"} | settings,
    )
    one = {
        "effect_loc": np.asarray(W),
        "encoder$params": straight([1 / slope, 0.0]),
        "decoder$params": straight([slope]),
    }
    if log_scale is not None:
        one["effect_log_scale"] = np.full(np.shape(W), log_scale)
    params = {name: repeated(part, seeds) for name, part in one.items()}
    back = [sorted(genes).index(gene) for gene in genes]
    weight = np.repeat(np.asarray(W, np.float32)[None, :, back], seeds, 0)
    return Fit(
        genes=tuple(genes),
        rows=tuple(rows),
        regulators=tuple(rows),
        name="by hand",
        config=config,
        weight=weight,
        sd=np.zeros_like(weight),
        positive=(weight > 0).astype(np.float32),
        probability=None,
        prior_mean=np.zeros_like(weight),
        losses=training.Losses(np.zeros((seeds, 3)), np.full((seeds, 3), np.nan)),
        diverged=np.full(seeds, -1),
        params=params,
        seconds=0.0,
    )


def repeated(part, seeds: int):
    """Stack a tree of arrays once for each seed."""
    if isinstance(part, dict):
        return {name: repeated(value, seeds) for name, value in part.items()}
    return np.repeat(np.asarray(part, np.float32)[None], seeds, 0)


def dataset_of(x, genes, regulators, observed=None) -> Dataset:
    """Expression on the scale of a fit, as it comes out of `normalise`."""
    x = np.asarray(x, np.float32)
    observed = np.ones(x.shape, bool) if observed is None else observed
    cells = tuple(f"cell{i:04d}" for i in range(len(x)))
    return Dataset(x, observed, tuple(genes), cells, tuple(regulators), "by hand", "zscore")


def random_effects(rows, genes, rng, size=0.2) -> np.ndarray:
    """Effects [rows, genes] without self-effects, with loops that die out."""
    W = rng.normal(0, size, (len(rows), len(genes)))
    W[np.asarray(rows)[:, None] == np.asarray(genes)] = 0
    return W
