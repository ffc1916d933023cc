"""The output folder of a comparison of priors, made whole when all is known."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import tomli_w

from infosem_jax import _typing
from infosem_jax.compare import _figures as draw
from infosem_jax.compare.experiment import Plan, identity, run
from infosem_jax.compare.measures import SHUFFLED
from infosem_jax.compare.summary import (
    CONTROL,
    DENSITY,
    READ_OUT,
    REFERENCE,
    Comparison,
    summarise,
    verdict,
)
from infosem_jax.engine.checkpoint import load, save
from infosem_jax.engine.interrupts import interrupts
from infosem_jax.engine.saver import Saver
from infosem_jax.grn import run_folder
from infosem_jax.grn.batch import checkpoint_folder
from infosem_jax.grn.metrics import UNIVERSE
from infosem_jax.grn.paired import HEADLINE
from infosem_jax.outputs.folder import software_versions, whole_folder
from infosem_jax.outputs.page import svg
from infosem_jax.outputs.render import render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STATUS = "comparison.npz"
LABELS = {
    DENSITY: "held-out density, nats per value",
    HEADLINE: "AUPRC ratio per regulator",
    "auprc": "AUPRC, pooled",
}
SHOWN = {
    DENSITY: "held-out density",
    "elbo": "bound",
    "share_moved": "share moved",
    "prior_correlation": "prior to posterior",
    "seeds_spearman": "seeds agree",
    "seeds_top": "top 1 %",
    "halves_spearman": "halves agree",
    "halves_top": "top 1 %, halves",
    HEADLINE: "AUPRC ratio per regulator",
    f"prior_{HEADLINE}": "of the prior alone",
    "auprc_ratio": "AUPRC ratio, pooled",
    "auprc_ratio_regulator_mean": "of regulators alone",
}
RULES = {
    "Held-out density": (
        "Log density that the fitted model gives to cells kept out of training, in nats per "
        "measured value, by importance sampling; higher is better. No label and no part of a prior "
        "enters it, so it compares priors of any kind. Differences are taken cell by cell. Where "
        "only measured values are modelled, it is the density of those."
    ),
    "Bound": (
        "The training objective on the held-out cells: it holds the log density of the edges under "
        "their own prior, so it says whether training went well, not which prior is better."
    ),
    "Share moved": (
        "How many edges the data moved from their prior mean, as a participation ratio: 1 where "
        "all moved by as much, near 0 where few did."
    ),
    "Agreement": (
        "Rank correlation of edge strengths, and share of the strongest 1 % in common, between "
        "seeds and between fits to two halves of the cells. A strong prior makes fits agree "
        "whether it is right or wrong."
    ),
    "Controls": (
        "Shuffled: the same prior with the names of the genes permuted, regulators among "
        "themselves. What a prior knows of genes is what it is better by than this control. Priors "
        "that know no genes have none. The prior alone: edges ranked by their prior mean."
    ),
    "Intervals": (
        "95 % bootstrap intervals over held-out cells and seeds within data sets (density), and "
        "over regulators and seeds (accuracy). Data sets are not resampled. Of many comparisons "
        "without any difference, about one in forty is better by luck."
    ),
    "Accuracy": UNIVERSE.replace("{score}", "|weight|"),
}


def write_comparison(
    plan: Plan,
    reference: str,
    out: _typing.Path,
    *,
    record: dict[str, Any],
    about: dict[str, str],
    resume: bool = False,
    overwrite: bool = False,
    every: float = 60.0,
    on_progress: Callable[[float, str], None] = lambda share, text: None,
) -> Comparison:
    """Run a comparison and write its folder, whole; what is measured on the way is kept beside it.

    Parameters
    ----------
    plan, reference
        What is compared, and with what.
    out
        Folder for the results.
    record
        Tables of ``config.toml``.
    about
        A sentence for each prior.
    resume
        Go on with an interrupted comparison, if there is one.
    overwrite
        Replace the results, and drop the checkpoints, of an earlier one.
    every
        Seconds between two checkpoints of training.
    on_progress
        Called with the share that is done, and a text.

    Raises
    ------
    ValueError
        If nothing can be written, or what was saved belongs to another comparison.
    Interrupted
        If the process was told to stop; all that was measured is kept.
    """
    saved, own = checkpoint_folder(out), identity(plan) | {"versions": software_versions()}
    for data in plan.datasets.values():
        run_folder.check_output(out, data, overwrite=overwrite or resume, networks=0)
    if resume and (saved / STATUS).exists():
        load(saved / STATUS, {}, own)
    elif saved.exists() and not (resume or overwrite):
        raise ValueError(
            f"{saved}: an interrupted comparison was saved there; pass --resume to go on with it, "
            "or --overwrite to begin anew."
        )
    else:
        shutil.rmtree(saved, ignore_errors=True)
        saved.mkdir(parents=True)
        save(saved / STATUS, {}, own)
    with interrupts() as stop, _kept_if_worth(saved):
        whole, halves = (
            Saver(saved / go, own["versions"], resume=resume, every=every, stop=stop)
            for go in ("whole", "halves")
        )
        going = run(
            plan,
            folder=saved / "outcomes",
            savers=(whole, halves),
            stop=stop,
            on_progress=on_progress,
        )
        outcomes = list(going)
    comparison = summarise(outcomes, list(plan.priors), reference)
    with whole_folder(out) as folder:
        _write(folder, comparison, plan, record, about)
    shutil.rmtree(saved, ignore_errors=True)
    return comparison


def overview(comparison: Comparison) -> list[str]:
    """Say in words which priors help, by held-out density."""
    rows = comparison.paired
    rows = rows.loc[rows["measure"] == DENSITY].to_dict("records")
    sentences = []
    for kind, text in (
        (REFERENCE, f"than {comparison.reference}"),
        (CONTROL, "than their own shuffled control"),
    ):
        of = [row for row in rows if row["kind"] == kind]
        if of:
            parts = [
                f"{what} {text}: {', '.join(str(row['prior']) for row in found)}"
                for what in ("better", "level", "worse")
                if (found := [row for row in of if verdict(row) == what])
            ]
            sentences.append("By held-out density, " + "; ".join(parts) + ".")
    return [sentence.replace("level than", "level with") for sentence in sentences]


def cells_of(row: dict[str, Any]) -> list[str]:
    """Return a comparison as texts: prior, against, measure, difference with interval, verdict."""
    interval = f"{row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]"
    measure = LABELS[row["measure"]]
    return [row["prior"], row["against"], measure, interval, verdict(row)]


@contextmanager
def _kept_if_worth(saved: Path) -> Iterator[None]:
    """Remove the folder of checkpoints if the block fails before there is one."""
    try:
        yield
    except BaseException:
        if not any(saved.glob("*/*")):
            shutil.rmtree(saved, ignore_errors=True)
        raise


def _write(
    folder: Path, comparison: Comparison, plan: Plan, record: dict[str, Any], about: dict[str, str]
) -> None:
    comparison.measures.to_csv(folder / "comparison.csv", index=False)
    comparison.summary.to_csv(folder / "summary.csv", index=False)
    comparison.paired.to_csv(folder / "paired.csv", index=False)
    if len(comparison.changes):
        comparison.changes.to_csv(folder / "changes.csv", index=False)
    versions = software_versions()
    (folder / "versions.json").write_text(json.dumps(versions, indent=2) + "\n")
    (folder / "config.toml").write_text(tomli_w.dumps(record), encoding="utf-8")
    plots = {name: svg(figure, name) for name, figure in _figures(comparison).items()}
    (folder / "plots").mkdir()
    for name, text in plots.items():
        (folder / "plots" / f"{name}.svg").write_text(
            text.replace("currentColor", "#20262e"), encoding="utf-8"
        )
    (folder / "table.md").write_text(_markdown(comparison), encoding="utf-8")
    page = _page(comparison, plan, plots, about, versions)
    (folder / "report.html").write_text(page, encoding="utf-8")


def _figures(comparison: Comparison) -> "dict[str, Figure]":
    summary, paired = comparison.summary, comparison.paired
    accuracy = next((name for name in (HEADLINE, "auprc_ratio") if name in summary), None)
    found = {}
    if (paired["measure"] == DENSITY).any():
        label = "Difference of held-out density (nats per value)"
        found["density"] = draw.differences(paired, DENSITY, label, comparison.reference)
    if (paired["measure"] == HEADLINE).any():
        label = f"Difference of {LABELS[HEADLINE]}"
        found["accuracy"] = draw.differences(paired, HEADLINE, label, comparison.reference)
    if accuracy and np.isfinite(np.asarray(summary[accuracy], float)).any():
        found["scores"] = draw.scores(summary, accuracy, SHOWN[accuracy])
    else:
        accuracy = None
    if summary.columns.isin(["seeds_spearman", "halves_spearman"]).any():
        found["agreement"] = draw.agreement(summary)
    if draw.is_scan(list(dict.fromkeys(summary["prior"]))):
        label = SHOWN[accuracy] if accuracy else ""
        found["strengths"] = draw.strengths(summary, accuracy, label)
    return found


def _tables(comparison: Comparison) -> dict[str, tuple[list[str], list[list[str]]]]:
    """Return a table of means for all data sets together, and one for each, as texts."""
    shown = [name for name in SHOWN if name in comparison.summary]
    tables = {}
    for dataset, rows in comparison.summary.groupby("dataset", sort=False):
        texts = [
            [str(row["prior"]) + SHUFFLED * bool(row["control"]), *(_text(row[n]) for n in shown)]
            for row in rows.to_dict("records")
        ]
        tables[str(dataset)] = (["prior", *(SHOWN[name] for name in shown)], texts)
    if len(tables) == 2:
        del tables[""]
    return tables


def _text(value: Any) -> str:
    return f"{value:.3f}" if pd.notna(value) else "-"


def _markdown(comparison: Comparison) -> str:
    parts = ["# Comparison of priors", *overview(comparison)]
    for dataset, (columns, rows) in _tables(comparison).items():
        parts.append(f"## {dataset or 'Mean over data sets'}")
        parts.append(_grid(columns, rows))
    columns = ["prior", "against", "measure", "difference [95 %]", "verdict"]
    rows = [cells_of(row) for row in comparison.paired.to_dict("records")]
    parts += ["## In pairs", _grid(columns, rows), "## What the columns mean"]
    parts += [f"**{name}.** {text}" for name, text in RULES.items()]
    return "\n\n".join(parts) + "\n"


def _grid(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    escaped = [[text.replace("|", "\\|").replace("<", "&lt;") for text in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def _page(
    comparison: Comparison,
    plan: Plan,
    plots: dict[str, str],
    about: dict[str, str],
    versions: dict[str, str],
) -> str:
    kinds = {REFERENCE: [], CONTROL: [], READ_OUT: []}
    for row in comparison.paired.to_dict("records"):
        kinds[row["kind"]].append((cells_of(row), verdict(row)))
    return render(
        "compare.html",
        overview=overview(comparison),
        reference=comparison.reference,
        seeds=plan.seeds,
        datasets={name: f"{len(d.cells)} cells, {len(d.genes)} genes"
                  for name, d in plan.datasets.items()},
        notes=_notes(comparison),
        tables=_tables(comparison),
        shuffled=SHUFFLED,
        kinds={kind: rows for kind, rows in kinds.items() if rows},
        plots=plots,
        changes=_changes(comparison),
        rules=RULES,
        about=about,
        versions=versions,
    )  # fmt: skip


def _notes(comparison: Comparison) -> list[str]:
    notes, measures = [], comparison.measures
    unsound = measures.loc[(measures["measure"] == "sound") & (measures["value"] == 0)]
    if len(unsound):
        notes.append(f"{len(unsound)} fits diverged and were left out.")
    if measures["seed"].max() == 0:
        notes.append("One seed only: how far seeds agree is not known. Compare several.")
    few = measures.loc[measures["measure"] == "effective_samples", "value"]
    if len(few) and few.min() < 2:
        notes.append(
            "The effective sample size is below 2 for some fits: their densities are a little too "
            "low. Differences between priors suffer less, as all are estimated alike."
        )
    return notes


def _changes(comparison: Comparison) -> list[tuple[str, list[list[str]]]]:
    if not len(comparison.changes):
        return []
    return [
        (
            ", ".join(map(str, names)) if isinstance(names, tuple) else str(names),
            [
                [
                    r["source"],
                    r["target"],
                    *(f"{r[c]:+.4f}" for c in ("prior_mean", "weight", "change")),
                ]
                for r in rows.head(20).to_dict("records")
            ],
        )
        for names, rows in comparison.changes.groupby(["dataset", "prior"], sort=False)
    ]
