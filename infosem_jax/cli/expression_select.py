"""The command ``infosem expression select``."""

from typing import Annotated

import typer

from infosem_jax.cli import _expression as options
from infosem_jax.cli._common import check_folder, plain_errors, print_table
from infosem_jax.cli._devices import start_devices
from infosem_jax.cli._inputs import Layer, Out
from infosem_jax.cli._record import record_of, write_record

FILES = ("genes.csv", "accuracy.csv", "config.toml", "versions.json", "report.html")
SHOWN = 20


def select(
    train: options.Train,
    out: Out,
    n: Annotated[int, typer.Option("--n", min=1, help="How many genes can be measured.")],
    how: Annotated[
        str,
        typer.Option(help="How genes are chosen: greedy, linear, lasso, random, first or gate."),
    ] = "greedy",
    pool: Annotated[
        str, typer.Option(help="Genes to choose from: all, landmarks or a FILE.")
    ] = "all",
    truth: options.Truth = None,
    key: options.Key = 0,
    split: options.SplitBy = "",
    scaling: options.Scaling = "standard",
    gene_table: options.GeneTable = None,
    names: options.Names = None,
    layer: Layer = None,
    orientation: options.Orientation = "auto",
    log_counts: options.LogCounts = False,
    overwrite: options.Overwrite = False,
) -> None:
    """Choose genes to measure, and estimate what to expect of the first n of them."""
    given = dict(locals())
    with plain_errors(out):
        start_devices(False, None)
        import pandas as pd

        from infosem_jax import expression
        from infosem_jax.data._names import check_names
        from infosem_jax.expression.choices import compare_with_random, usual_split
        from infosem_jax.expression.methods import ORDERS
        from infosem_jax.expression.reports import selection_page, selection_table
        from infosem_jax.outputs.folder import software_versions, whole_folder
        from infosem_jax.outputs.page import write_page

        check_folder(out, FILES, overwrite=overwrite)
        if how not in ORDERS:
            raise ValueError(f"--how: expected one of {', '.join(ORDERS)}, found {how!r}.")
        data = options.read_pair(train, truth, names, layer, orientation, gene_table, log_counts)
        candidates, landmarks = options.read_inputs(pool, train, gene_table)
        config = expression.Config(
            inputs=candidates, split=split or usual_split(data), scaling=scaling
        )
        problem = expression.make_problem(data, landmarks, config=config, key=key)
        check_names((*problem.task.inputs, *problem.task.targets))
        chosen = compare_with_random(problem.task, n, how, key)
        versions = software_versions()
        record = record_of("infosem expression select", given, split=config.split)
        page = selection_page(chosen, problem, facts={"Settings": record, "Versions": versions})
        with whole_folder(out) as folder:
            order = {"place": range(1, n + 1), "gene": chosen[0].genes}
            pd.DataFrame(order).to_csv(folder / "genes.csv", index=False)
            selection_table(chosen).to_csv(folder / "accuracy.csv", index=False)
            write_record(folder, {"run": record}, versions)
            write_page(folder / "report.html", page)
        rows = [
            (str(size), *(f"{each.accuracy[i]:.3f}" for each in chosen))
            for i, size in enumerate(chosen[0].sizes)
        ]
        print_table(("genes", *(each.how for each in chosen)), rows, "Mean correlation per gene")
        first, more = chosen[0].genes[:SHOWN], ", ..." if n > SHOWN else ""
        typer.echo(f"Measure, in this order: {', '.join(first)}{more}")
        typer.echo(f"Wrote {out}: open {out / 'report.html'}.")
