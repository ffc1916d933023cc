"""The commands ``infosem benchmark``."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from infosem_jax.cli_common import plain_errors, print_table, progress, start_devices

if TYPE_CHECKING:
    from infosem_jax.benchmark.cell import Cell
    from infosem_jax.benchmark.expression.cells import Cell as ExpressionCell
    from infosem_jax.benchmark.references import Loaded, Reference
    from infosem_jax.benchmark.runner import LeakCheck

T = TypeVar("T")

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
    quick: Annotated[
        bool, typer.Option("--quick", help="A look within minutes: small data, one seed.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Compute only what is missing in the folder.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Remove the results of an earlier run first.")
    ] = False,
    leak_check: Annotated[
        str,
        typer.Option(
            help="Methods to test for knowing too much: those that users registered, all, none."
        ),
    ] = "registered",
    compile_cache: Annotated[
        Path | None,
        typer.Option(help="Private folder for compiled programs, to start faster next time."),
    ] = None,
) -> None:
    """Compare methods of network inference on pairs, targets and regulators they have not seen.

    Every method is tested on every data set, network, split and seed; each result is a file, so
    that an interrupted run goes on with --resume.
    """
    with plain_errors():
        start_devices(False, compile_cache)
        from infosem_jax.benchmark import folder
        from infosem_jax.benchmark.methods import methods as all_methods
        from infosem_jax.benchmark.references import find_references
        from infosem_jax.benchmark.runner import Grid, reduce, run_grid
        from infosem_jax.benchmark.splits import KINDS
        from infosem_jax.checkpoint import Interrupted

        chosen = _choose(_list(methods), all_methods(quick=quick))
        folder.check(out, resume=resume, overwrite=overwrite)
        references, left_out = find_references(
            data, datasets=_list(datasets), genes=_list(genes), networks=_list(networks)
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
            tuple(_list(splits)) or KINDS,
            1 if quick else seeds,
            quick,
            tuple(notes),
        )
        with progress(100, "%") as update:
            try:
                outcome = run_grid(
                    grid,
                    out,
                    resume=resume,
                    overwrite=overwrite,
                    check_leaks=_leak_check(leak_check),
                    on_progress=lambda done, total, text: update(
                        100 * done / total, f"{done} of {total} cells; {text}"
                    ),
                )
            except Interrupted as error:
                typer.echo(
                    f"Stopped; {error} holds what was computed, and the same command with "
                    "--resume goes on.",
                    err=True,
                )
                raise typer.Exit(130) from error
        _print_table(outcome.cells)
        typer.echo(f"Wrote {len(outcome.cells)} cells to {out}: open {out / 'report.html'}.")
        if outcome.failures:
            typer.secho(
                f"{len(outcome.failures)} cells failed; {out / 'failures.csv'} says why.",
                fg=typer.colors.RED,
                err=True,
            )
            raise typer.Exit(1)


@benchmark_app.command()
def expression(
    data: Annotated[
        Path, typer.Option(help="Folder of bulk expression: npz, h5ad, gct or gctx files.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    datasets: Annotated[
        str,
        typer.Option(
            help="Names of files; A:B infers platform B from A, A@B learns from A and tests on B."
        ),
    ] = "",
    methods: Annotated[str, typer.Option(help="Methods; graph and those without a graph.")] = "",
    splits: Annotated[
        str, typer.Option(help="random, stratified:LABEL, grouped:LABEL, folds:K; by the labels.")
    ] = "",
    inputs: Annotated[
        str, typer.Option(help="Measured genes: all, random:100, greedy:1/3, all+tissue, ...")
    ] = "",
    pool: Annotated[
        str, typer.Option(help="Genes to choose them from: auto, landmarks, all or random:N.")
    ] = "auto",
    scaling: Annotated[
        str, typer.Option(help="standard (per gene), max (as Kim et al.) or none.")
    ] = "standard",
    seeds: Annotated[int, typer.Option(min=1, help="Splits, pools and fits.")] = 5,
    quick: Annotated[
        bool, typer.Option("--quick", help="A look within minutes: small data, one seed.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Compute only what is missing in the folder.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Remove the results of an earlier run first.")
    ] = False,
    compile_cache: Annotated[
        Path | None,
        typer.Option(help="Private folder for compiled programs, to start faster next time."),
    ] = None,
) -> None:
    """Compare methods that infer unmeasured genes, over numbers and choices of measured ones.

    Each result is a file, so that an interrupted run goes on with --resume.
    """
    with plain_errors():
        start_devices(False, compile_cache)
        from infosem_jax.benchmark import folder
        from infosem_jax.benchmark.expression.runner import USUAL_INPUTS, Grid, run_grid
        from infosem_jax.benchmark.expression.sources import find_sources, reduce
        from infosem_jax.checkpoint import Interrupted
        from infosem_jax.expression.choices import parse_inputs
        from infosem_jax.expression.methods import USUAL
        from infosem_jax.expression.methods import methods as all_methods

        chosen = _choose(_list(methods) or [*USUAL], all_methods(quick=quick))
        wanted = tuple(_list(inputs)) or (("all", "greedy:10") if quick else USUAL_INPUTS)
        for text in wanted:
            parse_inputs(text)
        folder.check(out, resume=resume, overwrite=overwrite)
        sources, notes = find_sources(data, _list(datasets))
        if quick:
            sources, reduced = reduce(sources)
            notes.append(reduced)
        for note in notes:
            typer.echo(note, err=True)
        grid = Grid(
            sources,
            chosen,
            wanted,
            tuple(_list(splits)),
            pool,
            scaling,
            1 if quick else seeds,
            quick,
            tuple(notes),
        )
        with progress(100, "%") as update:
            try:
                outcome = run_grid(
                    grid,
                    out,
                    resume=resume,
                    overwrite=overwrite,
                    on_progress=lambda done, total, text: update(
                        100 * done / total, f"{done} of {total} cells; {text}"
                    ),
                )
            except Interrupted as error:
                typer.echo(
                    f"Stopped; {error} holds what was computed, and the same command with "
                    "--resume goes on.",
                    err=True,
                )
                raise typer.Exit(130) from error
        _print_expression(outcome.cells)
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


def _list(text: str) -> list[str]:
    return list(dict.fromkeys(filter(None, (part.strip() for part in text.split(",")))))


def _choose(names: list[str], known: "Mapping[str, T]") -> "dict[str, T]":
    from difflib import get_close_matches

    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(known)}."
            raise ValueError(f"--methods: there is no method {name!r}; {hint}")
    return {name: known[name] for name in names or known}


def _load(references: "list[Reference]", *, asked: bool) -> "tuple[list[Loaded], list[str]]":
    """Read data sets; one that was not asked for by name may be unfit, and is then told."""
    from infosem_jax.benchmark.references import load

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
    from infosem_jax.benchmark.references import add_embeddings, find_embeddings

    files = []
    for spec in given:
        name, _, file = spec.partition("=")
        if not (name and file):
            raise ValueError(f"--embedding: expected NAME=FILE, found {spec!r}.")
        files.append((name, Path(file)))
    return add_embeddings(loaded, files or find_embeddings(data), asked=bool(given))


def _print_expression(cells: "list[ExpressionCell]") -> None:
    """Print the scores of each data set, methods by inputs."""
    from infosem_jax.benchmark.expression.compare import by_method, group_of, mean_scores

    for group in sorted({group_of(cell.at) for cell in cells}):
        found = {genes: of for (own, genes), of in by_method(cells) if own == group}
        names = sorted({name for of in found.values() for name in of})
        rows = [
            [name, *(mean_scores(of[name]) if name in of else "-" for of in found.values())]
            for name in names
        ]
        title = f"{group.title}: correlation of gene ranks / per gene"
        print_table(("method", *found), rows, title)


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
