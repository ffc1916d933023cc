"""The folder that a fit leaves behind: written whole or not at all."""

import json
import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tomli_w

from infosem_jax import _typing
from infosem_jax._settings import values_given
from infosem_jax.data._names import check_names
from infosem_jax.data.dataset import Dataset
from infosem_jax.data.stream import Stream, n_cells
from infosem_jax.grn import exact
from infosem_jax.grn.networks import Network, edges, to_anndata, write_edges
from infosem_jax.grn.priors.binding import Priors
from infosem_jax.grn.priors.registry import describe
from infosem_jax.grn.report import EXACT_READING, READING, Report, write_report
from infosem_jax.grn.result import Fit, loss_table, network
from infosem_jax.grn.saved import fit_bytes, save, saved_bytes
from infosem_jax.outputs.folder import check_folder, software_versions, write_h5ad

FILES = {
    "edges.csv": "candidate edges with their uncertainty, strongest first",
    "network.h5ad": "the network as AnnData: varp['infosem'], regulators in rows",
    "fit.npz": "the fit itself, for infosem check, knock-outs and infosem_jax.grn.load",
    "losses.csv": "training and held-out loss of each seed and epoch",
    "config.toml": "all settings; infosem fit --config reads it",
    "versions.json": "versions of the software, the device, and the seconds that it took",
    "report.html": "this page",
}
EXACT_FILES = FILES | {
    "edges.csv": "candidate edges with score and uncertainty, most probable first",
    "losses.csv": "the objective at each step of the search for hyper-parameters",
}
OURS = (*FILES, "comparison.csv", "summary.csv", "check.json", "check.html")
# In the table of edges; and in the h5ad file, which holds all of them.
BYTES_PER_EDGE, BYTES_PER_WEIGHT = 100, 50
# Larger fits are not saved: networks of whole transcriptomes would fill disks.
MOST_FIT_BYTES = 2**30
SPARE_BYTES = 50 * 2**20


def check_output(
    folder: _typing.Path,
    data: Dataset | Stream,
    *,
    files: Collection[str] = OURS,
    overwrite: bool = False,
    top: int | None = None,
    networks: int = 1,
    rows: int | None = None,
    seeds: int = 1,
) -> None:
    """Find out before a long fit whether its results can be written.

    Parameters
    ----------
    folder
        Where to.
    data
        What is fitted.
    files
        Names of files that an earlier run may have left there.
    overwrite
        Whether the folder may have content, which must be such files.
    top
        How many edges are listed; None for all.
    networks
        How many networks of these genes are written.
    rows
        How many genes have a row in W; None for all.
    seeds
        How many seeds each fit has.

    Raises
    ------
    ValueError
        If the folder exists and is not empty, holds other files, cannot be written to, or the disk
        is too full; or if gene names cannot be written to a table.
    """
    folder = Path(folder)
    check_names(data.genes)
    parent = folder.absolute().parent
    try:
        check_folder(folder, files, overwrite=overwrite)
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise ValueError(f"{folder}: cannot write to {parent} ({error.strerror}).") from error
    n_edges = len(data.regulators) * len(data.genes)
    listed = n_edges if top is None else min(top, n_edges)
    n_genes = len(data.genes)
    of_fit = saved_bytes(seeds, rows or n_genes, len(data.regulators), n_genes)
    per_network = BYTES_PER_EDGE * listed + BYTES_PER_WEIGHT * n_edges
    needed = networks * (per_network + min(of_fit, MOST_FIT_BYTES)) + SPARE_BYTES
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise ValueError(
            f"{folder}: results may take {needed / 2**20:.0f} MiB, found {free / 2**20:.0f} MiB "
            "free on that disk; make room or choose another folder."
        )


def write_run(
    folder: _typing.Path,
    data: Dataset | Stream,
    fitted: Fit | exact.Fit,
    priors: Priors,
    *,
    record: dict[str, Any],
    title: str,
    comparison: pd.DataFrame | None = None,
    top: int | None = None,
) -> Network:
    """Write all files of a fit into a folder, and return the network.

    Parameters
    ----------
    folder
        An existing folder.
    data, fitted, priors
        What was fitted, the fit, and its priors.
    record
        How the run was started: input files, seeds, key.
    title
        Heading of the report.
    comparison
        Table of variants for the report, if there is one.
    top
        How many edges to list, the strongest; None lists all.
    """
    folder = Path(folder)
    result = network(fitted)
    losses = loss_table(fitted)
    settings = values_given(fitted.config)
    is_exact = isinstance(fitted, exact.Fit)
    config = {
        "engine": "exact" if is_exact else "svi",
        "exact" if is_exact else "model": settings,
        "run": record,
        **priors.record,
    }
    versions = software_versions()
    write_edges(folder / "edges.csv", result, top=top)
    run_record = {"config": json.dumps(config), "versions": json.dumps(versions), **record}
    write_h5ad(folder / "network.h5ad", to_anndata(result, record=run_record))
    losses.to_csv(folder / "losses.csv", index=False)
    (folder / "config.toml").write_text(tomli_w.dumps(config), encoding="utf-8")
    # In no other file, so that all others of a run that was resumed are those of one that was not.
    timed = {**versions, "seconds": round(fitted.seconds, 1)}
    (folder / "versions.json").write_text(json.dumps(timed, indent=2) + "\n", encoding="utf-8")
    files = dict(EXACT_FILES if is_exact else FILES)
    if fit_bytes(fitted) <= MOST_FIT_BYTES:
        save(folder / "fit.npz", fitted._replace(seconds=0.0))
    else:
        del files["fit.npz"]
    if comparison is not None:
        comparison.to_csv(folder / "comparison.csv", index=False)
        files["comparison.csv"] = "average precision of each variant and seed"
    prior_mean = fitted.prior_mean
    if isinstance(fitted, Fit):
        prior_mean = prior_mean[fitted.diverged < 0].mean(0)
    report = Report(
        title=title,
        dataset={
            "name": data.name,
            "cells": n_cells(data),
            "genes": len(data.genes),
            "candidate regulators": len(data.regulators),
            "genes that act" if is_exact else "genes with a row in W": _rows(fitted),
            "normalisation": fitted.config.normalisation,
            **_covariates(data),
            **({"engine": "exact"} if is_exact else {"seeds": len(fitted.diverged)}),
        },
        priors=[
            {
                "site": "effect" if site == "effect" else "logit",
                "name": settings["prior"],
                "text": describe(settings["prior"], getattr(priors, site)),
                "coverage": fitted.coverage.get(site, {}),
            }
            for site, settings in priors.record.items()
        ],
        losses=None if is_exact else losses,
        network=result,
        prior_mean=prior_mean,
        comparison=comparison,
        notes=_notes(data, fitted, result),
        config=config,
        versions=versions,
        files=files,
        learned=_learned(fitted) if is_exact else {},
        reading=EXACT_READING if is_exact else READING,
    )
    write_report(folder / "report.html", report)
    return result


def _covariates(data: Dataset | Stream) -> dict[str, str]:
    """Say what was taken out of the data."""
    taken = [] if isinstance(data, Stream) else data.covariates
    return {"covariates": ", ".join(taken)} if taken else {}


def _rows(fitted: Fit | exact.Fit) -> str | int:
    """Say which genes act in the model."""
    if isinstance(fitted, Fit):
        return len(fitted.rows)
    which = "all" if fitted.config.rows == "all" else "the candidate regulators"
    return f"{len(fitted.rows)} ({which})"


# What the exact engine learns, in words; of draws, the mean is told.
LEARNED = {
    "r2": "share of a target's variance that effects are expected to explain (r2)",
    "slope": "prior means, in standard deviations of the prior (slope)",
    "strength": "log-odds of an edge per unit of what the prior says (strength)",
    "trust": "probability that the prior says something of edges (trust)",
    "worth": "log-odds that a unit of what the expression says is worth (worth)",
    "strength_of_scale": "the same of the prior's scales (strength)",
    "trust_in_scale": "probability that the prior's scales say something (trust)",
    "cells": "independent cells that all cells are worth (cells)",
    "reliability": "share of the variance of partial correlations that is not chance (reliability)",
    "edges": "share of pairs that stand out (edges)",
    "share": "share of pairs taken to be edges, where no prior says which (share)",
    "activating": "share of edges that activate",
}


def _learned(fitted: exact.Fit) -> dict[str, float]:
    known = {LEARNED[name]: fitted.learned[name] for name in LEARNED if name in fitted.learned}
    if fitted.config.r2 is not None:
        known = {f"{LEARNED['r2']}, as given": fitted.config.r2, **known}
    evidence = float(fitted.log_evidence.sum())
    told = {text: float(np.mean(value)) for text, value in known.items()}
    return {**told, "log evidence of all targets, in nats": evidence}


def _notes(data: Dataset | Stream, fitted: Fit | exact.Fit, result: Network) -> list[str]:
    """Say in words what a careful reader would want to be warned of."""
    notes = []
    if fit_bytes(fitted) > MOST_FIT_BYTES:
        notes.append(
            f"The fit takes {fit_bytes(fitted) / 2**30:.1f} GiB, too much to keep on disk: infosem "
            "check and knock-outs cannot use this folder."
        )
    if n_cells(data) < 200:
        notes.append(
            f"{n_cells(data)} cells are few to find the regulators of {len(data.genes)} genes; "
            "the prior weighs much."
        )
    if data.regulators == data.genes:
        notes.append("Every gene is a candidate regulator; pass a list of regulators to narrow it.")
    return notes + (_training_notes(fitted, result) if isinstance(fitted, Fit) else [])


def _training_notes(fitted: Fit, result: Network) -> list[str]:
    notes = []
    bad = int((fitted.diverged >= 0).sum())
    if bad:
        notes.append(f"{bad} of {len(fitted.diverged)} seeds diverged and were left out.")
    if len(fitted.diverged) == 1:
        notes.append("One seed only: the spread across seeds is not known. Fit several.")
    # As many as the report counts targets among.
    strongest = edges(result, top=len(result.genes))
    agreement = strongest["sign_agreement"].mean()
    if len(fitted.diverged) > 1 and agreement < 0.8:
        notes.append(
            f"Seeds agree on the sign of the {len(strongest)} strongest edges in only "
            f"{agreement:.0%} of the cases."
        )
    train = fitted.losses.train[fitted.diverged < 0]
    # The losses of a chain are those of its draws, in no order of improvement.
    if train.shape[1] >= 10 and fitted.config.guide != "nuts":
        late = np.nanmean(train[:, -1] - train[:, -1 - train.shape[1] // 10])
        whole = np.nanmean(train[:, -1] - train[:, 0])
        if whole < 0 and late / whole > 0.1:
            notes.append("The loss was still falling when training ended; consider more epochs.")
    return notes
