"""What the regulators of each cell predict: closed forms, in the unit of the data."""

import jax
import numpy as np
import pytest
from handmade import linear_fit

from infosem_jax.data import dataset, normalise
from infosem_jax.data.dataset import NORMALISATIONS
from infosem_jax.grn import predict

GENES = ("D", "A", "C", "B")


def measured(how: str):
    """Return 40 cells in which gene B is the same as gene A."""
    rng = np.random.default_rng(0)
    x = rng.poisson(6.0, (40, 4)).astype(float)
    if not how.startswith("log1p"):
        x = np.log1p(x) + 0.01 * (x > 0) * rng.uniform(size=x.shape)
    x[:, 3] = x[:, 1]
    return dataset(x, GENES)


def fitted(how: str, **changes):
    """Return a fit in which A acts on B with effect 1; rows and genes of W are sorted by name."""
    W = np.zeros((4, 4))
    W[0, 1] = 1.0
    return linear_fit(W, GENES, sorted(GENES), normalisation=how, slope=2.0)._replace(**changes)


# A fit says what "auto" stood for.
@pytest.mark.parametrize("how", [how for how in NORMALISATIONS if how != "auto"])
def test_predictions_are_in_the_unit_of_the_data(how):
    data = measured(how)
    found = predict(fitted(how), data)
    assert found.shape == data.x.shape and found.dtype == np.float32
    # Networks by hand are straight lines near zero only; logarithms of CPM are large.
    close = {"rtol": 0.12 if how == "log1p_cpm" else 2e-3, "atol": 2e-3}
    np.testing.assert_allclose(found[:, 3], data.x[:, 3], **close)
    # A gene without regulators is predicted to have its mean on the scale of the fit.
    scaled = normalise(data, how)._replace(normalisation=how)
    alone = found[:, 0]
    if how == "zscore":
        np.testing.assert_allclose(alone, data.x[:, 0].mean(), rtol=1e-3)
    elif "zscore" not in how:
        np.testing.assert_allclose(alone, 0, atol=1e-3)
    if how != "none":
        on_scale = predict(fitted(how), scaled)
        np.testing.assert_allclose(on_scale[:, 3], scaled.x[:, 3], rtol=1e-2, atol=2e-3)
        np.testing.assert_allclose(on_scale[:, 0], 0, atol=1e-3)


def test_totals_over_more_genes_count():
    data = measured("log1p_cpm")
    more = data._replace(totals=4 * data.x.sum(1))
    close = {"rtol": 0.12, "atol": 2e-3}
    found = predict(fitted("log1p_cpm"), more)
    np.testing.assert_allclose(found[:, 3], data.x[:, 3], **close)


def test_sound_seeds_are_averaged_and_what_cannot_be_predicted_is_refused():
    data = measured("zscore")
    two = fitted("zscore")
    params = jax.tree.map(lambda leaf: np.concatenate([leaf, leaf]), two.params)
    params["effect_loc"][1] = 0.0
    two = two._replace(params=params, diverged=np.array([-1, -1]))
    whole, half = predict(fitted("zscore"), data), predict(two, data)
    mean = data.x[:, 3].mean()
    np.testing.assert_allclose(half[:, 3] - mean, (whole[:, 3] - mean) / 2, rtol=1e-3, atol=1e-4)
    one = predict(two._replace(diverged=np.array([-1, 3])), data)
    np.testing.assert_allclose(one, whole, rtol=1e-5)
    with pytest.raises(ValueError, match="every seed diverged"):
        predict(two._replace(diverged=np.array([1, 3])), data)
    with pytest.raises(ValueError, match="at least 1 draw"):
        predict(two, data, draws=0)
    with pytest.raises(ValueError, match="expected the 4 genes"):
        predict(two, dataset(data.x, ["A", "B", "C", "E"]))
