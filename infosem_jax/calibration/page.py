"""The files of a check: one for programs, and one page to read."""

from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from infosem_jax._typing import Path
from infosem_jax.calibration.check import Check
from infosem_jax.calibration.predictive import Predictive
from infosem_jax.data.io import atomic_write
from infosem_jax.grn.exact.held_out import LEVELS, HeldOut
from infosem_jax.outputs.folder import to_json
from infosem_jax.outputs.page import Page, Picture, Section, write_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_check(folder: Path, found: Check) -> None:
    """Write ``check.json`` and ``check.html`` to a folder, which is made where there is none.

    Parameters
    ----------
    folder
        Where to; files of an earlier check are replaced.
    found
        See `check`.
    """
    folder = FilePath(folder)
    folder.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = {
        "name": found.name,
        "findings": [finding._asdict() for finding in found.findings],
    }
    if found.predictive is not None:
        record["measured"] = found.predictive.measured
        record["simulated"] = found.predictive.simulated.to_dict("records")
    if found.held_out:
        record["held_out"] = {
            name: {"coverage": dict(zip(map(str, LEVELS), each.coverage, strict=True))}
            | {"density": each.density.mean(), "explained": each.explained}
            for name, each in found.held_out.items()
        }
    if found.recalibration is not None:
        record["calibration"] = found.recalibration.scores.to_dict("index")
    with atomic_write(folder / "check.json") as draft:
        draft.write_text(to_json(record), "utf-8")
    write_page(folder / "check.html", _page(found))


def _page(found: Check) -> Page:
    from infosem_jax.calibration.reliability import reliability_figure
    from infosem_jax.grn import plot

    verdicts = (
        ("looks wrong", "Looks wrong", "bad"),
        ("note", "Worth knowing", "mixed"),
        ("fine", "Looks fine", "good"),
    )
    sections = []
    for verdict, heading, tone in verdicts:
        own = [each for each in found.findings if each.verdict == verdict]
        parts = [Section(each.topic, each.sentences) for each in own]
        sections += [Section(heading, parts=parts, tone=tone)] if parts else []
    if found.predictive is not None:
        losses = Picture(plot.losses(found.losses), "Loss over epochs, one line for each seed.")
        genes = Picture(
            _genes_figure(found.predictive),
            "Each point is a gene. On the dashed line, simulated cells are like measured ones.",
        )
        sections += [
            Section("How training went", pictures=[losses]),
            Section("Genes simulated and measured", pictures=[genes]),
        ]
    if found.held_out:
        coverage = Picture(
            _coverage_figure(found.held_out),
            "Share of the values of cells left out that lie within intervals of each level. On the "
            "dashed line intervals hold what they say; below it the model is too sure, above it "
            "less sure than it could be.",
        )
        sections.append(Section("Cells left out", pictures=[coverage]))
    if found.recalibration is not None:
        reliability = Picture(
            reliability_figure(found.recalibration.tables),
            "Share of true edges among pairs of like probability, with 95% intervals, on "
            "simulations left out of the learning. On the dashed line, probabilities mean what "
            "they say.",
        )
        heading, note = "Edge probabilities on simulations", found.recalibration.note
        sections.append(Section(heading, [note] if note else [], [reliability]))
    lede = (
        "Each judgement compares a number with a rule of thumb. It tells where to look; no check "
        "can tell that a network is right."
    )
    return Page(f"Check of {found.name}", lede, [], [], sections, {})


def _coverage_figure(held_out: dict[str, HeldOut]) -> "Figure":
    from infosem_jax.outputs.style import ACTIVATES, GREY, INK, REPRESSES, WIDTH, axes_grid

    figure, axes = axes_grid(WIDTH, 3.2, 1, 1, lines=False)
    ax = axes[0, 0]
    ax.plot([0, 1], [0, 1], color=GREY, lw=1.2, ls="--")
    for (name, each), colour in zip(held_out.items(), (ACTIVATES, REPRESSES), strict=False):
        ax.plot(LEVELS, each.coverage, "o-", ms=4, color=colour, label=name)
    ax.set_xlabel("Level of the interval", color=INK)
    ax.set_ylabel("Values within it", color=INK)
    ax.legend(frameon=False, labelcolor=INK, fontsize=9)
    return figure


def _genes_figure(predictive: Predictive) -> "Figure":
    from infosem_jax.outputs.style import ACTIVATES, GREY, INK, WIDTH, axes_grid

    genes = predictive.genes
    figure, axes = axes_grid(WIDTH, 2.7, 1, 2, lines=False)
    panels = (("variance", "Variance"), ("zeros", "Share of zeros"))
    for ax, (column, label) in zip(axes.flat, panels, strict=True):
        shown = genes.dropna(subset=[column])
        points = shown[column], shown[f"{column}_simulated"]
        ax.plot(*points, "o", ms=3, color=ACTIVATES, alpha=0.5, mew=0)
        if len(shown):
            ends = [shown[column].min(), shown[column].max()]
            ax.plot(ends, ends, color=GREY, lw=1.2, ls="--")
        ax.set_xlabel(f"{label}, measured", color=INK)
        ax.set_ylabel(f"{label}, simulated", color=INK)
    return figure
