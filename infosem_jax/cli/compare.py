"""The command ``infosem compare``."""

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infosem_jax.cli._common import CompileCache, plain_errors, print_table, progress, start_devices
from infosem_jax.cli._inputs import named_prior, read_config, read_datasets

if TYPE_CHECKING:
    import pandas as pd

    from infosem_jax.compare.summary import Comparison
    from infosem_jax.grn.config import Config


def compare(
    expression: Annotated[
        list[Path], typer.Argument(help="h5ad, zarr, CSV, TSV, npz, or a folder; one or several.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for the results.")],
    effect: Annotated[
        list[str],
        typer.Option(
            help="Prior of the effects: PRIOR, PRIOR=FILE or module.path:function; again for more."
        ),
    ] = ["normal"],  # noqa: B006
    edge: Annotated[
        list[str],
        typer.Option(help="Prior of the existence of edges: PRIOR=FILE or none; again for more."),
    ] = ["none"],  # noqa: B006
    network: Annotated[
        list[str] | None,
        typer.Option(help="Known network: FILE for all data sets, or NAME=FILE for one."),
    ] = None,
    regulators: Annotated[
        Path | None, typer.Option(help="Candidate regulators, one symbol per line.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Fits that differ by random numbers.")] = 3,
    key: Annotated[int, typer.Option(help="Seeds the random numbers.")] = 0,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with tables [model], [effect], [edge].")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="Prior that the others are compared with; the first.")
    ] = None,
    controls: Annotated[
        bool, typer.Option(help="Fit priors that know genes with their genes dealt anew too.")
    ] = True,
    halves: Annotated[bool, typer.Option(help="Fit priors to two halves of the cells too.")] = True,
    cells: Annotated[int, typer.Option(min=1, help="Held-out cells to score, at most.")] = 32,
    samples: Annotated[int, typer.Option(min=1, help="Importance samples for each cell.")] = 64,
    changes: Annotated[
        int, typer.Option(min=0, help="Edges to list that data moved most, for each prior.")
    ] = 0,
    ignore_case: Annotated[
        bool, typer.Option("--ignore-case", help="Match embeddings whatever the letter case.")
    ] = False,
    orthologues: Annotated[
        Path | None, typer.Option(help="Table from the data's genes to the embedding's.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run, if there is one.")
    ] = False,
    save_every: Annotated[float, typer.Option(min=0, help="Seconds between checkpoints.")] = 60.0,
    compile_cache: CompileCache = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a folder that exists.")
    ] = False,
) -> None:
    """Compare priors: by how well they predict held-out cells, and by known networks if there are.

    Every data set is fitted with every prior; each prior that knows genes by name is also fitted
    with its genes dealt anew, and each prior to halves of the cells.
    """
    with plain_errors():
        start_devices(False, compile_cache)
        from dataclasses import asdict

        from infosem_jax.compare.experiment import check_reference, make_plan
        from infosem_jax.compare.measures import Settings
        from infosem_jax.compare.page import write_comparison
        from infosem_jax.data import Dataset, read_orthologues
        from infosem_jax.engine.interrupts import Interrupted
        from infosem_jax.grn import batch
        from infosem_jax.grn.prepare import Priors

        if resume and overwrite:
            raise ValueError("Expected --resume or --overwrite, found both.")
        complete = (out / "comparison.csv").exists() and not batch.checkpoint_folder(out).exists()
        if resume and complete:
            typer.echo(f"{out} is complete: there is nothing to resume.")
            return
        _, prior_settings = read_config(config)
        settings = _settings(config)
        matching: dict[str, Any] = {"ignore_case": ignore_case}
        if orthologues is not None:
            matching["orthologues"] = read_orthologues(orthologues)
        effects = [named_prior(e, "effect", prior_settings["effect"], matching) for e in effect]
        edges = [
            None if e == "none" else named_prior(e, "logit", prior_settings["edge"], matching)
            for e in edge
        ]
        datasets = read_datasets(
            expression,
            settings,
            regulators=regulators,
            groupby=None,
            stream=False,
            layer=None,
            orientation="auto",
            variant=None,
            name=None,
        )
        run = {
            "command": "infosem compare",
            "expression": [str(path) for path in expression],
            "effect": effect,
            "edge": edge,
            "network": network or [],
            "regulators": "" if regulators is None else str(regulators),
            "orthologues": "" if orthologues is None else str(orthologues),
            "ignore_case": ignore_case,
            "seeds": seeds,
            "key": key,
            "cells": cells,
            "samples": samples,
            "controls": controls,
            "halves": halves,
        }
        named = batch.Grid(datasets, effects, edges, settings, seeds, key, run).priors()
        plan = make_plan(
            {name: data for name, data in datasets.items() if isinstance(data, Dataset)},
            {
                name: Priors(parts[0].prior, parts[1].prior if len(parts) > 1 else None)
                for name, parts in named.items()
            },
            truth=_truth(network or [], list(datasets)),
            config=settings,
            seeds=seeds,
            how=Settings(key, cells, samples, changes),
            controls=controls,
            halves=halves,
        )
        tables = {"model": asdict(settings), "run": run, **_given(prior_settings)}
        with progress(100, "%") as update:
            try:
                found = write_comparison(
                    plan,
                    check_reference(plan, reference),
                    out,
                    record=tables,
                    about={name: " ".join(p.text for p in parts) for name, parts in named.items()},
                    resume=resume,
                    overwrite=overwrite,
                    every=save_every,
                    on_progress=lambda share, text: update(100 * share, text),
                )
            except Interrupted as error:
                typer.echo(f"Saved in {error}; the same command with --resume goes on.", err=True)
                raise typer.Exit(130) from error
        _print(found)
        typer.echo(f"Wrote {out}: open {out / 'report.html'} in a browser.")


def _settings(path: Path | None) -> "Config":
    """Return the recipe of comparisons with the settings that a file changes."""
    from dataclasses import replace

    from infosem_jax.compare.experiment import RECIPE

    table = {} if path is None else tomllib.loads(path.read_text(encoding="utf-8")).get("model", {})
    return replace(RECIPE, **table)


def _given(prior_settings: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {site: table for site, table in prior_settings.items() if table}


def _truth(specs: list[str], names: list[str]) -> "dict[str, pd.DataFrame] | None":
    from infosem_jax.data import read_network

    tables = {}
    for spec in specs:
        name, equals, file = spec.partition("=")
        if equals and name not in names:
            raise ValueError(
                f"--network: expected the name of a data set ({', '.join(names)}) before =, found "
                f"{name!r}."
            )
        for each in [name] if equals else names:
            if each in tables:
                raise ValueError(f"--network: found two networks for {each}; give one.")
            tables[each] = read_network(Path(file if equals else spec))
    return tables or None


def _print(found: "Comparison") -> None:
    from infosem_jax.compare.page import LABELS, cells_of, overview
    from infosem_jax.compare.summary import DENSITY

    shown = found.paired.loc[found.paired["measure"] == DENSITY]
    texts = [cells_of(row) for row in shown.to_dict("records")]
    rows = [(prior, against, interval, how) for prior, against, _, interval, how in texts]
    print_table(("prior", "against", "difference [95 %]", "verdict"), rows, LABELS[DENSITY])
    for sentence in overview(found):
        typer.echo(sentence)
