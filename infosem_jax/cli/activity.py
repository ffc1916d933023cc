"""The command ``infosem activity``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from infosem_jax._settings import values_given
from infosem_jax.cli import _inputs
from infosem_jax.cli._common import check_folder, file_of, note, plain_errors, print_table
from infosem_jax.cli._progress import progress
from infosem_jax.cli._record import record_of, write_record

SHOWN = 15


def activity(
    expression: _inputs.Expression,
    out: _inputs.Out,
    regulators: _inputs.Regulators = None,
    groupby: Annotated[
        str | None,
        typer.Option(
            help="Column of obs of h5ad files, such as a condition or cell type, whose groups are "
            "compared. Default: the files are."
        ),
    ] = None,
    covariates: _inputs.Covariates = None,
    run: Annotated[
        Path | None,
        typer.Option(
            "--run",
            help="Folder that infosem fit wrote of the same cells. Default: they are fitted now, "
            "together, with the regulators as the genes that act.",
        ),
    ] = None,
    effect: _inputs.Effect = ["none"],  # noqa: B006
    edge: _inputs.Edge = ["none"],  # noqa: B006
    key: _inputs.Key = 0,
    config: _inputs.ConfigFile = None,
    layer: _inputs.Layer = None,
    var_names: _inputs.VarNames = None,
    overwrite: _inputs.Overwrite = False,
) -> None:
    """Infer how active each regulator is in each cell, from the targets of its network.

    Cells of several files are brought to one scale and fitted together, so that their activities
    can be compared.
    """
    given = dict(locals())
    with plain_errors():
        from infosem_jax import grn
        from infosem_jax.grn import activities, exact, group_folders, grouped
        from infosem_jax.grn.inputs import read_config
        from infosem_jax.outputs.folder import software_versions, whole_folder

        check_folder(out, group_folders.ACTIVITY_FILES, overwrite=overwrite)
        other = regulators or config or covariates or [*effect, *edge] != ["none", "none"]
        if run is not None and other:
            raise ValueError("--run: the fit is made; leave out options of another.")
        settings, of_priors = read_config(config, exact.Config(rows="regulators"))
        of_names: dict[str, Any] = {"ignore_case": False, "orthologues": None}
        priors = _inputs.priors_of(effect, edge, of_priors, **of_names)
        if len(priors) > 1:
            raise ValueError(f"Expected one prior, found {len(priors)}: {', '.join(priors)}.")
        cells = grouped.read_grouped(
            expression,
            groupby=groupby,
            covariates=covariates if run is None else grouped.recorded_covariates(run),
            regulators=regulators,
            layer=layer,
            names=var_names,
        )
        if run is None:
            (prior,) = priors.values()
            with progress(3, "steps") as update:
                fitted = grn.fit(
                    cells.ready(settings),
                    prior.effect,
                    prior.edge,
                    config=settings,
                    key=key,
                    on_chunk=lambda now: update(now.done, now.text),
                )
        else:
            fitted = grn.load(file_of(run, "fit.npz", "infosem fit"))
        found = grn.activity(fitted, cells.ready(fitted.config))
        taken = ",".join([] if cells.covariates is None else cells.covariates)
        record = record_of("infosem activity", given, covariates=taken)
        table = values_given(fitted.config)
        with whole_folder(out) as folder:
            groups = group_folders.write_activity(folder, cells, fitted, found, expression, record)
            engine = "exact" if isinstance(fitted, exact.Fit) else "model"
            write_record(folder, {"run": record, engine: table}, software_versions())
        names = [name for name in groups if name not in activities.OF_REGULATORS]
        rows = [
            (
                row["regulator"],
                *(f"{row[name]:+.2f}" for name in names),
                f"{row['sd']:.2f}",
                *([f"{row['between']:.2f}"] if len(names) > 1 else []),
            )
            for row in groups.head(SHOWN).to_dict("records")
        ]
        apart = ["share between groups"] if len(names) > 1 else []
        print_table(("regulator", *names, "sd of a cell", *apart), rows, "Mean activity")
        if len(names) == 1:
            note(
                "The mean of all cells is 0, and there is one group: listed are the regulators "
                "whose activities are surest. --groupby compares groups of cells."
            )
        typer.echo(f"Wrote {out}: open {out / 'report.html'}.")
