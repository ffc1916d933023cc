"""The command ``infosem compare``."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from infosem_jax._settings import values_given
from infosem_jax.cli import _inputs
from infosem_jax.cli._common import plain_errors, print_table
from infosem_jax.cli._devices import CompileCache, start_devices
from infosem_jax.cli._progress import progress
from infosem_jax.cli._record import record_of

if TYPE_CHECKING:
    from infosem_jax.compare.summary import Comparison


def compare(
    expression: _inputs.Expression,
    out: _inputs.Out,
    effect: _inputs.Effect = ["normal"],  # noqa: B006
    edge: _inputs.Edge = ["none"],  # noqa: B006
    network: Annotated[
        list[str] | None,
        typer.Option(
            help="Known network (CSV): FILE for all data sets, or NAME=FILE for one. Default: "
            "priors are compared by held-out cells only."
        ),
    ] = None,
    regulators: _inputs.Regulators = None,
    covariates: _inputs.Covariates = None,
    layer: _inputs.Layer = None,
    var_names: _inputs.VarNames = None,
    engine: Annotated[
        str | None, typer.Option(help="exact (default): evidence in closed form; or svi.")
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of fits that differ by their random numbers only; of svi. Default: 3.",
        ),
    ] = None,
    key: _inputs.Key = 0,
    config: _inputs.ConfigFile = None,
    reference: Annotated[
        str | None,
        typer.Option(help="Prior that the others are compared with. Default: the first."),
    ] = None,
    controls: Annotated[
        bool, typer.Option(help="Also fit priors that know genes with their genes permuted.")
    ] = True,
    halves: Annotated[
        bool, typer.Option(help="Also fit each prior to two halves of the cells.")
    ] = True,
    cells: Annotated[
        int | None,
        typer.Option(
            min=1, help="Most held-out cells of each seed that are scored; of svi. Default: 32."
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of importance samples for each cell; of svi. Default: 64."
        ),
    ] = None,
    states: Annotated[
        str | None,
        typer.Option(
            help="Column of obs of h5ad files, such as donor: its values are left out one by one; "
            "of exact. Default: five clusters of the cells."
        ),
    ] = None,
    changes: Annotated[
        int,
        typer.Option(min=0, help="Number of edges to list that data moved most."),
    ] = 0,
    ignore_case: _inputs.IgnoreCase = False,
    orthologues: _inputs.OrthologueTable = None,
    resume: _inputs.Resume = False,
    save_every: _inputs.SaveEvery = None,
    compile_cache: CompileCache = None,
    overwrite: _inputs.Overwrite = False,
) -> None:
    """Compare priors: by how well they predict held-out cells, and by known networks if there are.

    Every data set is fitted with every prior; each prior that knows genes by name is also fitted
    with its genes permuted, and each prior to halves of the cells.
    """
    options = dict(locals())
    with plain_errors(out):
        from infosem_jax.grn.inputs import (
            BASES,
            read_config,
            read_datasets,
            read_engine,
            read_networks,
            read_states,
        )

        is_exact = read_engine(config, engine) == "exact"
        if is_exact:
            of_svi = {"--seeds": seeds, "--cells": cells, "--samples": samples}
            _inputs.refuse_svi_options(of_svi | {"--save-every": save_every})
        elif states is not None:
            raise ValueError("--states is for the exact engine; leave it out.")
        start_devices(False, compile_cache)
        from infosem_jax.compare.experiment import RECIPE, make_plan
        from infosem_jax.compare.measures import Settings
        from infosem_jax.compare.page import write_comparison
        from infosem_jax.grn import batch
        from infosem_jax.grn.priors.registry import describe

        _inputs.check_resume(resume, overwrite)
        complete = (out / "comparison.csv").exists() and not batch.checkpoint_folder(out).exists()
        if resume and complete:
            typer.echo(f"{out} is complete: there is nothing to resume.")
            return
        settings, of_priors = read_config(config, BASES["exact"] if is_exact else RECIPE)
        seeds = seeds or (1 if is_exact else 3)
        cells, samples = cells or 32, samples or 64
        priors = _inputs.priors_of(
            effect, edge, of_priors, ignore_case=ignore_case, orthologues=orthologues
        )
        datasets: dict[str, Any] = read_datasets(
            expression,
            settings,
            regulators=regulators,
            covariates=covariates,
            layer=layer,
            names=var_names,
        )
        of_svi = {} if is_exact else {"seeds": seeds, "cells": cells, "samples": samples}
        record = record_of("infosem compare", options, **of_svi)
        plan = make_plan(
            datasets,
            priors,
            truth=read_networks(network or [], list(datasets)),
            config=settings,
            seeds=seeds,
            how=Settings(key, cells, samples, changes),
            controls=controls,
            halves=halves,
            states={} if states is None else read_states(expression, states, datasets),
            reference=reference,
        )
        about = {
            name: " ".join(
                describe(table["prior"], getattr(each, site)) for site, table in each.record.items()
            )
            for name, each in priors.items()
        }
        given = {site: table for site, table in of_priors.items() if table}
        with progress(100, "%") as update:
            found = write_comparison(
                plan,
                out,
                record={
                    "exact" if is_exact else "model": values_given(settings),
                    "run": record,
                    **given,
                },
                about=about,
                resume=resume,
                overwrite=overwrite,
                every=60.0 if save_every is None else save_every,
                on_progress=lambda share, text: update(100 * share, text),
            )
        _print(found)
        typer.echo(f"Wrote {out}: open {out / 'report.html'} in a browser.")


def _print(found: "Comparison") -> None:
    from infosem_jax.compare.page import LABELS, OVERVIEW, cells_of, overview

    for measure in OVERVIEW:
        shown = found.paired.loc[found.paired["measure"] == measure]
        texts = [cells_of(row) for row in shown.to_dict("records")]
        rows = [(prior, against, interval, how) for prior, against, _, interval, how in texts]
        if rows:
            print_table(("prior", "against", "difference [95 %]", "verdict"), rows, LABELS[measure])
    for sentence in overview(found):
        typer.echo(sentence)
