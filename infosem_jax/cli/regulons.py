"""The command ``infosem regulons``."""

from pathlib import Path
from typing import Annotated

import typer

from infosem_jax.cli import _inputs
from infosem_jax.cli._common import check_folder, plain_errors, print_table
from infosem_jax.cli._record import record_of, write_record

SHOWN = 15


def regulons(
    run: Annotated[Path, typer.Argument(help="Folder that infosem fit or activity wrote.")],
    out: _inputs.Out,
    lfsr: Annotated[
        float,
        typer.Option(help="Largest local false sign rate of an edge: absent, or of other sign."),
    ] = 0.05,
    least: Annotated[int, typer.Option(min=1, help="Fewest targets of a regulon.")] = 5,
    expression: Annotated[
        list[Path] | None,
        typer.Option(
            help="The expression that was fitted, which finds weak edges too; again for more "
            "files. Default: the cells.h5ad of infosem activity, else none."
        ),
    ] = None,
    sets: Annotated[
        list[Path] | None,
        typer.Option(help="Gene sets (GMT) to look for among targets; again for more files."),
    ] = None,
    overwrite: _inputs.Overwrite = False,
) -> None:
    """Cut a network into regulons, for decoupler and as GMT, and test them for gene sets."""
    given = dict(locals())
    with plain_errors():
        from infosem_jax import grn
        from infosem_jax.data import read_gene_sets
        from infosem_jax.grn import group_folders, grouped
        from infosem_jax.outputs.folder import software_versions, whole_folder

        check_folder(out, group_folders.REGULON_FILES, overwrite=overwrite)
        known = {}
        for path in sets or ():
            known |= read_gene_sets(path)
        if not (run / "fit.npz").is_file():
            raise ValueError(f"{run}: expected a folder of infosem fit, with its fit.npz.")
        fitted = grn.load(run / "fit.npz")
        stored = run / "cells.h5ad"
        files = expression or ([stored] if stored.is_file() else [])
        cells = grouped.read_grouped(files).data if files else None
        net, table = grn.network(fitted), grn.regulons(fitted, cells, lfsr=lfsr, least=least)
        enriched = grn.enrich(table, net.genes, known) if known else None
        with whole_folder(out) as folder:
            group_folders.write_regulons(folder, net, table, enriched)
            record = record_of("infosem regulons", given)
            write_record(folder, {"run": record}, software_versions())
        counts = table["source"].value_counts()
        rows = [(str(name), str(n)) for name, n in counts.head(SHOWN).items()]
        print_table(("regulator", "targets"), rows, f"{len(counts)} regulons")
        if enriched is not None:
            rows = [
                (row["regulon"], row["set"], f"{row['hits']} of {row['size']}",
                 f"{row['p_adjusted']:.1e}")
                for row in enriched.sort_values("p_adjusted").head(SHOWN).to_dict("records")
            ]  # fmt: skip
            print_table(("regulon", "gene set", "genes", "adjusted p"), rows)
        typer.echo(f"Wrote {out}: {out / 'regulons.csv'} is a table for decoupler.")
