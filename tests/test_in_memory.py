"""AnnData in memory is read as the file it would be written to."""

import inspect

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from infosem_jax import embedding, expression, grn, perturbation
from infosem_jax.data import read_expression, read_groups

GENES = tuple(f"GENE{i}" for i in range(24))
COUNTS = np.random.default_rng(0).poisson(3.0, (60, 24)).astype(np.float32)


def measured(form=np.asarray) -> anndata.AnnData:
    target = ["control"] * 20 + ["GENE1", "GENE2"] * 20
    obs = pd.DataFrame({"perturbation": target, "total_counts": 2 * COUNTS.sum(1) + 2},
                       index=[f"c{i}" for i in range(60)])  # fmt: skip
    var = pd.DataFrame({"is_tf": np.arange(24) < 5, "symbol": np.roll(GENES, 1)}, GENES)
    adata = anndata.AnnData(form(np.log1p(COUNTS)), obs, var, layers={"counts": form(COUNTS)})
    adata.raw = anndata.AnnData(form(2 * COUNTS), var=var)
    adata.uns = {"tissue": "blood", "organism": "Homo sapiens"}
    adata.obsm["spatial"] = np.random.default_rng(1).random((60, 2))
    return adata


READERS = {
    "expression": read_expression,
    "groups": lambda source, **how: read_groups(source, "perturbation", **how)["control"],
    "profiles": expression.read_profiles,
    "study": embedding.read_study,
    "screen": lambda source, layer=None, names=None: perturbation.read_cells(
        source, perturbation.Columns(layer=layer, genes=names)
    ),
}


@pytest.mark.parametrize("form", [np.asarray, scipy.sparse.csr_matrix, scipy.sparse.csc_array])
@pytest.mark.parametrize("how", [{}, {"layer": "counts"}, {"layer": "raw"}, {"names": "symbol"}])
@pytest.mark.parametrize("reader", list(READERS))
def test_an_object_is_read_as_its_file(tmp_path, reader, how, form):
    adata, path = measured(form), tmp_path / "AnnData.h5ad"
    adata.write_h5ad(path)
    read = READERS[reader]
    expected = read(path, **how)
    backed = anndata.read_h5ad(path, backed="r")
    larger = anndata.concat([adata, adata], index_unique="-", merge="same", uns_merge="same")
    view = (adata if "layer" in how else larger)[:60]  # concatenated objects have no raw
    view.obs_names = adata.obs_names
    for source in (adata, backed, view):
        found = read(source, **how)
        for name, one, other in zip(found._fields, found, expected, strict=True):
            if isinstance(one, dict):
                assert sorted(one) == sorted(other), name
            elif isinstance(one, np.ndarray):
                np.testing.assert_array_equal(one, other, name)
            else:
                assert one == other, name
    backed.file.close()


@pytest.mark.parametrize("form", [np.asarray, scipy.sparse.csr_matrix])
@pytest.mark.parametrize("reader", list(READERS))
def test_neither_changes_with_the_other(reader, form):
    adata = measured(form)
    before = adata.copy()
    found = READERS[reader](adata)
    copied = found.x.copy()
    assert (adata.X != before.X).sum() == 0 and adata.obs.equals(before.obs)
    adata.X *= 2
    np.testing.assert_array_equal(found.x, copied)


@pytest.mark.parametrize("reader", list(READERS))
def test_what_is_not_there_is_told(reader):
    with pytest.raises(ValueError, match=r"no layer 'spliced'; found X, counts, raw"):
        READERS[reader](measured(), layer="spliced")
    with pytest.raises(TypeError, match="path of a file or an AnnData object, found DataFrame"):
        READERS[reader](measured().to_df())


def test_a_fit_says_how_to_read_what_it_does_not_take():
    for fit in grn.fit, grn.exact.fit:
        with pytest.raises(TypeError, match=r"found AnnData; read .*with .*read_expression"):
            inspect.unwrap(fit)(measured())
    fitted = grn.fit(read_expression(measured(), layer="counts", name="cells"))
    assert grn.network(fitted).regulators == GENES[:5]
