"""What the commands ``infosem benchmark`` share: their options, and how a grid is run and shown."""

import inspect
from collections.abc import Callable
from importlib import import_module
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infosem_jax.cli._common import note, plain_errors, print_table, words
from infosem_jax.cli._devices import CompileCache, start_devices
from infosem_jax.cli._inputs import Layer, VarNames
from infosem_jax.cli._progress import progress

if TYPE_CHECKING:
    from infosem_jax.engine.types import Progress

benchmark_app = typer.Typer(
    help="Compare methods on data with a known answer.", no_args_is_help=True
)

_FIRST = {
    "data": Annotated[Path, typer.Option(help="Folder that holds the data sets.")],
    "out": Annotated[Path, typer.Option(help="Folder that the results are written to.")],
    "datasets": Annotated[
        str,
        typer.Option(help="Names of data sets with commas between; all of the folder if empty."),
    ],
    "methods": Annotated[
        str, typer.Option(help="Names of methods with commas between; the usual ones if empty.")
    ],
    "splits": Annotated[
        str, typer.Option(help="Splits with commas between; those that suit the data if empty.")
    ],
    "seeds": Annotated[
        int, typer.Option(min=1, help="Number of seeds: each draws a split and all that is random.")
    ],
}
_LAST = {
    "layer": Layer,
    "var_names": VarNames,
    "quick": Annotated[
        bool,
        typer.Option(
            "--quick", help="Take a look within minutes: less data, small networks, 1 seed."
        ),
    ],
    "resume": Annotated[
        bool, typer.Option("--resume", help="Compute only the results that the folder lacks.")
    ],
    "overwrite": Annotated[
        bool, typer.Option("--overwrite", help="Remove the results of an earlier run first.")
    ],
    "compile_cache": CompileCache,
}
_DEFAULTS = {
    **dict.fromkeys(("data", "out"), Parameter.empty),
    **dict.fromkeys(("datasets", "methods", "splits"), ""),
    **dict.fromkeys(("layer", "var_names", "compile_cache"), None),
    **dict.fromkeys(("quick", "resume", "overwrite"), False),
}


def benchmark(*, seeds: int) -> Callable[[Callable[..., dict[str, Any]]], None]:
    """Make a command of the function that it decorates, which has the name of a system.

    The function takes the options of its benchmark alone, and returns what ``make_grid`` gets of
    them; the command has those that all benchmarks share as well.

    Parameters
    ----------
    seeds
        Number of seeds where none is given.
    """

    def make(own: Callable[..., dict[str, Any]]) -> None:
        mine = inspect.signature(own).parameters

        def command(**given: Any) -> None:
            options = {name: given.pop(name) for name in mine}
            with plain_errors(given["out"]):
                _run(own.__name__, lambda: own(**options), **given)

        defaults = _DEFAULTS | {"seeds": seeds}
        first, last = (
            [
                Parameter(name, Parameter.KEYWORD_ONLY, default=defaults[name], annotation=kind)
                for name, kind in shared.items()
            ]
            for shared in (_FIRST, _LAST)
        )
        every = [*first, *(p.replace(kind=Parameter.KEYWORD_ONLY) for p in mine.values()), *last]
        command.__signature__ = inspect.Signature(every)  # pyright: ignore[reportFunctionMemberAccess]
        command.__annotations__ = {p.name: p.annotation for p in every}
        benchmark_app.command(own.__name__, help=inspect.getdoc(own))(command)

    return make


def _run(
    system: str,
    options: Callable[[], dict[str, Any]],
    *,
    data: Path,
    out: Path,
    datasets: str,
    methods: str,
    splits: str,
    seeds: int,
    layer: str | None,
    var_names: str | None,
    quick: bool,
    resume: bool,
    overwrite: bool,
    compile_cache: Path | None,
) -> None:
    """Read data sets, compute the grid of a benchmark, print its main scores, say what failed."""
    start_devices(False, compile_cache)
    from infosem_jax.benchmark import folder
    from infosem_jax.benchmark.runner import run_grid

    folder.check(out, resume=resume, overwrite=overwrite)
    runner = import_module(f"infosem_jax.benchmark.{system}.runner")
    grid = runner.make_grid(
        data,
        datasets=words(datasets),
        methods=words(methods),
        splits=words(splits),
        seeds=seeds,
        quick=quick,
        layer=layer,
        names=var_names,
        **options(),
    )
    for text in grid.notes:
        note(text)
    with progress(100, "%") as update:

        def report(now: "Progress") -> None:
            text = f"{now.done:.0f} of {now.total:.0f} {now.unit}; {now.text}"
            update(100 * now.done / now.total, text)

        found = run_grid(grid, out, resume=resume, overwrite=overwrite, on_chunk=report)
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
