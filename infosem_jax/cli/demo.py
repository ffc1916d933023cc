"""The command ``infosem demo``."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Annotated

import typer

from infosem_jax.cli._common import LOGGER, plain_errors, print_table
from infosem_jax.cli._inputs import Out, Overwrite
from infosem_jax.cli._progress import progress

if TYPE_CHECKING:
    import pandas as pd


def demo(
    out: Out,
    seeds: Annotated[int, typer.Option(min=1, help="Number of simulated data sets.")] = 3,
    overwrite: Overwrite = False,
) -> None:
    """Fit simulated data with and without priors by both engines, and compare with the truth."""
    with plain_errors(out):
        from infosem_jax.data.simulate import simulate
        from infosem_jax.grn import run_folder
        from infosem_jax.grn.demo import EXACT, SIMULATION, VARIANTS, demonstrate
        from infosem_jax.outputs.folder import whole_folder

        run_folder.check_output(out, simulate(SIMULATION, 0).data, overwrite=overwrite)
        with _each_prior_told_once(), progress(2 * len(VARIANTS) * seeds, "fits") as update:
            done = count(1)
            found = demonstrate(
                seeds,
                lambda variant, seed, auprc: update(
                    next(done), f"{variant}, data set {seed}: {auprc:.3f}"
                ),
            )
        with whole_folder(out) as folder:
            run_folder.write_run(
                folder,
                found.simulation.data,
                found.fitted,
                found.priors,
                record={"command": "infosem demo", "seeds": seeds},
                title="InfoSEM demonstration",
                comparison=found.table,
            )
        _print_comparison(found.table, EXACT)
        typer.echo(f"Wrote {out}: open {out / 'report.html'} in a browser.")


@contextmanager
def _each_prior_told_once() -> Iterator[None]:
    """Show what a prior knows of the first data set only, not of every data set by both engines."""
    logger, told = logging.getLogger(LOGGER), set()

    def is_new(record: logging.LogRecord) -> bool:
        subject = record.getMessage().partition(":")[0]
        is_known = record.levelno == logging.INFO and subject in told
        told.add(subject)
        return not is_known

    logger.addFilter(is_new)
    try:
        yield
    finally:
        logger.removeFilter(is_new)


def _print_comparison(table: "pd.DataFrame", prefix: str) -> None:
    summary = table.groupby("variant", sort=False)["auprc"].agg(["mean", "std"])
    rows = []
    for variant, row in summary.iterrows():
        plain = f"{prefix}none" if str(variant).startswith(prefix) else "none"
        ratio = row["mean"] / summary.loc[plain, "mean"]
        sd = "" if math.isnan(row["std"]) else f"{row['std']:.3f}"
        rows.append((str(variant), f"{row['mean']:.3f}", sd, f"{ratio:.2f}"))
    print_table(("variant", "average precision", "sd over data sets", "ratio to none"), rows)
    typer.echo(
        "Variants of the exact engine are called so, the others are of svi. none: expression "
        "alone; B: with vectors that tell of edges; BC: with 30 % of the pairs known as well; "
        "B-shuffled: vectors of other genes. What the last gains is luck."
    )
