"""What Piao et al. (2026) claim of AdaPert, tested, with ablations, beside the authors' figures.

    INFOSEM_DATA=DATA python benchmarks/paper_adapert.py --out DIR [--resume] [--seeds 3]

runs, on signed tables of three cell lines with their published splits, on a THP-1 screen with each
perturbation left out in turn, and on a K562 screen with combinations, the network and its
ablations: no graph, the full graph, contexts of 1 hop and of the selector, a shuffled graph; each
source of edges alone; losses on and off; and the baselines. ``--part`` chooses some of it.
``--network NAME=EDGES`` adds the network that ``infosem fit`` wrote as a source of edges; it must
have been fitted to control cells, or it knows the responses that are to be predicted.

Claims, each a paired difference over seeds with its 95 % interval: the network is above neighbours
in graph and text, and above each of its ablations. The continuous screens of the paper are not part
of DATA; where their h5ad files are given with ``--screen``, they are computed as well.
"""

import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from _record import (
    Figure,
    benchmark_parser,
    cells_of,
    data_folder,
    print_progress,
    print_table,
    report,
    run,
)

if TYPE_CHECKING:
    from infosem_jax._settings import Method
    from infosem_jax.benchmark.perturbation.cells import Cell
    from infosem_jax.benchmark.perturbation.compare import Group
    from infosem_jax.perturbation.knowledge import Knowledge
    from infosem_jax.perturbation.screen import Screen
    from infosem_jax.scores import Estimate

SIGNED = ("k562", "rpe1", "hepg2")
GRAPHS = {"string": "stringdb_pairs", "corum": "corum_pairs", "go": "go_bp_jaccard_top20"}
OTHERS = {"reactome": "reactome_pairs", "signor": "signor_pairs", "collectri": "collectri_human"}
MAIN = "adapert"
RIVAL = "neighbours"
ABLATIONS = (
    "adapert_no_graph", "adapert_full", "adapert_hops1", "adapert_adaptive", "adapert_shuffled",
)  # fmt: skip
LOSSES = ("adapert_no_alignment", "adapert_mean_base", "adapert_learned_cut")
# The loss on genes that do not change is one of values, which tables of signs lack.
OF_VALUES = ("adapert_no_calm",)
PARTS = ("signed", "papalexi", "norman", "sources", "losses", "selection")
REFERENCE = "adapert_reported_metrics.csv.gz"


DATA = ("perturb", "perturb/labels, perturb/kg and others")


class Claim(NamedTuple):
    """A difference that is said to be above 0."""

    group: "Group"
    metric: str
    method: str
    against: str
    gap: "Estimate"
    tested: tuple[float, float]


def main() -> None:
    options = benchmark_parser(__doc__, seeds=3)
    options.add_argument("--part", default="", help=f"of {', '.join(PARTS)}; all")
    options.add_argument("--lines", default=",".join(SIGNED), help="signed tables")
    options.add_argument("--screen", type=Path, action="append", help="h5ad file; again for more")
    options.add_argument("--network", action="append", default=[], metavar="NAME=EDGES")
    options.add_argument("--methods", default="", help="split by commas; those of each part")
    arguments = options.parse_args()
    cells = cells_of(arguments, read, compute)
    print_scores(cells)
    print_reference()
    found = list(claims(cells))
    columns = ("data", "score", "method", "against", "over seeds [95 %]", "over tested", "verdict")
    if found:
        print_table(columns, [_line(claim) for claim in found])
    figures = [*scores(cells), *(_figure(claim) for claim in found)]
    if not arguments.earlier and "selection" in parts(arguments):
        figures += selection(arguments)
    report(figures, arguments)


def parts(arguments) -> tuple[str, ...]:
    """Return the parts that were asked for."""
    from infosem_jax.cli._common import words

    return tuple(words(arguments.part)) or (("papalexi",) if arguments.quick else PARTS)


def read(folder: Path) -> "list[Cell]":
    """Return the cells of all parts that were run before."""
    from infosem_jax.benchmark.perturbation.cells import STORE

    return [cell for part in sorted(folder.glob("*")) for cell in STORE.read_all(part)]


def compute(arguments) -> "list[Cell]":
    """Run the parts that were asked for, and return their cells."""
    from infosem_jax._settings import choose
    from infosem_jax.benchmark.perturbation.runner import Grid
    from infosem_jax.benchmark.runner import run_grid
    from infosem_jax.cli._common import words

    cells = []
    known = all_methods(arguments.quick)
    for part in parts(arguments):
        if part == "selection":
            continue
        screens, knowledge, names, split = plan(part, arguments)
        names = words(arguments.methods) or names
        grid = Grid(
            screens,
            knowledge,
            choose("method", names, known),
            (split,),
            1 if arguments.quick else arguments.seeds,
            quick=arguments.quick,
        )
        print(f"{part}: {', '.join(names)}", file=sys.stderr)
        folder = arguments.out / part
        cells += run_grid(grid, folder, resume=arguments.resume, on_chunk=print_progress).cells
    return cells


def plan(part: str, arguments) -> "tuple[list[Screen], dict[str, Knowledge], tuple[str, ...], str]":
    """Return data, knowledge, methods and split of a part."""
    from infosem_jax.cli._common import words
    from infosem_jax.perturbation.baselines import METHODS as BASELINES
    from infosem_jax.perturbation.screen import read_screen

    if part not in PARTS:
        sys.exit(f"--part: expected of {', '.join(PARTS)}, found {part!r}.")
    of_values = ("additive", "gene_effects")
    simple = tuple(name for name in BASELINES if name not in of_values)
    networks = (MAIN, *ABLATIONS, "txpert_untuned", "gears_untuned")
    data = data_folder(*DATA)
    if part == "papalexi":
        path = data / "sc" / "papalexi2021_thp1_panel.h5ad"
        screens = [read_screen(path, least_counts=30.0, keep=[("guide_frac", 0.5)])]
        names, split = (*networks, *OF_VALUES, *simple), "leave_one_out"
    elif part == "norman":
        screens = [_norman(data / "sc" / "norman19_mcfaline23_devel.h5ad")]
        names, split = (*networks, *simple, *of_values), "combination"
    else:
        lines = words(arguments.lines)
        screens = [read_screen(data / "labels" / f"perturbqa_{line}_de.csv.gz") for line in lines]
        names, split = (*networks, *(n for n in simple if n != "ridge_pca")), "published"
        if part == "sources":
            names = (MAIN, RIVAL)
        elif part == "losses":
            names = (MAIN, *LOSSES)
    if part == "signed":
        screens += [read_screen(path, top_genes=5000) for path in arguments.screen or ()]
    if arguments.quick:
        names = (MAIN, "adapert_no_graph", RIVAL, "mean")
    sets = {"string+corum+go": GRAPHS}
    if part == "sources":
        sets = {name: {name: file} for name, file in (GRAPHS | OTHERS).items()}
    knowledge = {name: _knowledge(files, screens, ()) for name, files in sets.items()}
    if arguments.network and part in ("sources", "papalexi", "norman"):
        knowledge |= {
            spec.partition("=")[0]: _knowledge({}, screens, (spec,)) for spec in arguments.network
        }
    return screens, knowledge, names, split


def all_methods(quick: bool) -> "dict[str, Method]":
    """Return methods by name, with those that only this script has."""
    from infosem_jax.perturbation.methods import methods, shuffled_graph, with_config

    known = methods(quick=quick)
    main = known[MAIN]
    return known | {
        "adapert_shuffled": shuffled_graph(main),
        "adapert_no_alignment": with_config(main, change_align=0.0),
        "adapert_no_calm": with_config(main, change_non=0.0),
        "adapert_mean_base": with_config(main, base="mean"),
        "adapert_learned_cut": with_config(known["adapert_adaptive"], threshold="learned", cut=0.5),
    }


def selection(arguments) -> list[Figure]:
    """Measure which share of the nodes is selected, and how it agrees with what responds."""
    from infosem_jax.perturbation.adapert import QUICK, fit_networks
    from infosem_jax.perturbation.explanation import agreement, contexts
    from infosem_jax.perturbation.knowledge import shuffled
    from infosem_jax.perturbation.methods import METHODS
    from infosem_jax.perturbation.splits import draw_splits
    from infosem_jax.perturbation.task import make_problem

    figures, rows = [], []
    config = replace(METHODS["adapert_adaptive"].settings, **(QUICK if arguments.quick else {}))
    screens, knowledge, _, _ = plan("signed", arguments)
    known = next(iter(knowledge.values()))
    for screen in screens:
        split = draw_splits(screen.responses, "published", 0, screen.published)[0]
        for graph, own in (("graph", known), ("shuffled", shuffled(known, 0))):
            problem = make_problem(screen.responses, split, own)
            fitted = fit_networks([problem.task], config)[0]
            truth = problem.truth
            found_contexts = contexts(fitted, truth)
            found = agreement(found_contexts, truth, own.nodes)
            rows.append((truth.name, graph, *(f"{value:.3f}" for value in found.values())))
            figures += [
                Figure(f"paper_adapert: {name}, {truth.name}, {graph}", value, "share", "higher")
                for name, value in found.items()
            ]
    print_table(("data", "graph", *found), rows)
    return figures


def claims(cells: "list[Cell]"):
    """Yield the network against its rival and its ablations, for every data set and score."""
    from infosem_jax.benchmark.perturbation.compare import by_method, headlines, resampled
    from infosem_jax.benchmark.table import difference

    for group, methods in by_method(cells):
        if MAIN not in methods:
            continue
        own = methods[MAIN]
        for metric in headlines(own):
            for other in (
                RIVAL,
                "neighbours_genes",
                *ABLATIONS,
                *LOSSES,
                "txpert_untuned",
                "gears_untuned",
                "ridge",
                "additive",
                "gene_effects",
            ):
                if other in methods:
                    gap = difference(own, methods[other], metric)
                    tested = resampled(own, methods[other], metric)
                    yield Claim(group, metric, MAIN, other, gap, tested)


def scores(cells: "list[Cell]") -> Iterator[Figure]:
    """Yield the main scores of every data set and method, means over seeds."""
    from infosem_jax.benchmark.perturbation.compare import by_method, headlines
    from infosem_jax.scores import mean_interval

    for group, methods in by_method(cells):
        for metric in headlines([cell for of in methods.values() for cell in of]):
            for method, own in methods.items():
                values = [cell.metrics.get(metric, math.nan) for cell in own]
                mean, low, high, *_ = mean_interval(values)
                name = f"paper_adapert: {group.title}, {metric}, {method}"
                yield Figure(name, mean, "score", "higher", None, low, high)


def print_scores(cells: "list[Cell]") -> None:
    """Print the main scores of every data set and method."""
    from infosem_jax.benchmark.perturbation.compare import by_method, headlines

    for group, methods in by_method(cells):
        main = headlines([cell for of in methods.values() for cell in of])
        rows = [
            (name, *(f"{_mean(of, metric):.3f}" for metric in main), f"{len(of)}")
            for name, of in sorted(
                methods.items(), key=lambda item: -_mean(item[1], next(iter(main)))
            )
        ]
        print(f"\n{group.title}")
        print_table(("method", *main, "seeds"), rows)


def print_reference() -> None:
    """Print what the authors report of their own, continuous data."""
    import pandas as pd

    path = data_folder(*DATA) / "effect" / REFERENCE
    if not path.exists():
        print(f"{path} is not there, so the authors' figures are not shown.")
        return
    table = pd.read_csv(path)
    print(f"\nThe authors' {len(table)} figures on data that cannot be had here; the main ones:")
    main = table[(table["setting"] == "unseen_perturbation") & table["metric"].isin(SHOWN)]
    wide = main.pivot_table(index=["cell_line", "method"], columns="metric", values="value")
    rows = [
        (*map(str, index), *(f"{v:.3f}" for v in row))
        for index, row in zip(wide.index, wide.to_numpy(), strict=True)
    ]
    print_table(("line", "method", *map(str, wide.columns)), rows)


SHOWN = ("pearson_delta", "mae_delta", "discrimination_score_l1", "overlap_at_50")


def _norman(path: Path) -> "Screen":
    """Read the K562 part of a file that holds several screens."""
    from infosem_jax.perturbation.readers import read_cells
    from infosem_jax.perturbation.screen import screen_of_cells

    cells = read_cells(path)
    rows = [i for i, line in enumerate(cells.line) if line == "k562"]
    return screen_of_cells(
        cells._replace(
            name="norman2019_k562",
            x=cells.x[rows],
            perturbed=tuple(cells.perturbed[i] for i in rows),
            line=tuple(cells.line[i] for i in rows),
            batch=tuple(cells.batch[i] for i in rows),
        )
    )


def _knowledge(files: dict[str, str], screens: "list[Screen]", networks) -> "Knowledge":
    from infosem_jax.perturbation.screen import read_knowledge

    folder = data_folder(*DATA) / "kg"
    graphs = {name: folder / f"{file}.csv.gz" for name, file in files.items()}
    graphs |= {name: Path(path) for name, _, path in (spec.partition("=") for spec in networks)}
    genes = {gene for screen in screens for gene in screen.genes}
    text = folder / "gene_text_tfidf_svd128.npz"
    return read_knowledge(graphs, text, sorted(genes), top=20 if networks else 0)


def _mean(cells: "list[Cell]", metric: str) -> float:
    return sum(cell.metrics.get(metric, float("nan")) for cell in cells) / len(cells)


def _line(claim: Claim) -> tuple[str, ...]:
    gap = claim.gap
    seeds, tested = (
        "–" if low != low else f"[{low:+.4f}, {high:+.4f}]"
        for low, high in ((gap.low, gap.high), claim.tested)
    )
    seeds = f"{gap.mean:+.4f} {seeds}"
    return (claim.group.title, claim.metric, claim.method, claim.against, seeds, tested,
            gap.verdict)  # fmt: skip


def _figure(claim: Claim) -> Figure:
    name = f"paper_adapert: {claim.method} minus {claim.against}, {claim.group.title}"
    ends = {"low": claim.gap.low, "high": claim.gap.high}
    return Figure(f"{name}, {claim.metric}", claim.gap.mean, "score", "higher", 0.0, **ends)


if __name__ == "__main__":
    run(main)
