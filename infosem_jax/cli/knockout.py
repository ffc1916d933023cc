"""The command ``infosem knockout``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infosem_jax.cli import _inputs
from infosem_jax.cli._common import check_folder, file_of, note, plain_errors, print_table, words
from infosem_jax.cli._record import record_of, write_record

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 15


def knockout(
    run: Annotated[Path, typer.Argument(help="Folder that infosem fit or activity wrote.")],
    genes: Annotated[str, typer.Argument(help="Genes to hold, together: A or A,B,...")],
    out: _inputs.Out,
    expression: Annotated[
        list[Path] | None,
        typer.Option(
            help="The expression that was fitted, again for more files. Default: the cells.h5ad of "
            "infosem activity; else, of the svi engine, cells are drawn from the model."
        ),
    ] = None,
    to: Annotated[
        str,
        typer.Option(
            help="silenced (the lowest level measured), halved (halfway there from the mean), "
            "overexpressed (the highest), or a level on the scale of the fit."
        ),
    ] = "silenced",
    groupby: Annotated[
        str | None, typer.Option(help="Column of obs of h5ad files, such as a cluster.")
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Its value: only these cells are intervened on.")
    ] = None,
    upstream: Annotated[
        bool,
        typer.Option(
            "--upstream",
            help="Also list which regulators, held one unit higher, would move these genes.",
        ),
    ] = False,
    draws: Annotated[int, typer.Option(min=2, help="Draws from the posterior.")] = 64,
    key: _inputs.Key = 0,
    layer: _inputs.Layer = None,
    var_names: _inputs.VarNames = None,
    overwrite: _inputs.Overwrite = False,
) -> None:
    """Predict how every gene shifts when some are silenced, halved or over-expressed.

    Total effects of all regulators, over all paths of the network, are written as a network.
    """
    given = dict(locals())
    with plain_errors():
        from infosem_jax import grn
        from infosem_jax.grn import group_folders, grouped
        from infosem_jax.outputs.folder import software_versions, whole_folder

        check_folder(out, group_folders.KNOCKOUT_FILES, overwrite=overwrite)
        if (groupby is None) != (group is None):
            raise ValueError("Expected --groupby and --group together.")
        fitted = grn.load(file_of(run, "fit.npz", "infosem fit"))
        of_files: dict[str, Any] = {"layer": layer, "names": var_names}
        cells = grouped.cells_of_run(run, expression, groupby=groupby, **of_files)
        if cells is None and (group is not None or isinstance(fitted, grn.exact.Fit)):
            raise ValueError(f"{run}: expected --expression, the cells that were fitted.")
        among, ready = None, None if cells is None else cells.ready(fitted.config)
        if cells is not None and group is not None:
            among = [name for name, own in zip(cells.data.cells, cells.groups, strict=True)
                     if own == group]  # fmt: skip
            if not among:
                known = ", ".join(sorted(set(cells.groups))[:10])
                raise ValueError(f"--group: expected one of {known}, found {group}.")
        chosen = words(genes)
        table, total = grn.intervention(
            fitted,
            chosen,
            ready,
            to=_level(to),
            among=among,
            draws=draws,
            key=key,
        )
        above = group_folders.upstream(total, chosen) if upstream else None
        record = record_of("infosem knockout", given)
        with whole_folder(out) as folder:
            group_folders.write_knockout(folder, table, total, above)
            write_record(folder, {"run": record}, software_versions())
        shown = table.loc[~table["gene"].isin(chosen)].head(SHOWN)
        _print(shown, f"Shifts with {'+'.join(chosen)} {to}")
        if above is not None:
            _print(above.head(SHOWN), "Total effects on " + ", ".join(chosen))
            if isinstance(fitted, grn.exact.Fit):
                note("Cells do not tell which of two regulators acts on the other, so that even a "
                     "sure effect has its sign in half of the orders only.")  # fmt: skip
        note(
            f"Shifts of mean expression on the scale of the fit ({fitted.config.normalisation}), "
            "with the probability of their sign. Of measured cells read them as an order: their "
            "intervals hold where expression is linear and nothing loops."
        )
        typer.echo(f"Wrote {out}: open {out / 'shifts.csv'}.")


def _level(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _print(table: "pd.DataFrame", title: str) -> None:
    numbers = ("shift", "weight", "sd", "probability", "sign_agreement")
    rows = [
        [f"{row[name]:+.3f}" if name in numbers[:2] else f"{row[name]:.3f}"
         if name in numbers else row[name] for name in table]
        for row in table.to_dict("records")
    ]  # fmt: skip
    print_table([name.replace("_", " ") for name in table], rows, title)
