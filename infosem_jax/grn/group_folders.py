"""Folders of results about groups of cells: activities, differences, knock-outs and regulons."""

import csv
import warnings
from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from infosem_jax._typing import Path
from infosem_jax.data._names import check_names
from infosem_jax.data.dataset import Dataset, numbered
from infosem_jax.data.gene_sets import write_gmt
from infosem_jax.grn import exact
from infosem_jax.grn.activities import Activity, add_to_anndata, compare_activity
from infosem_jax.grn.differences import Contrast, changes, rewired
from infosem_jax.grn.group_pages import (
    DRAWN,
    ROWS,
    activities_on_plane,
    activity_page,
    contrast_page,
)
from infosem_jax.grn.grouped import Grouped
from infosem_jax.grn.networks import Network, edges, to_anndata, write_edges
from infosem_jax.grn.regulon_sets import as_sets
from infosem_jax.grn.result import Fit, network
from infosem_jax.grn.saved import save
from infosem_jax.grn.states import as_fitted
from infosem_jax.outputs.explorer import coloured_cells
from infosem_jax.outputs.folder import write_h5ad
from infosem_jax.outputs.page import write_page

# Edges that are listed of the network behind activities, of which the fit holds all, and of total
# effects.
MOST_EDGES, MOST_EFFECTS = 100_000, 1_000_000
# Rows that are written at a time.
BLOCK = 100_000
# Files of a folder, each with what it holds.
ACTIVITY_FILES = {
    "cells.h5ad": "the cells, with activities in obsm and their standard deviations in uns",
    "report.html": "cells coloured by activity, and mean activities of groups",
    "activity.csv": "activity of each regulator in each cell",
    "regulators.csv": "mean activity of each regulator in each group of cells",
    "edges.csv": "the strongest edges of the network that activities are read from",
    "fit.npz": "the fit",
    "config.toml": "settings",
    "versions.json": "versions of software",
}
CONTRAST_FILES = {
    "report.html": "the surest differences",
    "differences.csv": "differences of effects, most surely different first",
    "regulators.csv": "regulators whose effects grow or shrink together",
    "config.toml": "settings",
    "versions.json": "versions of software",
}
KNOCKOUT_FILES = {
    "shifts.csv": "shift of each gene, the largest first",
    "upstream.csv": "total effects of regulators on the genes that were held",
    "total_effects.csv": "total effects of all regulators, over all paths: the first million",
    "config.toml": "settings",
    "versions.json": "versions of software",
}
REGULON_FILES = {
    "regulons.csv": "targets of each regulator, as decoupler takes them",
    "regulons.gmt": "the same as gene sets, activated (+) and repressed (-) ones apart",
    "modules.csv": "genes that the same regulators act on alike, in modules",
    "modules.gmt": "the same as gene sets",
    "regulons.h5ad": "the network, with the tables of regulons and modules in uns",
    "enrichment.csv": "gene sets that are over-represented among targets and in modules",
    "config.toml": "settings",
    "versions.json": "versions of software",
}


def write_activity(
    folder: Path,
    cells: Grouped,
    fitted: Fit | exact.Fit,
    found: Activity,
    paths: Sequence[Path],
    record: dict[str, Any],
) -> pd.DataFrame:
    """Write activities into a folder, and return those of groups.

    Parameters
    ----------
    folder
        An existing folder.
    cells, fitted, found
        The cells, the fit, and the activities.
    paths
        Files of the cells: columns of obs and embeddings of h5ad files are kept.
    record
        How the command was run.
    """
    import anndata
    from scipy.sparse import csr_array

    folder, data = FilePath(folder), cells.data
    check_names(data.genes)
    table = compare_activity(found, cells.groups)
    table.to_csv(folder / "regulators.csv", index=False)
    values = pd.DataFrame(
        found.mean, pd.Index(found.cells, name="cell"), pd.Index(found.regulators)
    )
    values.to_csv(folder / "activity.csv", float_format="%.4g")
    write_edges(folder / "edges.csv", network(fitted), top=MOST_EDGES)
    save(folder / "fit.npz", fitted)
    obs, obsm = _kept(paths, data)
    obs = obs.assign(group=cells.groups)
    if data.totals is not None:  # so that counts are worth the same when they are read again
        obs = obs.assign(total_counts=data.totals)
    var = pd.DataFrame({"regulator": np.isin(data.genes, data.regulators)}, pd.Index(data.genes))
    adata = anndata.AnnData(csr_array(data.x), obs, var)
    adata.obsm.update(obsm)
    add_to_anndata(found, adata)
    write_h5ad(folder / "cells.h5ad", adata)
    at, axes = _plane(obsm, as_fitted(fitted, cells.ready(fitted.config)).x)
    names = table["regulator"].head(DRAWN).tolist()
    picture = activities_on_plane(at, found, cells.groups, names, axes)
    coloured = coloured_cells(
        at, values.loc[:, table["regulator"].head(ROWS).tolist()], label="Activity of"
    )
    write_page(folder / "report.html", activity_page(table, picture, coloured, {"Run": record}))
    return table


def write_contrast(
    folder: Path, found: Contrast, record: dict[str, Any], *, top: int | None = None
) -> None:
    """Write the tables and the page of a contrast into a folder.

    Parameters
    ----------
    folder
        An existing folder.
    found
        The contrast.
    record
        How the command was run.
    top
        How many differences to list, the surest; None lists all.
    """
    check_names(found.genes)
    _write_long(FilePath(folder) / "differences.csv", changes(found, top=top))
    rewired(found).to_csv(FilePath(folder) / "regulators.csv", index=False)
    write_page(FilePath(folder) / "report.html", contrast_page(found, {"Run": record}))


def _write_long(path: FilePath, table: pd.DataFrame) -> None:
    """Write names and floats as CSV: the text of ``to_csv``, of millions of rows in half the time.

    Parameters
    ----------
    path
        The file.
    table
        Names, and finite floats in double precision.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(table)
        for start in range(0, len(table), BLOCK):
            part = table.iloc[start : start + BLOCK]
            rows.writerows(zip(*(part[name].tolist() for name in part), strict=True))


def write_knockout(
    folder: Path, shifts: pd.DataFrame, total: Network, above: pd.DataFrame | None
) -> None:
    """Write the tables of a knock-out into a folder.

    Parameters
    ----------
    folder
        An existing folder.
    shifts, total, above
        Shifts of genes, total effects of all regulators, and those on the genes that were held.
    """
    folder = FilePath(folder)
    check_names(total.genes)
    shifts.to_csv(folder / "shifts.csv", index=False)
    write_edges(folder / "total_effects.csv", total, top=MOST_EFFECTS)
    if above is not None:
        above.to_csv(folder / "upstream.csv", index=False)


def write_regulons(
    folder: Path,
    net: Network,
    table: pd.DataFrame,
    together: pd.DataFrame,
    enriched: pd.DataFrame | None,
) -> None:
    """Write regulons and modules into a folder, as tables, gene sets and beside their network.

    Parameters
    ----------
    folder
        An existing folder.
    net, table, together, enriched
        The network, its regulons and modules, and gene sets that are over-represented in them.
    """
    folder = FilePath(folder)
    check_names(net.genes)
    table.to_csv(folder / "regulons.csv", index=False)
    together.to_csv(folder / "modules.csv", index=False)
    for name, found in (("regulons", table), ("modules", together)):
        write_gmt(folder / f"{name}.gmt", as_sets(found))
    adata = to_anndata(net)
    adata.uns.update(infosem_regulons=table, infosem_modules=together)
    write_h5ad(folder / "regulons.h5ad", adata)
    if enriched is not None:
        enriched.to_csv(folder / "enrichment.csv", index=False)


def _kept(paths: Sequence[Path], data: Dataset) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Return obs and the embeddings that all files have, of h5ad files."""
    import anndata

    plain = pd.DataFrame(index=pd.Index(data.cells))
    if any(FilePath(path).suffix != ".h5ad" for path in paths):
        return plain, {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Observation names are not unique")
        files: list[Any] = [anndata.read_h5ad(path, backed="r") for path in paths]
    tables = [
        file.obs.set_axis(pd.Index(numbered(tuple(map(str, file.obs_names)))[0])) for file in files
    ]
    obs = pd.concat(tables, join="inner")
    # Cells of one name in two files were renamed, in the same order.
    together = len(obs) == len(data.cells)
    if not together and (not obs.index.is_unique or not set(data.cells) <= set(obs.index)):
        return plain, {}
    at = np.arange(len(obs)) if together else obs.index.get_indexer(list(data.cells))
    obsm = {}
    for key in set.intersection(*(set(file.obsm) for file in files)):
        parts = [np.asarray(file.obsm[key]) for file in files]
        if len({part.shape[1:] for part in parts}) == 1:
            obsm[key] = np.concatenate(parts)[at]
    return obs.iloc[at].set_axis(plain.index), obsm


def _plane(
    obsm: dict[str, np.ndarray], x: Float[np.ndarray, "cells genes"]
) -> tuple[np.ndarray, tuple[str, str]]:
    """Return the UMAP that the files hold, else the first principal components."""
    if "X_umap" in obsm:
        return obsm["X_umap"][:, :2], ("UMAP 1", "UMAP 2")
    from sklearn.decomposition import PCA

    return PCA(2, random_state=0).fit_transform(x), ("PC 1", "PC 2")


def upstream(total: Network, genes: Sequence[str]) -> pd.DataFrame:
    """List the regulators of some genes by the size of their total effects.

    Parameters
    ----------
    total
        Total effects, as `infosem_jax.grn.total_effects` returns them.
    genes
        The genes.
    """
    at = [total.genes.index(gene) for gene in genes]
    of_genes = {name: getattr(total, name)[:, at] for name in ("weight", "sd", "sign_agreement")}
    table = edges(total._replace(genes=tuple(genes), probability=None, **of_genes))
    return table.loc[:, ["source", "target", *of_genes]]
