"""The command ``infosem fit``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infosem_jax.cli import _inputs
from infosem_jax.cli._common import note, plain_errors, print_table
from infosem_jax.cli._devices import CompileCache, start_devices
from infosem_jax.cli._progress import progress

if TYPE_CHECKING:
    import pandas as pd

    from infosem_jax.grn import Network


def fit(
    expression: _inputs.Expression,
    out: _inputs.Out,
    regulators: _inputs.Regulators = None,
    effect: _inputs.Effect = [],  # noqa: B006
    edge: _inputs.Edge = ["none"],  # noqa: B006
    engine: Annotated[
        str | None,
        typer.Option(
            help="exact: closed-form posteriors, ranked by a score; or svi: trained, as DeepSEM. "
            "Default: exact, or the one that --config has settings of."
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of fits that differ by their random numbers only; of svi. Default: 5.",
        ),
    ] = None,
    key: _inputs.Key = 0,
    config: _inputs.ConfigFile = None,
    groupby: Annotated[
        str | None,
        typer.Option(help="Column of obs of an h5ad file; one network is fitted for each value."),
    ] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Leave the cells on disk, of h5ad or zarr.")
    ] = False,
    layer: _inputs.Layer = None,
    var_names: _inputs.VarNames = None,
    orientation: Annotated[
        str,
        typer.Option(help="How a CSV file lies: auto, genes_in_rows or genes_in_columns."),
    ] = "auto",
    variant: Annotated[
        str | None, typer.Option(help="Matrix to read of an npz file that has several.")
    ] = None,
    covariates: _inputs.Covariates = None,
    ignore_case: _inputs.IgnoreCase = False,
    orthologues: _inputs.OrthologueTable = None,
    name: Annotated[
        str | None, typer.Option(help="What the data are called. Default: their file or folder.")
    ] = None,
    top: Annotated[
        int,
        typer.Option(
            min=1, help="Most edges that edges.csv lists, the first; network.h5ad holds all."
        ),
    ] = 1_000_000,
    resume: _inputs.Resume = False,
    save_every: _inputs.SaveEvery = None,
    distributed: Annotated[
        bool, typer.Option("--distributed", help="Compute with other processes of a cluster.")
    ] = False,
    compile_cache: CompileCache = None,
    overwrite: _inputs.Overwrite = False,
) -> None:
    """Infer regulatory networks from expression, with priors.

    Several data sets, groups of cells, or priors make a grid, with one folder of results each.
    """
    with plain_errors(None if distributed else out):
        from infosem_jax.grn.inputs import BASES, read_config, read_datasets, read_engine

        engine = read_engine(config, engine)
        is_exact = engine == "exact"
        if is_exact:
            _inputs.refuse_svi_options({"--seeds": seeds, "--save-every": save_every})
        start_devices(distributed, compile_cache)
        from infosem_jax.grn import batch, exact, run_folder

        _inputs.check_resume(resume, overwrite)
        settings, of_priors = read_config(config, BASES[engine])
        effect = effect or ["none" if is_exact else "mean-absolute"]
        seeds = seeds or (1 if is_exact else 5)
        matching: dict[str, Any] = {"ignore_case": ignore_case, "orthologues": orthologues}
        priors = _inputs.priors_of(effect, edge, of_priors, **matching)
        if resume and batch.is_finished(out, settings, seeds=seeds, key=key):
            typer.echo(f"{out} is complete: there is nothing to resume.")
            return
        reading: dict[str, Any] = {
            "regulators": regulators,
            "groupby": groupby,
            "stream": stream,
            "layer": layer,
            "names": var_names,
            "orientation": orientation,
            "variant": variant,
            "covariates": covariates,
        }
        _inputs.check_reading(expression, name, reading)
        datasets = read_datasets(expression, settings, name=name, **reading)
        record = {
            "command": "infosem fit",
            "expression": [str(path) for path in expression],
            **{option: _recorded(value) for option, value in (reading | matching).items()},
            **({} if is_exact else {"seeds": seeds}),
            "key": key,
        }
        for data in datasets.values():
            own = isinstance(settings, exact.Config)
            acting = exact.chosen_rows(data, settings) if own else settings.rows
            pairs = len(data.regulators) * len(data.genes)
            listed = f" edges.csv lists the first {top:,} of {pairs:,} pairs." * (pairs > top)
            note(
                f"{data.name}: {run_folder.n_cells(data)} cells, {len(data.genes)} genes, "
                f"{len(data.regulators)} candidate regulators; genes that act: {acting}.{listed}"
            )
        networks = []
        with progress(100, "%") as update:
            table = batch.run_grid(
                datasets,
                priors,
                out,
                config=settings,
                seeds=seeds,
                key=key,
                record=record,
                top=top,
                resume=resume,
                overwrite=overwrite,
                every=60.0 if save_every is None else save_every,
                on_chunk=lambda now: update(100 * now.done / now.total, now.text),
                on_result=lambda outcome: networks.append(outcome.network),
            )
        _print_results(out, table, networks)


def _recorded(value: Any) -> Any:
    """Return the value of an option as TOML holds it."""
    return value if isinstance(value, bool) else str(value or "")


def _print_results(out: Path, table: "pd.DataFrame", networks: "list[Network | None]") -> None:
    """Say what was written; of several processes, the first does."""
    import jax

    from infosem_jax.grn.batch import SUMMARY

    if jax.process_index() != 0:
        return
    if len(table) == 1:
        for network in networks:
            if network is not None:
                _print_strongest(network)
        if "seeds" in table and table["seeds"].iloc[0] == 1:
            typer.echo("One seed only: how far seeds agree is not known; see --seeds.")
        seconds = table["group_seconds" if "seeds" in table else "seconds"].iloc[0]
        typer.echo(f"Wrote {out} after {seconds:.0f} s: open {out / 'report.html'}.")
        return
    sound = int((table["folder"] != "").sum())
    lost = f"; every seed of {len(table) - sound} fits diverged" if sound < len(table) else ""
    typer.echo(f"Wrote {sound} networks to {out}{lost}; {out / SUMMARY} lists them.")


def _print_strongest(network: "Network", n: int = 10) -> None:
    from infosem_jax.grn import edges

    ranked = network.score is not None
    rows = [
        (
            edge["source"],
            edge["target"],
            *[f"{edge['score']:+.2f}"] * ranked,
            f"{edge['weight']:+.4f}",
            f"{edge['sd']:.4f}",
            f"{edge['sign_agreement']:.2f}",
        )
        for edge in edges(network, top=n).to_dict("records")
    ]
    names = ("source", "target", *["score"] * ranked)
    print_table((*names, "weight", "sd", "sign agreement"), rows)
