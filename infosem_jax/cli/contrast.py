"""The command ``infosem contrast``."""

from typing import Annotated

import typer

from infosem_jax._settings import values_given
from infosem_jax.cli import _inputs
from infosem_jax.cli._common import check_folder, note, plain_errors, print_table, words
from infosem_jax.cli._record import record_of, write_record

SHOWN = 10


def contrast(
    expression: _inputs.Expression,
    out: _inputs.Out,
    regulators: _inputs.Regulators = None,
    groupby: Annotated[
        str | None,
        typer.Option(help="Column of obs of h5ad files with the groups. Default: two files are."),
    ] = None,
    between: Annotated[
        str | None,
        typer.Option(
            help="Two groups, A,B, of which the first is the reference. Default: the first file, "
            "or the first of two groups by name."
        ),
    ] = None,
    replicates: Annotated[
        str | None,
        typer.Option(
            help="Column of obs with the donor, animal or batch of each cell: effects differ "
            "between these by nature. Default: each cell is a replicate."
        ),
    ] = None,
    covariates: _inputs.Covariates = None,
    shuffles: Annotated[
        int, typer.Option(min=0, help="How often labels are shuffled, to check the errors.")
    ] = 2,
    top: Annotated[
        int | None,
        typer.Option(min=1, help="Number of differences to list, surest first. Default: all."),
    ] = None,
    key: _inputs.Key = 0,
    config: _inputs.ConfigFile = None,
    layer: _inputs.Layer = None,
    var_names: _inputs.VarNames = None,
    overwrite: _inputs.Overwrite = False,
) -> None:
    """Find effects that differ between two groups of cells, with their local false sign rates."""
    given = dict(locals())
    with plain_errors():
        from infosem_jax import grn
        from infosem_jax.grn import exact, group_folders, grouped
        from infosem_jax.grn.differences import LIKELY, SURE
        from infosem_jax.grn.inputs import read_config
        from infosem_jax.outputs.folder import software_versions, whole_folder

        check_folder(out, group_folders.CONTRAST_FILES, overwrite=overwrite)
        pair = tuple(words(between or ""))
        if pair and len(pair) != 2:
            raise ValueError(f"--between: expected two groups, A,B, found {between!r}.")
        settings, _ = read_config(config, exact.Config(rows="regulators"))
        cells = grouped.read_grouped(
            expression,
            groupby=groupby,
            replicates=replicates,
            covariates=covariates,
            regulators=regulators,
            layer=layer,
            names=var_names,
        )
        if groupby is None and not pair:
            pair = tuple(map(str, dict.fromkeys(cells.groups.tolist())))
            if len(pair) != 2:
                raise ValueError(
                    f"Expected two files, or --groupby with a column of obs, found {len(pair)} "
                    f"file{'s' if len(pair) > 1 else ''} and no --groupby."
                )
        note(f"{len(cells.data.cells)} cells, {len(cells.data.genes)} genes, "
             f"{len(cells.data.regulators)} candidate regulators.")  # fmt: skip
        found = grn.contrast(
            cells.ready(settings),
            cells.groups,
            between=(pair[0], pair[1]) if pair else None,
            replicates=cells.replicates,
            config=settings,
            shuffles=shuffles,
            key=key,
        )
        record = record_of("infosem contrast", given)
        table = values_given(settings)
        with whole_folder(out) as folder:
            group_folders.write_contrast(folder, found, record, top=top)
            write_record(folder, {"run": record, "exact": table}, software_versions())
        rows = [
            (
                row["source"],
                row["target"],
                f"{row['shared']:+.3f}",
                f"{row['difference']:+.3f}",
                f"{row['sd']:.3f}",
                f"{row['lfsr']:.2g}",
            )
            for row in grn.changes(found, top=SHOWN, below=LIKELY).to_dict("records")
        ]
        a, b = found.groups
        columns = ("source", "target", "shared", "difference", "sd", "lfsr")
        if rows:
            print_table(columns, rows, f"Effects in {b} less those in {a}")
        else:
            typer.echo(
                f"All local false sign rates are at least {LIKELY}: no effect that is likely"
                " to differ."
            )
        typer.echo(
            f"{(found.lfsr <= SURE).sum():,} of {found.lfsr.size:,} effects differ with a local "
            f"false sign rate of at most {SURE:.0%}; after labels were shuffled: "
            f"{', '.join(map(str, found.learned['shuffled'])) or 'not tried'}."
        )
        typer.echo(f"Wrote {out}: open {out / 'report.html'}.")
