"""The check of a run: its fit read again, judged, and put on a page."""

import tomllib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from infosem_jax._shown import shown
from infosem_jax._typing import Path
from infosem_jax.calibration.findings import (
    Finding,
    agreement,
    convergence,
    from_prior,
    hubs,
    moved,
)
from infosem_jax.calibration.findings_held_out import RANDOM, STATES, judge_held_out
from infosem_jax.calibration.findings_simulated import judge_calibration, judge_predictive
from infosem_jax.calibration.matching import matched_priors, matched_simulation
from infosem_jax.calibration.predictive import Predictive, predictive_checks
from infosem_jax.calibration.recalibrate import Recalibration, fit_simulations, learn
from infosem_jax.data.dataset import Dataset, subset
from infosem_jax.data.io import read_expression, read_groups, read_regulators
from infosem_jax.grn import exact
from infosem_jax.grn.exact.held_out import HeldOut, random_folds, state_folds
from infosem_jax.grn.exact.held_out import held_out as predict_held_out
from infosem_jax.grn.grouped import read_grouped
from infosem_jax.grn.inputs import without
from infosem_jax.grn.priors.binding import Prior, Priors
from infosem_jax.grn.priors.registry import from_record
from infosem_jax.grn.result import Fit, loss_table
from infosem_jax.grn.saved import load
from infosem_jax.grn.states import as_fitted

# A check takes minutes, not hours: larger data are simulated smaller.
MOST_GENES, MOST_CELLS = 150, 400


@shown("findings", "held_out", "losses")
class Check(NamedTuple):
    """What a check found.

    Attributes
    ----------
    name
        What the data are called.
    findings
        The judgements.
    predictive
        Simulated expression beside that measured, of the svi engine.
    held_out
        How cells that were left out are predicted, by how they were chosen; of the exact engine.
    recalibration
        Reliability of edge probabilities on matched simulations, where it was asked for.
    losses
        Table of the losses, see `infosem_jax.grn.loss_table`.
    """

    name: str
    findings: list[Finding]
    predictive: Predictive | None
    held_out: dict[str, HeldOut]
    recalibration: Recalibration | None
    losses: pd.DataFrame


class Run(NamedTuple):
    """A folder that ``infosem fit`` wrote, read again: its fit, its data, its settings."""

    fitted: Fit | exact.Fit
    data: Dataset
    settings: dict[str, Any]


def read_run(folder: Path, expression: Path | None = None, data: Dataset | None = None) -> Run:
    """Read the fit of a run, and the expression that it was fitted to.

    Parameters
    ----------
    folder
        The run.
    expression
        Where the expression is now; None where the record of the run says.
    data
        The data, where they are in memory.

    Raises
    ------
    FileNotFoundError, ValueError
        If the folder holds no saved fit, or the expression is not found or of other genes.
    """
    folder = FilePath(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; give one that infosem fit wrote.")
    if not (folder / "fit.npz").exists():
        there = "a run without fit.npz" if (folder / "edges.csv").exists() else "no run"
        raise ValueError(
            f"{folder}: found {there}. Runs of earlier versions, and fits above 1 GiB, were not "
            "saved whole; of a grid, give the folder of one fit. Run infosem fit again to get it."
        )
    fitted = load(folder / "fit.npz")
    settings = tomllib.loads((folder / "config.toml").read_text(encoding="utf-8"))
    if data is None:
        data = _expression(fitted, settings["run"], expression)
    return Run(fitted, data, settings)


def check(
    run: Run, *, calibrate: bool = False, on_step: Callable[[str], None] | None = None
) -> Check:
    """Judge a run.

    Parameters
    ----------
    run
        See `read_run`.
    calibrate
        Simulate data like those of the run (of fewer genes and cells, where they are large), fit
        them likewise, and look how far edge probabilities can be believed.
    on_step
        Called with what is being looked at.

    Raises
    ------
    ValueError
        If the priors of the run cannot be built again.
    """
    report = on_step or (lambda text: None)
    fitted, data = run.fitted, run.data
    priors = _priors(run.settings) if calibrate else Priors()
    findings = [*from_prior(fitted), hubs(fitted)]
    predictive, held_out = None, {}
    if isinstance(fitted, exact.Fit):
        report("cells left out")
        effect, unknown = _effect(run.settings)
        folds = {
            RANDOM: random_folds(data.cells, 0),
            STATES: state_folds(as_fitted(fitted, data).x),
        }
        held_out = {
            name: predict_held_out(fitted, data, effect, each) for name, each in folds.items()
        }
        findings += [*judge_held_out(held_out), *unknown]
    else:
        report("training and seeds")
        findings += [*convergence(fitted), *moved(fitted), *agreement(fitted)]
        report("simulated expression")
        predictive = predictive_checks(fitted, data)
        findings += judge_predictive(predictive, fitted)
    recalibration = None
    if calibrate:
        report("fits to simulations with known networks")
        recalibration = _on_simulations(run, priors)
        findings.append(judge_calibration(recalibration))
    losses = loss_table(fitted)
    return Check(fitted.name, findings, predictive, held_out, recalibration, losses)


def _effect(settings: dict[str, Any]) -> tuple[Prior | None, list[Finding]]:
    """Build the prior of the effects again; where it cannot be, say so."""
    if settings.get("effect", {}).get("prior", "none") == "none":
        return None, []
    try:
        return _priors({"effect": settings["effect"]}).effect, []
    except ValueError as error:
        what = f"The cells left out were predicted without the run's prior. {error}"
        return None, [Finding("prior of effects", "note", what)]


def _priors(settings: dict[str, Any]) -> Priors:
    """Build the priors of a run again from its settings."""
    tables = {site: settings.get(site, {}) for site in ("effect", "edge")}
    record = {site: table for site, table in tables.items() if "prior" in table}
    for table in record.values():
        if ":" in table["prior"]:
            # What a folder names is not imported: folders are passed on, and code is not checked.
            raise ValueError(
                f"The run used a prior of its own, {table['prior']}, which is not imported here; "
                "use infosem_jax.calibration.recalibrate.recalibration_for in Python instead."
            )
    try:
        return from_record(record)
    except (ValueError, OSError) as error:
        raise ValueError(f"Cannot build the run's priors again: {error}") from error


def _on_simulations(run: Run, priors: Priors) -> Recalibration:
    """Learn how far probabilities can be believed, on simulations of two minutes."""
    small = _reduced(run.data)
    config = matched_simulation(small)
    labelled = getattr(priors.edge, "table", None)
    if labelled is not None:
        share = len(labelled) / (len(run.data.regulators) * len(run.data.genes))
        config = replace(config, known_fraction=min(share, 1.0))
    matched = partial(matched_priors, priors)
    fits = fit_simulations(config, matched, model=run.fitted.config, simulations=2)
    return learn(fits, config)


def _reduced(data: Dataset) -> Dataset:
    """Keep so many genes and cells that a simulation is fitted within a minute, evenly spread."""
    acts = np.isin(data.genes, data.regulators)
    share = min(1.0, MOST_GENES / len(data.genes))
    kept = []
    for group in (np.flatnonzero(acts), np.flatnonzero(~acts)):
        count = min(len(group), max(round(share * len(group)), 4))
        kept.append(group[np.linspace(0, len(group) - 1, count).astype(int)] if count else group)
    genes = np.sort(np.concatenate(kept))
    cells = np.linspace(0, len(data.cells) - 1, min(MOST_CELLS, len(data.cells))).astype(int)
    return subset(data, cells=cells, genes=genes)


def _expression(fitted: Fit | exact.Fit, record: dict[str, Any], path: Path | None) -> Dataset:
    """Read the data of a fit as its record says, from where they are now."""
    paths = [path] if path is not None else record.get("expression", [])
    if not paths:
        raise ValueError("The run does not say where its expression is; pass --expression.")
    regulators = fitted.regulators
    if record.get("regulators") and FilePath(record["regulators"]).exists():
        regulators = read_regulators(record["regulators"])
    layer = record.get("layer") or None
    names = record.get("names") or record.get("var_names") or None
    genes = set(fitted.genes)
    if record.get("command") == "infosem activity":  # groups and files are fitted together
        taken = record.get("covariates") or None
        cells = read_grouped(paths, covariates=taken, layer=layer, names=names)
        acting = set(fitted.regulators)
        own = tuple(gene for gene in cells.data.genes if gene in acting)
        return cells._replace(data=cells.data._replace(regulators=own)).ready(fitted.config)
    seen = []
    for place in paths:
        if not FilePath(place).exists():
            raise FileNotFoundError(
                f"{place}: the expression of this run is not there any more; pass --expression."
            )
        if record.get("groupby"):
            groups = read_groups(
                place, record["groupby"], layer=layer, names=names, regulators=regulators
            )
            read = list(groups.values())
        else:
            options = {"orientation": record.get("orientation", "auto")}
            options |= {"variant": record.get("variant") or None, "layer": layer, "names": names}
            read = [read_expression(place, regulators=regulators, **options)]
        covariates = record.get("covariates") or None
        seen += [
            without(covariates, data, place, fitted.config)
            for data in read
            if set(data.genes) == genes
        ]
    named = [data for data in seen if data.name == fitted.name] or seen
    if len(named) != 1:
        raise ValueError(
            f"Expected one data set with the {len(genes)} genes of the fit ({fitted.name}), found "
            f"{len(named)} in {', '.join(map(str, paths))}; pass --expression."
        )
    return named[0]
