"""The output folder of a comparison of priors, made whole when all is known."""

import json
import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tomli_w

from infosem_jax import _typing
from infosem_jax.compare import _figures as draw
from infosem_jax.compare.experiment import Plan, identity, run
from infosem_jax.compare.measures import SHUFFLED
from infosem_jax.compare.summary import (
    BAYES,
    CONTROL,
    DENSITY,
    READ_OUT,
    REFERENCE,
    STATES,
    Comparison,
    summarise,
    verdict,
)
from infosem_jax.engine.checkpoint import load, save
from infosem_jax.engine.interrupts import interrupts
from infosem_jax.engine.saver import Saver
from infosem_jax.grn import exact, run_folder
from infosem_jax.grn.batch import checkpoint_folder
from infosem_jax.grn.metrics import UNIVERSE
from infosem_jax.grn.paired import HEADLINE
from infosem_jax.outputs.folder import software_versions, whole_folder
from infosem_jax.outputs.page import Page, Picture, Section, Table, counted, number, write_board

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STATUS = "comparison.npz"
FILES = (
    *("comparison.csv", "summary.csv", "paired.csv", "changes.csv", "versions.json"),
    *("config.toml", "table.md", "report.html", "plots"),
)
LABELS = {
    DENSITY: "held-out density, nats per value",
    STATES: "density of states held out, nats per value",
    BAYES: "log Bayes factor, nats",
    HEADLINE: "AUPRC ratio per regulator",
    "auprc": "AUPRC, pooled",
}
OVERVIEW = {
    DENSITY: "held-out density",
    STATES: "density of states held out",
    BAYES: "the evidence of all cells",
}
SHOWN = {
    DENSITY: "held-out density",
    STATES: "states held out",
    "covered": "within 90 %",
    "covered_states": "of states",
    "explained": "variance explained",
    "log_evidence": "log evidence",
    "trust": "trust",
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
EXACT_RULES = {
    "Held-out density": (
        "Log density of each gene of cells that were left out, given the other genes, in nats per "
        "value; higher is better. Fits to the other cells predict them, in five folds at random "
        "and, for the states, one state after the other: clusters of cells, or the column that was "
        "named. What holds for states carries over to cells unlike those measured. No label, and "
        "no prior of edges, has a part in it."
    ),
    "Log Bayes factor": (
        "Difference of the log evidence, the density of all cells with effects and noise "
        "integrated out, at the most probable strength and scale of the prior; summed over "
        "targets. It holds cells for independent, so that its size is overstated. A prior that "
        "learns many numbers is fitted to it: believe the density of cells left out there."
    ),
    "Intervals hold": (
        "Within 90 %: share of the values left out that lie in their 90 % intervals. Trust: "
        "probability that the prior says something of edges, as far as the expression bears it out."
    ),
    "Agreement": (
        "Rank correlation of scores, and share of the most probable 1 % of edges in common, "
        "between fits to two halves of the cells. A strong prior makes them agree whether it is "
        "right or wrong."
    ),
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
INTERVALS = (
    "95 % bootstrap intervals over cells left out (density), targets (log Bayes factors) and "
    "regulators (accuracy). Data sets are not resampled. Of many comparisons without any "
    "difference, about one in forty is better by luck."
)


def write_comparison(
    plan: Plan,
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
    plan
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
        run_folder.check_output(out, data, files=FILES, overwrite=overwrite or resume, networks=0)
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
    comparison = summarise(outcomes, list(plan.priors), plan.reference)
    with whole_folder(out) as folder:
        _write(folder, comparison, plan, record, about)
    shutil.rmtree(saved, ignore_errors=True)
    return comparison


def overview(comparison: Comparison) -> list[str]:
    """Say in words which priors help, by held-out density and by evidence."""
    sentences = []
    for measure, how in OVERVIEW.items():
        rows = comparison.paired
        rows = rows.loc[rows["measure"] == measure].to_dict("records")
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
                sentences.append(f"By {how}, " + "; ".join(parts) + ".")
    return [sentence.replace("level than", "level with") for sentence in sentences]


def cells_of(row: dict[str, Any]) -> list[str]:
    """Return a comparison as texts: prior, against, measure, difference with interval, verdict."""
    largest = max(abs(row[name]) for name in ("low", "high", "difference"))
    # Differences that matter may be small: the larger bound has two digits at least.
    digits = 4 if not 0 < largest < 1e-3 else min(1 - math.floor(math.log10(largest)), 9)
    digits = 1 if row["measure"] == BAYES else digits
    low, high = (f"{row[name]:+.{digits}f}" for name in ("low", "high"))
    interval = f"{row['difference']:+.{digits}f} [{low}, {high}]"
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
    write_board(folder, _page(comparison, plan, about, versions), plots="svg")


def _page(
    comparison: Comparison, plan: Plan, about: dict[str, str], versions: dict[str, str]
) -> Page:
    pictures = _pictures(comparison)

    def drawn(*names: str) -> list[Picture]:
        return [pictures[name] for name in names if name in pictures]

    sizes = [
        f"{name}: {len(d.cells)} cells, {len(d.genes)} genes." for name, d in plan.datasets.items()
    ]
    is_exact = isinstance(plan.config, exact.Config)
    engine = "Exact fits" if is_exact else f"{counted({'seed': plan.seeds})} of each fit"
    seeds = f"{engine}; reference: {comparison.reference}."
    sections = [
        Section(
            "In pairs",
            pictures=drawn("density", "states", "evidence", "accuracy"),
            tables=_pairs(comparison),
        )
    ]
    if found := drawn("strengths", "curve"):
        sections.append(Section("How strong should the prior be?", pictures=found))
    tables = _tables(comparison)
    sections.append(Section("All measures", pictures=drawn("scores", "agreement"), tables=tables))
    if changes := _changes(comparison):
        sections.append(Section("What data made of the priors", parts=changes))
    rules = RULES
    if is_exact:
        rules = EXACT_RULES | {name: RULES[name] for name in ("Share moved", "Controls")}
        rules |= {"Intervals": INTERVALS, "Accuracy": UNIVERSE.replace("{score}", "score")}
    sections.append(Section("What the columns mean", facts=rules))
    return Page(
        "Comparison of priors",
        "Which prior knowledge helps the model to predict cells that it has not seen, and is it "
        "more than a shuffled copy of itself?",
        [*overview(comparison), " ".join([*sizes, seeds])],
        _notes(comparison),
        sections,
        {"Priors": about, "Versions": versions},
        frozenset(name for table in tables for name, _ in table.rows if name.endswith(SHUFFLED)),
    )


def _pictures(comparison: Comparison) -> dict[str, Picture]:
    summary, paired = comparison.summary, comparison.paired
    accuracy = next((name for name in (HEADLINE, "auprc_ratio") if name in summary), None)
    found = {}

    def add(name: str, figure: "Figure", caption: str) -> None:
        found[name] = Picture(figure, caption, name=name)

    if (paired["measure"] == DENSITY).any():
        label = "Difference of held-out density (nats per value)"
        add(
            "density",
            draw.differences(paired, DENSITY, label, comparison.reference),
            "Held-out density: right of the dotted line is better. Lines are 95 % intervals. A "
            "prior that helps is better than the reference and than its own shuffled control.",
        )
    for measure, name, caption in (
        (STATES, "states", "The same where whole states of cells are left out."),
        (
            BAYES,
            "evidence",
            "Evidence of all cells, in the same way; it takes cells as independent.",
        ),
    ):
        if (paired["measure"] == measure).any():
            label = f"Difference of {LABELS[measure]}" if measure == STATES else LABELS[measure]
            figure = draw.differences(paired, measure, label, comparison.reference)
            add(name, figure, caption)
    if len(comparison.curves):
        add(
            "curve",
            draw.curves(comparison.curves),
            "Evidence over the strength of a prior's means (in standard deviations of effects), "
            "against none, a line for each data set; dashed: its genes permuted. The cells decide "
            "for the top of the curve; a prior that is worth something rises above its control.",
        )
    if (paired["measure"] == HEADLINE).any():
        label = f"Difference of {LABELS[HEADLINE]}"
        figure = draw.differences(paired, HEADLINE, label, comparison.reference)
        add("accuracy", figure, "Accuracy against the known network, in the same way.")
    if accuracy and np.isfinite(np.asarray(summary[accuracy], float)).any():
        add(
            "scores",
            draw.scores(summary, accuracy, SHOWN[accuracy]),
            "Does held-out density, which needs no labels, order priors as accuracy does?",
        )
    else:
        accuracy = None
    if summary.columns.isin(["seeds_spearman", "halves_spearman"]).any():
        text = "What seeds, and halves of the cells, agree on."
        add("agreement", draw.agreement(summary), text)
    if draw.is_scan(list(dict.fromkeys(summary["prior"]))):
        add(
            "strengths",
            draw.strengths(summary, accuracy, SHOWN[accuracy] if accuracy else ""),
            "Means over data sets and seeds at every strength; dashed lines are the other priors.",
        )
    return found


def _pairs(comparison: Comparison) -> list[Table]:
    kinds: dict[str, list[tuple[str, list[str]]]] = {REFERENCE: [], CONTROL: [], READ_OUT: []}
    for row in comparison.paired.to_dict("records"):
        name, *texts = cells_of(row)
        kinds[row["kind"]].append((name, texts))
    columns = ["Against", "Measure", "Difference [95 %]", "Verdict"]
    return [
        Table("Prior", columns, rows, f"Against {'the ' * (kind == REFERENCE)}{kind}", words=2)
        for kind, rows in kinds.items()
        if rows
    ]


def _tables(comparison: Comparison) -> list[Table]:
    """Return a table of means for all data sets together, and one for each, as texts."""
    shown = [name for name in SHOWN if name in comparison.summary]
    tables = []
    for dataset, rows in comparison.summary.groupby("dataset", sort=False):
        texts = [
            (f"{row['prior']}{SHUFFLED * bool(row['control'])}", [number(row[n]) for n in shown])
            for row in rows.to_dict("records")
        ]
        title = str(dataset) or "Mean over data sets"
        tables.append(Table("Prior", [SHOWN[name] for name in shown], texts, title))
    # Of one data set, its table is the mean.
    return tables[1:] if len(tables) == 2 else tables


def _notes(comparison: Comparison) -> list[str]:
    notes, measures = [], comparison.measures
    unsound = measures.loc[(measures["measure"] == "sound") & (measures["value"] == 0)]
    if len(unsound):
        notes.append(f"{len(unsound)} fits diverged and were left out.")
    if measures["seed"].max() == 0 and not (measures["measure"] == "log_evidence").any():
        notes.append("One seed only: how far seeds agree is not known. Compare several.")
    few = measures.loc[measures["measure"] == "effective_samples", "value"]
    if len(few) and few.min() < 2:
        notes.append(
            "The effective sample size is below 2 for some fits: their densities are a little too "
            "low. Differences between priors suffer less, as all are estimated alike."
        )
    return notes


def _changes(comparison: Comparison) -> list[Section]:
    """Return a table of the edges that data moved most, for each data set and prior."""
    if not len(comparison.changes):
        return []
    sections = []
    for names, rows in comparison.changes.groupby(["dataset", "prior"], sort=False):
        moved = [
            (
                r["source"],
                [
                    r["target"],
                    *(number(r[c], 4, sign=True) for c in ("prior_mean", "weight", "change")),
                ],
            )
            for r in rows.head(20).to_dict("records")
        ]
        table = Table("Regulator", ["target", "prior mean", "weight", "change"], moved, words=1)
        name = ", ".join(map(str, names)) if isinstance(names, tuple) else str(names)
        sections.append(Section(name, tables=[table], folded=True))
    return sections
