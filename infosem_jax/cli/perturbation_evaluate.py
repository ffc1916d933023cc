"""The command ``infosem evaluate-perturbation``."""

from pathlib import Path
from typing import Annotated

import typer

from infosem_jax.cli._common import check_folder, note, plain_errors, print_table
from infosem_jax.cli._devices import start_devices
from infosem_jax.cli._inputs import Layer, Out, VarNames
from infosem_jax.cli._progress import progress
from infosem_jax.cli._record import record_of, write_record
from infosem_jax.cli.perturbation_predict import (
    Control,
    LineColumn,
    Overwrite,
    Separator,
)


def evaluate_perturbation(
    predicted: Annotated[
        Path, typer.Argument(help="Predictions (h5ad): cells, or one profile, per perturbation.")
    ],
    truth: Annotated[Path, typer.Argument(help="Observed cells (h5ad), controls among them.")],
    out: Out,
    perturbation: Annotated[
        str | None, typer.Option(help="Column of the truth's obs that names what was perturbed.")
    ] = None,
    control: Control = None,
    separator: Separator = None,
    line: Annotated[
        str | None, typer.Option(help="Cell line to score; needed where there are several.")
    ] = None,
    line_column: LineColumn = None,
    layer: Layer = None,
    var_names: VarNames = None,
    predicted_perturbation: Annotated[
        str | None,
        typer.Option(help="The same column of the predictions; the one with most names."),
    ] = None,
    predicted_layer: Annotated[
        str | None, typer.Option(help="Layer of the predictions; mean of infosem's own.")
    ] = None,
    predicted_var_names: Annotated[
        str | None, typer.Option(help="Column of the predictions' var that names genes.")
    ] = None,
    total: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Bring counts of the truth to this total and log(1 + x), for predictions that "
            "are; 0: the median, as infosem perturbation does.",
        ),
    ] = None,
    common_genes: Annotated[
        bool, typer.Option("--common-genes", help="Leave out genes that are not predicted.")
    ] = False,
    least_cells: Annotated[
        int, typer.Option(min=2, help="Least number of observed cells of a perturbation.")
    ] = 10,
    splits: Annotated[
        int, typer.Option(min=0, help="Times that cells are split for the replicate; 0: none.")
    ] = 5,
    key: Annotated[int, typer.Option(help="Seeds cells made of profiles, and splits.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Score anyone's predictions of perturbations against the cells that were observed.

    Pearson of the change and beyond the mean response, weighted R², recovery of significant genes,
    and the six measures of the Virtual Cell setting of 2026, each placed between the mean response,
    0, and a replicate of half the cells, 1. Both files hold counts, or both logarithms log(1 + x).
    """
    given = dict(locals())
    with plain_errors(out):
        start_devices(False, None)
        from infosem_jax import perturbation as system
        from infosem_jax.outputs.folder import software_versions, whole_folder
        from infosem_jax.perturbation.evaluation_report import (
            COLUMNS,
            FILES,
            headline_rows,
            write_evaluation,
        )

        check_folder(out, FILES, overwrite=overwrite)
        with progress(3, "steps") as update:
            found = system.evaluate_predictions(
                predicted,
                truth,
                columns=system.Columns(
                    perturbation, line_column, None, control, separator, var_names, layer
                ),
                predicted_columns=system.Columns(
                    predicted_perturbation, genes=predicted_var_names, layer=predicted_layer
                ),
                line=line,
                total=total,
                common_genes=common_genes,
                least_cells=least_cells,
                splits=splits,
                key=key,
                on_chunk=lambda now: update(now.done, now.text),
            )
        for text in found.notes:
            note(text)
        record = record_of("infosem evaluate-perturbation", given, matched=list(found.notes))
        versions = software_versions()
        with whole_folder(out) as folder:
            write_evaluation(folder, found, record, versions)
            write_record(folder, {"run": record}, versions)
        rows = [(name, *texts) for name, texts in headline_rows(found)]
        title = f"{len(found.panel.perturbed)} perturbations"
        print_table(("Measure", *COLUMNS), rows, title, phrases=True)
        typer.echo(f"Wrote {out}: open {out / 'report.html'}.")
