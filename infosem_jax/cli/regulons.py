"""The command ``infosem regulons``."""

from pathlib import Path
from typing import Annotated

import typer

from infosem_jax.cli import _inputs
from infosem_jax.cli._common import check_folder, file_of, note, plain_errors, print_table
from infosem_jax.cli._record import record_of, write_record

SHOWN = 15


def regulons(
    run: Annotated[Path, typer.Argument(help="Folder that infosem fit or activity wrote.")],
    out: _inputs.Out,
    lfsr: Annotated[
        float,
        typer.Option(help="Largest local false sign rate of an edge: absent, or of other sign."),
    ] = 0.05,
    least: Annotated[
        int, typer.Option(min=1, help="Fewest targets of a regulon, and genes of a module.")
    ] = 5,
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
    """Cut a network into regulons and modules of co-regulated genes, and test them for gene sets.

    Regulons are written for decoupler, both as GMT and beside the network as AnnData.
    """
    given = dict(locals())
    with plain_errors():
        import pandas as pd

        from infosem_jax import grn
        from infosem_jax.data import read_gene_sets
        from infosem_jax.data._names import count_matches
        from infosem_jax.grn import exact, group_folders, grouped
        from infosem_jax.outputs.folder import software_versions, whole_folder

        check_folder(out, group_folders.REGULON_FILES, overwrite=overwrite)
        known = {}
        for path in sets or ():
            known |= read_gene_sets(path)
        fitted = grn.load(file_of(run, "fit.npz", "infosem fit"))
        cells = grouped.cells_of_run(run, expression)
        ready = None if cells is None else cells.ready(fitted.config)
        net, table = grn.network(fitted), grn.regulons(fitted, ready, lfsr=lfsr, least=least)
        together = grn.modules(table, least=least)
        enriched = None
        if known:
            count_matches(net.genes, sorted(set().union(*known.values())), "the file of gene sets")
            each = [grn.enrich(found, net.genes, known) for found in (table, together)]
            filled = [found for found in each if len(found)]
            enriched = pd.concat(filled, ignore_index=True) if filled else each[0]
        with whole_folder(out) as folder:
            group_folders.write_regulons(folder, net, table, together, enriched)
            record = record_of("infosem regulons", given)
            write_record(folder, {"run": record}, software_versions())
        counts = table["source"].value_counts()
        rows = [(str(name), str(n)) for name, n in counts.head(SHOWN).items()]
        print_table(("regulator", "targets"), rows, f"Regulons: {len(counts):,}")
        if not rows:
            more = "" if ready is not None else ", or give --expression, which finds weak edges too"
            note(f"No regulator has {least} edges that sure: raise --lfsr, lower --least{more}.")
        if isinstance(fitted, exact.Fit) and len(fitted.rows) > len(net.regulators):
            note(
                "Genes that are no regulators act too in this fit, and share what there is to "
                'explain: fits of infosem activity, or with rows = "regulators", have more targets.'
            )
        if len(together):
            of = together.groupby("module", sort=False)
            rows = [(str(name), str(len(own)), own["regulators"].iloc[0]) for name, own in of]
            title = f"Modules: {len(rows):,}"
            print_table(("module", "genes", "regulators"), rows[:SHOWN], title)
        if enriched is not None:
            rows = [
                (row["regulon"], row["set"], f"{row['hits']} of {row['size']}",
                 f"{row['p_adjusted']:.1e}")
                for row in enriched.sort_values("p_adjusted").head(SHOWN).to_dict("records")
            ]  # fmt: skip
            print_table(("regulon", "gene set", "genes", "adjusted p"), rows)
        typer.echo(f"Wrote {out}: {out / 'regulons.csv'} is a table for decoupler.")
