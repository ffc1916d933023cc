"""What the commands ``infosem benchmark`` share: their options, and how a grid is run and shown."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infosem_jax.cli._common import note, plain_errors, print_table, progress, start_devices, words

if TYPE_CHECKING:
    from infosem_jax.engine.types import Progress

Data = Annotated[Path, typer.Option(help="Folder that holds the data sets.")]
Out = Annotated[Path, typer.Option(help="Folder that the results are written to.")]
Datasets = Annotated[
    str, typer.Option(help="Names of data sets with commas between; all of the folder if empty.")
]
Methods = Annotated[
    str, typer.Option(help="Names of methods with commas between; the usual ones if empty.")
]
Splits = Annotated[
    str, typer.Option(help="Splits with commas between; those that suit the data if empty.")
]
Seeds = Annotated[
    int,
    typer.Option(min=1, help="Number of seeds: each draws a split and all that is random."),
]
Quick = Annotated[
    bool,
    typer.Option("--quick", help="Take a look within minutes: less data, small networks, 1 seed."),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Compute only the results that the folder lacks.")
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Remove the results of an earlier run first.")
]


def run_benchmark(
    task: str,
    data: Path,
    out: Path,
    names: Sequence[str],
    *,
    seeds: int,
    quick: bool,
    resume: bool,
    overwrite: bool,
    compile_cache: Path | None,
    options: dict[str, Any],
) -> None:
    """Read data sets, compute the grid of a benchmark, print its main scores, and say what failed.

    Parameters
    ----------
    task
        Which benchmark: the name of its system.
    data, out
        Folders of the data sets and of the results.
    names
        Names of data sets, methods and splits, each with commas between.
    seeds, quick, resume, overwrite, compile_cache
        As the options of all benchmarks.
    options
        Those of this benchmark alone, as its ``make_grid`` takes them.
    """
    with plain_errors():
        start_devices(False, compile_cache)
        from infosem_jax.benchmark import folder
        from infosem_jax.benchmark.runner import run_grid

        folder.check(out, resume=resume, overwrite=overwrite)
        runner = import_module(f"infosem_jax.benchmark.{task}.runner")
        datasets, methods, splits = map(words, names)
        grid = runner.make_grid(
            data, datasets=datasets, methods=methods, splits=splits, seeds=seeds, quick=quick,
            **options,
        )  # fmt: skip
        for text in grid.notes:
            note(text)
        with progress(100, "%") as update:

            def tell(now: "Progress") -> None:
                text = f"{now.done:.0f} of {now.total:.0f} {now.unit}; {now.text}"
                update(100 * now.done / now.total, text)

            found = run_grid(grid, out, resume=resume, overwrite=overwrite, on_chunk=tell)
        for table in runner.headline_tables(found.cells):
            rows = [(name, *texts) for name, texts in table.rows]
            print_table((table.head, *table.columns), rows, table.title)
        typer.echo(f"Wrote {len(found.cells)} cells to {out}: open {out / 'report.html'}.")
        if found.failures:
            typer.secho(
                f"{len(found.failures)} cells failed; {out / 'failures.csv'} says why.",
                fg=typer.colors.RED,
                err=True,
            )
            raise typer.Exit(1)


def named(given: list[str] | None, option: str) -> list[tuple[str, str]]:
    """Return names and values of an option that is given as NAME=VALUE, again for more.

    Raises
    ------
    ValueError
        If it is given in another form.
    """
    pairs = []
    for spec in given or []:
        name, _, value = spec.partition("=")
        if not (name and value):
            raise ValueError(f"{option}: expected NAME=VALUE, found {spec!r}.")
        pairs.append((name, value))
    return pairs
