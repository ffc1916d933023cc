"""The commands ``infosem expression``."""

from pathlib import Path
from typing import Annotated

import typer

from infosem_jax.cli import _expression as options
from infosem_jax.cli._common import check_file, file_of, plain_errors, words
from infosem_jax.cli._devices import start_devices
from infosem_jax.cli._inputs import Layer, MethodConfig, Out, Resume, SaveEvery
from infosem_jax.cli._jobs import training
from infosem_jax.cli._progress import progress
from infosem_jax.cli._record import read_settings, record_of, write_record
from infosem_jax.cli.expression_select import select

expression_app = typer.Typer(
    help="What unmeasured genes express, inferred from those measured.", no_args_is_help=True
)

MODEL = {
    "model.npz": "the model, for infosem expression predict",
    "genes.csv": "how well each gene is inferred in test samples",
    "config.toml": "all settings",
    "versions.json": "versions of the software, and the device",
    "report.html": "figures and how to read them",
}


@expression_app.command()
def fit(
    train: options.Train,
    out: Out,
    inputs: Annotated[
        str, typer.Option(help="Measured genes: landmarks, a FILE, or how many to choose.")
    ] = "landmarks",
    method: Annotated[
        str, typer.Option(help="How genes are inferred: auto, graph, ridge, knn, kernel, mlp, ...")
    ] = "auto",
    truth: options.Truth = None,
    label: options.Label = None,
    seeds: Annotated[int, typer.Option(min=1, help="Fits whose predictions are averaged.")] = 1,
    key: options.Key = 0,
    budget: options.Budget = 0.0,
    config: MethodConfig = None,
    choose: Annotated[
        str, typer.Option(help="How genes are chosen where --inputs is a number.")
    ] = "greedy",
    split: options.SplitBy = "",
    scaling: options.Scaling = "standard",
    show: Annotated[str, typer.Option(help="Genes to plot, with commas between.")] = "",
    gene_table: options.GeneTable = None,
    names: options.Names = None,
    layer: Layer = None,
    orientation: options.Orientation = "auto",
    log_counts: options.LogCounts = False,
    panel_counts: options.PanelCounts = False,
    log_base: options.LogBase = None,
    resume: Resume = False,
    save_every: SaveEvery = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Learn to infer genes from others, and test it on samples that were left out.

    A fifth of the samples is for the test; the model that is kept is the one that was tested.
    """
    record = record_of("infosem expression fit", dict(locals()))
    with plain_errors(out):
        start_devices(False, None)
        from infosem_jax import expression
        from infosem_jax.data._names import check_names
        from infosem_jax.expression.choices import usual_split
        from infosem_jax.expression.methods import configured
        from infosem_jax.expression.reports import fit_page
        from infosem_jax.outputs.folder import software_versions, whole_folder
        from infosem_jax.outputs.page import write_page

        with training(out, MODEL, record, resume, overwrite, save_every) as saver:
            settings = read_settings(config, method) | ({"budget": budget} if budget else {})
            random = configured(method, settings).random
            data = options.read_pair(
                train, truth, names, layer, orientation, gene_table, log_counts, log_base
            )
            measured, landmarks = options.read_inputs(inputs, train, gene_table)
            if panel_counts:
                data = options.as_panel(data, measured)
            how = expression.Config(
                method=method,
                settings=settings,
                inputs=measured,
                choose=choose,
                labels=tuple(label or ()),
                split=split or usual_split(data),
                scaling=scaling,
            )
            problem = expression.make_problem(data, landmarks, config=how, key=key)
            check_names((*problem.task.inputs, *problem.task.targets))
            unknown = [name for name in words(show) if name not in problem.task.targets]
            if unknown:
                raise ValueError(f"--show: expected genes to infer, found {', '.join(unknown)}.")
            for note in problem.notes[1:]:
                typer.echo(note, err=True)
            if problem.units.kind == "log" and problem.units.base == "unknown":
                typer.echo(options.UNTOLD, err=True)
            with progress(seeds, "fits") as update:
                fitted = expression.fit(
                    problem,
                    config=how,
                    seeds=seeds,
                    key=key,
                    on_chunk=lambda told: update(told.done, told.text),
                    saver=saver,
                )
            for note in fitted.notes:
                typer.echo(note, err=True)
            prediction = expression.predict(fitted, problem)
            table = expression.trust_table(problem, prediction)
            record["split"] = how.split
            versions = software_versions()
            alone = [f"{method} has no random numbers, so that one fit was made."]
            page = fit_page(
                problem,
                prediction,
                fitted,
                table,
                genes=words(show),
                notes=(*fitted.notes, *(alone if seeds > 1 and not random else ())),
                facts={"Settings": record | fitted.settings, "Files": MODEL, "Versions": versions},
            )
            with whole_folder(out) as folder:
                expression.save(folder / "model.npz", fitted)
                table.to_csv(folder / "genes.csv", index=False)
                write_record(folder, {"run": record, method: fitted.settings}, versions)
                write_page(folder / "report.html", page)
            typer.echo(
                f"{len(fitted.targets):,} genes from {len(fitted.inputs):,}: mean correlation "
                f"{table['pearson'].mean():.3f} in {len(problem.samples)} test samples; "
                f"{(table['recall'] >= 0.95).mean():.0%} of the genes reach a recall of 0.95."
            )
            typer.echo(f"Wrote {out}: open {out / 'report.html'}.")


@expression_app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="Folder that infosem expression fit wrote.")],
    new: Annotated[Path, typer.Argument(help="New samples, in the units of the training data.")],
    out: Annotated[Path, typer.Option("--out", help="h5ad file for the completed samples.")],
    impute: Annotated[
        bool, typer.Option("--impute", help="Set missing inputs to their training means.")
    ] = False,
    gene_table: options.GeneTable = None,
    names: options.Names = None,
    layer: Layer = None,
    orientation: options.Orientation = "auto",
    log_counts: options.LogCounts = False,
    panel_counts: options.PanelCounts = False,
    log_base: options.LogBase = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that exists.")
    ] = False,
) -> None:
    """Infer what was not measured in new samples.

    X keeps measured values; the layers "inferred" and "inferred_sd" hold what was inferred, and
    var how far to trust each gene.
    """
    with plain_errors():
        start_devices(False, None)
        import pandas as pd

        from infosem_jax import expression
        from infosem_jax.outputs.folder import write_h5ad

        check_file(out, ".h5ad", overwrite=overwrite)
        fitted = expression.load(file_of(model, "model.npz", "infosem expression fit"))
        samples = options.read(new, names, layer, orientation, gene_table, log_counts, log_base)
        if log_counts:
            options.check_totals(samples, (*fitted.inputs, *fitted.targets))
        if panel_counts:
            samples = expression.panel_counts(samples, fitted.inputs)
        for note in samples.notes:
            typer.echo(note, err=True)
        trust = pd.read_csv(model / "genes.csv", converters={"gene": str})
        adata = expression.complete(fitted, samples, trust, impute=impute)
        write_h5ad(out, adata)
        imputed = adata.uns["infosem_expression"]["imputed_inputs"]
        if imputed:
            typer.echo(
                f"{len(imputed)} of {len(fitted.inputs)} inputs were missing and stand at their "
                f"training means: {', '.join(imputed[:10])}{', ...' * (len(imputed) > 10)}.",
                err=True,
            )
        typer.echo(f"Wrote {out}: {adata.n_obs} samples x {adata.n_vars} genes.")


expression_app.command()(select)
