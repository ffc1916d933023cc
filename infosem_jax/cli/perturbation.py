"""The command ``infosem perturbation fit``, and the group that it is in."""

from pathlib import Path
from typing import Annotated

import typer

from infosem_jax.cli._common import named, plain_errors
from infosem_jax.cli._devices import start_devices
from infosem_jax.cli._inputs import Layer, MethodConfig, Out, Resume, SaveEvery, VarNames
from infosem_jax.cli._jobs import training
from infosem_jax.cli._progress import progress
from infosem_jax.cli._record import read_settings, record_of, write_record
from infosem_jax.cli.perturbation_predict import (
    Control,
    LineColumn,
    Overwrite,
    Separator,
    explain,
    predict,
)

perturbation_app = typer.Typer(
    help="What happens if a gene is perturbed that was never seen perturbed.",
    no_args_is_help=True,
)
perturbation_app.command()(predict)
perturbation_app.command()(explain)

# Those that ``infosem benchmark perturbation`` has as well.
GraphTop = Annotated[
    int, typer.Option(min=0, help="Number of strongest edges of a target to keep; 0 for all.")
]
Fdr = Annotated[
    float, typer.Option(help="Adjusted p-value that a gene must be below to count as changed.")
]
Lfc = Annotated[
    float, typer.Option(help="Absolute log2 fold change that it must be above as well.")
]
LeastCells = Annotated[
    int, typer.Option(min=2, help="Least number of cells that a perturbation needs.")
]
LeastCounts = Annotated[float, typer.Option(help="Least number of counts that a cell needs.")]
Keep = Annotated[
    list[str] | None,
    typer.Option(help="COLUMN=LEAST: cells with at least this value in obs; again for more."),
]
TopGenes = Annotated[
    int, typer.Option(min=0, help="Number of most variable genes, besides those perturbed; 0: all.")
]
MostCells = Annotated[
    int,
    typer.Option(min=0, help="Greatest number of cells of a perturbation, drawn; 0 for all."),
]


@perturbation_app.command()
def fit(
    data: Annotated[
        Path, typer.Argument(help="Screen: cells (h5ad), means (npz) or signs (CSV, TSV).")
    ],
    out: Out,
    graph: Annotated[
        list[str] | None,
        typer.Option(help="NAME=FILE: edges of genes, also edges.csv of infosem fit; again."),
    ] = None,
    text: Annotated[
        Path | None, typer.Option(help="Texts (CSV) or vectors (npz, h5ad, CSV) of genes.")
    ] = None,
    method: Annotated[str, typer.Option(help="adapert, neighbours, ridge, mean, ...")] = "adapert",
    split: Annotated[
        str,
        typer.Option(help="published, unseen, combination, line:NAME or a FILE of names; auto."),
    ] = "auto",
    seeds: Annotated[int, typer.Option(min=1, help="Fits whose predictions are averaged.")] = 1,
    key: Annotated[int, typer.Option(help="Seeds the random numbers and the split.")] = 0,
    config: MethodConfig = None,
    graph_top: GraphTop = 0,
    perturbation: Annotated[
        str | None, typer.Option(help="Column of obs that names what was perturbed in a cell.")
    ] = None,
    control: Control = None,
    line_column: LineColumn = None,
    batch_column: Annotated[str | None, typer.Option(help="Column of obs of batches.")] = None,
    separator: Separator = None,
    layer: Layer = None,
    var_names: VarNames = None,
    fdr: Fdr = 0.05,
    lfc: Lfc = 0.0,
    least_cells: LeastCells = 10,
    least_counts: LeastCounts = 0.0,
    keep: Keep = None,
    top_genes: TopGenes = 0,
    most_cells: MostCells = 0,
    resume: Resume = False,
    save_every: SaveEvery = None,
    overwrite: Overwrite = False,
) -> None:
    """Learn to predict responses, and test it on perturbations that were left out.

    The model that is kept is the one that was tested.
    """
    record = record_of("infosem perturbation fit", dict(locals()))
    with plain_errors(out):
        start_devices(False, None)
        from infosem_jax import perturbation as system
        from infosem_jax.data._names import check_names
        from infosem_jax.outputs.folder import software_versions, whole_folder
        from infosem_jax.perturbation.methods import configured
        from infosem_jax.perturbation.reports import FILES, headline, write_fit
        from infosem_jax.perturbation.screen import coverage

        with training(out, FILES, record, resume, overwrite, save_every) as saver:
            settings = system.Config(method, split, read_settings(config, method))
            configured(method, settings.settings)
            graphs = dict(named(graph, "--graph"))
            if missing := [file for file in graphs.values() if not Path(file).is_file()]:
                raise ValueError(f"--graph: {missing[0]}: no such file.")
            if len(graphs) < len(graph or ()):
                raise ValueError(
                    f"--graph: expected each name once, found {', '.join(graph or ())}."
                )
            screen = system.read_screen(
                data,
                columns=system.Columns(
                    perturbation, line_column, batch_column, control, separator, var_names, layer
                ),
                thresholds=system.Thresholds(fdr, lfc),
                least_cells=least_cells,
                least_counts=least_counts,
                keep=named(keep, "--keep", float, "COLUMN=LEAST"),
                top_genes=top_genes,
                most_cells=most_cells,
            )
            knowledge = system.read_knowledge(graphs, text, screen.genes, top=graph_top)
            perturbed = {gene for genes in screen.responses.perturbed for gene in genes}
            check_names([*screen.genes, *knowledge.nodes, *sorted(perturbed)])
            read = [*screen.responses.notes, *coverage(knowledge, screen.responses)]
            for note in read:
                typer.echo(note, err=True)
            with progress(seeds, "fits") as update:
                fitted = system.fit(
                    screen,
                    knowledge,
                    config=settings,
                    seeds=seeds,
                    key=key,
                    on_chunk=lambda progress: update(progress.done, progress.text),
                    saver=saver,
                )
            test = system.evaluate_held_out(fitted, screen)
            for note in test.notes:
                typer.echo(note, err=True)
            record |= {"split": fitted.split, "read": read}
            versions = software_versions()
            with whole_folder(out) as folder:
                write_fit(folder, fitted, test, record, versions)
                write_record(folder, {"run": record, method: fitted.settings}, versions)
            typer.echo(f"{len(test.truth.perturbed)} test perturbations: {headline(test)}.")
            typer.echo(f"Wrote {out}: open {out / 'report.html'}.")
