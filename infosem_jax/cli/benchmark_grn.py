"""The commands ``infosem benchmark``."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infosem_jax.cli._common import (
    BeginAnew,
    CompileCache,
    ComputeMissing,
    Quick,
    choose_methods,
    plain_errors,
    print_table,
    progress,
    start_devices,
    words,
)

if TYPE_CHECKING:
    from infosem_jax.benchmark.grn.references import Loaded, Reference
    from infosem_jax.benchmark.grn.runner import LeakCheck
    from infosem_jax.grn.accuracy import Cell

benchmark_app = typer.Typer(
    help="Methods compared on data with a known answer.", no_args_is_help=True
)


@benchmark_app.callback()
def benchmark() -> None:
    """Compare methods on data with a known answer."""


@benchmark_app.command()
def grn(
    data: Annotated[
        Path, typer.Option(help="Folder of data sets with expression and network_<name>.csv.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    datasets: Annotated[str, typer.Option(help="Names, with commas between; all.")] = "",
    genes: Annotated[
        str, typer.Option(help="Gene sets; TFs+500 where there is one, else the first.")
    ] = "",
    networks: Annotated[str, typer.Option(help="Reference networks; all.")] = "",
    methods: Annotated[str, typer.Option(help="Methods; all.")] = "",
    splits: Annotated[
        str, typer.Option(help="Splits: kinds, or published:<name> of a table split_*.csv; all.")
    ] = "",
    seeds: Annotated[int, typer.Option(min=1, help="Splits and fits of each kind.")] = 3,
    embedding: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=FILE: vectors (npz, h5ad) or texts (csv) of genes; again for more."
        ),
    ] = None,
    quick: Quick = False,
    resume: ComputeMissing = False,
    overwrite: BeginAnew = False,
    leak_check: Annotated[
        str,
        typer.Option(
            help="Methods to test for knowing too much: those that users registered, all, none."
        ),
    ] = "registered",
    compile_cache: CompileCache = None,
) -> None:
    """Compare methods of network inference on pairs, targets and regulators they have not seen.

    Every method is tested on every data set, network, split and seed; each result is a file, so
    that an interrupted run goes on with --resume.
    """
    with plain_errors():
        start_devices(False, compile_cache)
        from infosem_jax.benchmark import folder
        from infosem_jax.benchmark.grn.methods import methods as all_methods
        from infosem_jax.benchmark.grn.references import find_references
        from infosem_jax.benchmark.grn.runner import Grid, reduce, run_grid
        from infosem_jax.grn.splits import KINDS

        chosen = choose_methods(words(methods), all_methods(quick=quick))
        folder.check(out, resume=resume, overwrite=overwrite)
        references, left_out = find_references(
            data, datasets=words(datasets), genes=words(genes), networks=words(networks)
        )
        notes = [f"{name} was left out: {reason}." for name, reason in left_out.items()]
        loaded, unread = _load(references, asked=bool(datasets))
        notes += unread
        if quick:
            loaded, reduced = reduce(loaded)
            notes += reduced
        loaded, covered = _embeddings(data, loaded, embedding or [])
        notes += covered
        for note in notes:
            typer.echo(note, err=True)
        grid = Grid(
            loaded,
            chosen,
            tuple(words(splits)) or KINDS,
            1 if quick else seeds,
            quick,
            tuple(notes),
        )
        run_benchmark(
            partial(
                run_grid,
                grid,
                out,
                resume=resume,
                overwrite=overwrite,
                check_leaks=_leak_check(leak_check),
            ),
            out,
            _print_table,
        )


def run_benchmark(run: Callable[..., Any], out: Path, show: Callable[[Any], None]) -> None:
    """Compute the cells of a benchmark, show them, and say what failed.

    Parameters
    ----------
    run
        Called with ``on_progress``; returns cells and failures.
    out
        Folder that the results are written to.
    show
        Prints the cells.
    """
    from infosem_jax.engine.interrupts import Interrupted

    with progress(100, "%") as update:
        try:
            outcome = run(
                on_progress=lambda done, total, text: update(
                    100 * done / total, f"{done} of {total} cells; {text}"
                )
            )
        except Interrupted as error:
            typer.echo(
                f"Stopped; {error} holds what was computed, and the same command with --resume "
                "goes on.",
                err=True,
            )
            raise typer.Exit(130) from error
    show(outcome.cells)
    typer.echo(f"Wrote {len(outcome.cells)} cells to {out}: open {out / 'report.html'}.")
    if outcome.failures:
        typer.secho(
            f"{len(outcome.failures)} cells failed; {out / 'failures.csv'} says why.",
            fg=typer.colors.RED,
            err=True,
        )
        raise typer.Exit(1)


def _leak_check(text: str) -> "LeakCheck":
    if text not in ("registered", "all", "none"):
        raise ValueError(f"--leak-check: expected registered, all or none, found {text!r}.")
    return text


def _load(references: "list[Reference]", *, asked: bool) -> "tuple[list[Loaded], list[str]]":
    """Read data sets; one that was not asked for by name may be unfit, and is then told."""
    from infosem_jax.benchmark.grn.references import load

    loaded, unfit = [], []
    for reference in references:
        try:
            loaded.append(load(reference))
        except ValueError as error:
            if asked:
                raise
            unfit.append(f"{reference.dataset} was left out: {error}")
    if not loaded:
        raise ValueError(f"No data set can be used: {' '.join(unfit)}")
    return loaded, unfit


def _embeddings(
    data: Path, loaded: "list[Loaded]", given: list[str]
) -> "tuple[list[Loaded], list[str]]":
    from infosem_jax.benchmark.grn.references import add_embeddings, find_embeddings

    files = []
    for spec in given:
        name, _, file = spec.partition("=")
        if not (name and file):
            raise ValueError(f"--embedding: expected NAME=FILE, found {spec!r}.")
        files.append((name, Path(file)))
    return add_embeddings(loaded, files or find_embeddings(data), asked=bool(given))


def _print_table(cells: "list[Cell]") -> None:
    """Print the mean AUPRC ratios of each method and split."""
    import numpy as np

    splits = list(dict.fromkeys(cell.at.split for cell in cells))
    values: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for at, metrics, *_ in cells:
        pair = metrics["auprc_ratio_per_regulator"], metrics["auprc_ratio"]
        values.setdefault((at.method, at.split), []).append(pair)
    rows = []
    for method in sorted({cell.at.method for cell in cells}):
        row = [method]
        for split in splits:
            found = np.asarray(values.get((method, split), [(np.nan, np.nan)])).T
            sound = [column[~np.isnan(column)] for column in found]
            row.append(" / ".join(f"{c.mean():.2f}" if len(c) else "-" for c in sound))
        rows.append(row)
    columns = ("method", *(split.replace("_", " ") for split in splits))
    print_table(columns, rows, "AUPRC ratio per regulator / pooled, mean over the grid")
