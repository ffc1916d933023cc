"""Two files of cells, before and after a stimulus: activities, differences of effects, and a page.

    python examples/stimulated_cells.py CONTROL.h5ad STIMULATED.h5ad --regulators FILE --out DIR

With blood cells before and after interferon (Kang 2018) and a list of transcription factors, the
interferon factors lead. Without files, two small ones are simulated in which one regulator is
active after the stimulus and another one loses its targets. Written are ``activity/`` (an h5ad file
with activities in obsm), ``contrast/`` (tables of differences with their local false sign rates),
``network/report.html`` (a page to look around in) and ``activity.png`` (the most changed
activities on the cells' UMAP, where the files or the package umap-learn have one, else on their
principal components).
"""

import argparse
import tempfile
from importlib.util import find_spec
from pathlib import Path

import anndata
import numpy as np
import pandas as pd

from infosem_jax import grn
from infosem_jax.data import Dataset, normalise
from infosem_jax.grn import exact, group_folders, grouped, run_folder
from infosem_jax.grn.group_pages import activities_on_plane

SETTINGS = exact.Config(rows="regulators")


def main() -> None:
    parser = argparse.ArgumentParser(description="Activities and differences of two files.")
    parser.add_argument("files", type=Path, nargs="*", help="two h5ad files; simulated without")
    parser.add_argument("--regulators", type=Path, help="candidate regulators, one a line")
    parser.add_argument("--out", type=Path, help="folder for the results (default: temporary)")
    options = parser.parse_args()
    if len(options.files) not in (0, 2):
        parser.error("expected two files, or none")
    with tempfile.TemporaryDirectory() as temporary:
        out = options.out or Path(temporary)
        out.mkdir(parents=True, exist_ok=True)
        run(options.files or simulated(out), options.regulators, out)


def run(files: list[Path], regulators: Path | None, out: Path) -> None:
    cells = grouped.read_grouped(files, regulators=regulators)
    cells = cells._replace(data=informative(cells.data))
    fitted = grn.fit(cells.data, config=SETTINGS)
    found = grn.activity(fitted, cells.data)
    for name in ("activity", "contrast", "network"):
        (out / name).mkdir(exist_ok=True)
    record = {"expression": [str(file) for file in files]}
    means = group_folders.write_activity(out / "activity", cells, fitted, found, files, record)
    first, second = dict.fromkeys(cells.groups.tolist())
    means["change"] = means[second] - means[first]
    print(f"Activities that change most from {first} to {second}:")
    print(means.head(12).to_string(index=False, float_format="%+.2f"))

    differences = grn.contrast(cells.data, cells.groups, between=(first, second))
    group_folders.write_contrast(out / "contrast", differences, record)
    sure, shuffled = (differences.lfsr <= 0.05).sum(), differences.learned["shuffled"]
    print(f"\n{sure} effects differ at a local false sign rate of 5 %;", end=" ")
    print(f"{' and '.join(map(str, shuffled))} after labels were shuffled. The surest:")
    print(grn.changes(differences, top=12).to_string(index=False, float_format="%.3g"))

    title = f"{first} and {second}"
    run_folder.write_run(
        out / "network", cells.data, fitted, grn.Priors(), record=record, title=title, top=50_000
    )
    at, axes = embedded(anndata.read_h5ad(out / "activity" / "cells.h5ad"), cells)
    names = means["regulator"].head(5).tolist()
    picture = activities_on_plane(at, found, cells.groups, names, axes)
    picture.savefig(out / "activity.png", dpi=110)
    print("\nPages: report.html in activity, contrast and network; picture: activity.png.")


def informative(data: Dataset, genes: int = 1500, seen: float = 0.02) -> Dataset:
    """Keep the genes that vary most, and regulators, of those that enough cells show."""
    log = normalise(data, "log1p_cpm").x
    often = (data.x > 0).mean(0) >= seen
    dispersion = np.where(often, log.var(0) / (log.mean(0) + 0.1), -1.0)
    acting = np.isin(data.genes, data.regulators) & often
    most = np.sort(dispersion)[-min(genes, len(dispersion))]
    keep = np.flatnonzero(((dispersion >= most) | acting) & often)
    names = tuple(data.genes[i] for i in keep)
    return data._replace(
        x=data.x[:, keep],
        observed=data.observed[:, keep],
        genes=names,
        regulators=tuple(name for name in names if name in set(data.regulators)),
    )


def embedded(stored: anndata.AnnData, cells: grouped.Grouped) -> tuple[np.ndarray, tuple[str, str]]:
    """Return a plane of the cells: a UMAP that is stored or made now, or principal components."""
    if "X_umap" in stored.obsm:
        return np.asarray(stored.obsm["X_umap"]), ("UMAP 1", "UMAP 2")
    from sklearn.decomposition import PCA

    components = PCA(20, random_state=0).fit_transform(normalise(cells.data, "auto").x)
    if find_spec("umap") is None:
        return components[:, :2], ("PC 1", "PC 2")
    import umap  # pyright: ignore[reportMissingImports]  (an extra)

    made = umap.UMAP(min_dist=0.5, random_state=0, n_jobs=1)  # as scanpy makes it
    return made.fit_transform(components), ("UMAP 1", "UMAP 2")


def simulated(out: Path) -> list[Path]:
    """Write two files: R0 is active after the stimulus, and R1 loses its targets."""
    rng = np.random.default_rng(0)
    effect = np.where(rng.random((8, 80)) < 0.25, rng.normal(0, 0.7, (8, 80)), 0.0)
    groups = []
    for stimulated in (False, True):
        a = rng.normal(size=(500, 8))
        a[:, 0] += 2 * stimulated
        now = effect * np.where(np.arange(8) == 1, 1 - stimulated, 1)[:, None]
        groups.append(np.hstack([a, a @ now + rng.normal(size=(500, 80))]))
    names = pd.Index([*(f"R{i}" for i in range(8)), *(f"G{i:02d}" for i in range(80))])
    is_tf = pd.DataFrame({"is_tf": names.str.startswith("R")}, index=names)
    files = [out / "control.h5ad", out / "stimulated.h5ad"]
    for file, log in zip(files, groups, strict=True):
        counts = rng.poisson(np.exp(2.5 + 0.5 * log)).astype(np.float32)
        cells = pd.DataFrame(index=pd.Index([f"{file.stem}{i}" for i in range(len(log))]))
        anndata.AnnData(counts, cells, is_tf).write_h5ad(file)
    return files


if __name__ == "__main__":
    main()
