"""The command line, ``infosem``; imports wait until a command needs them, as help is instant."""

import json
import math
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infosem_jax.cli._common import CompileCache, plain_errors, print_table, progress, start_devices
from infosem_jax.cli._inputs import named_prior, read_config, read_datasets
from infosem_jax.cli.benchmark import benchmark_app
from infosem_jax.cli.check import check
from infosem_jax.cli.compare import compare
from infosem_jax.cli.embedding import embed_app
from infosem_jax.cli.expression import expression_app
from infosem_jax.cli.perturbation import perturbation_app

if TYPE_CHECKING:
    from infosem_jax.data import Dataset, Stream
    from infosem_jax.grn.config import Config
    from infosem_jax.grn.fitting import GridProgress
    from infosem_jax.grn.run_folder import NamedPrior

app = typer.Typer(
    name="infosem",
    help="Gene regulatory networks with informative priors.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Public data sets.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(benchmark_app, name="benchmark")
app.command()(compare)
app.command()(check)
app.add_typer(expression_app, name="expression")
app.add_typer(embed_app, name="embed")
app.add_typer(perturbation_app, name="perturbation")

Out = Annotated[Path, typer.Option("--out", help="Folder for the results.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a folder that exists.")]


@app.command()
def demo(
    out: Out,
    seeds: Annotated[int, typer.Option(min=1, help="Number of simulated data sets.")] = 3,
    overwrite: Overwrite = False,
) -> None:
    """Fit simulated data with and without priors, and compare with the known network."""
    with plain_errors():
        from infosem_jax.cli.demo import SIMULATION, VARIANTS, run_demo
        from infosem_jax.data.simulate import simulate
        from infosem_jax.grn import run_folder
        from infosem_jax.outputs.folder import whole_folder

        run_folder.check_output(out, simulate(SIMULATION, 0).data, overwrite=overwrite)
        with progress(len(VARIANTS) * seeds, "fits") as update:
            done = 0

            def tell(variant: str, seed: int, auprc: float) -> None:
                nonlocal done
                done += 1
                update(done, f"{variant}, data set {seed}: {auprc:.3f}")

            table, simulation, fitted, named = run_demo(seeds, tell)
        with whole_folder(out) as folder:
            run_folder.write_run(
                folder,
                simulation.data,
                fitted,
                named,
                record={"command": "infosem demo", "seeds": seeds},
                title="InfoSEM demonstration",
                comparison=table,
            )
        _print_comparison(table)
        typer.echo(f"Wrote {out}: open {out / 'report.html'} in a browser.")


@app.command()
def fit(
    expression: Annotated[
        list[Path], typer.Argument(help="h5ad, zarr, CSV, TSV, npz, or a folder; one or several.")
    ],
    out: Out,
    regulators: Annotated[
        Path | None, typer.Option(help="Candidate regulators, one symbol per line.")
    ] = None,
    effect: Annotated[
        list[str],
        typer.Option(
            help="Prior of the effects: PRIOR, PRIOR=FILE, mixture=FILE,FILE,... or your own, "
            "MODULE:FUNCTION; again for a grid."
        ),
    ] = ["mean-absolute"],  # noqa: B006
    edge: Annotated[
        list[str],
        typer.Option(
            help="Prior of the existence of edges: PRIOR, PRIOR=FILE, MODULE:FUNCTION or none; "
            "again for a grid."
        ),
    ] = ["none"],  # noqa: B006
    seeds: Annotated[int, typer.Option(min=1, help="Fits that differ by random numbers.")] = 5,
    key: Annotated[int, typer.Option(help="Seeds the random numbers.")] = 0,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with tables [model], [effect], [edge].")
    ] = None,
    groupby: Annotated[
        str | None, typer.Option(help="Column of obs of an h5ad file: one network per value.")
    ] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Leave the cells on disk; h5ad or zarr.")
    ] = False,
    layer: Annotated[str | None, typer.Option(help="Layer of an h5ad file.")] = None,
    orientation: Annotated[
        str, typer.Option(help="Of a CSV: auto, genes_in_rows or genes_in_columns.")
    ] = "auto",
    variant: Annotated[str | None, typer.Option(help="Matrix of an npz that has several.")] = None,
    ignore_case: Annotated[
        bool, typer.Option("--ignore-case", help="Match embeddings whatever the letter case.")
    ] = False,
    orthologues: Annotated[
        Path | None, typer.Option(help="Table from the data's genes to the embedding's.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What the data are called.")] = None,
    top: Annotated[
        int | None, typer.Option(min=1, help="Edges to list, strongest first; all if not given.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run, if there is one.")
    ] = False,
    save_every: Annotated[float, typer.Option(min=0, help="Seconds between checkpoints.")] = 60.0,
    distributed: Annotated[
        bool, typer.Option("--distributed", help="Compute with other processes of a cluster.")
    ] = False,
    compile_cache: CompileCache = None,
    overwrite: Overwrite = False,
) -> None:
    """Infer regulatory networks from expression, with priors.

    Several data sets, groups of cells, or priors make a grid, trained together where shapes allow,
    with one folder of results each.
    """
    with plain_errors():
        start_devices(distributed, compile_cache)
        from infosem_jax.data import read_orthologues
        from infosem_jax.engine.interrupts import Interrupted
        from infosem_jax.grn import batch

        if resume and overwrite:
            raise ValueError("Expected --resume or --overwrite, found both.")
        settings, prior_settings = read_config(config)
        matching: dict[str, Any] = {"ignore_case": ignore_case}
        if orthologues is not None:
            matching["orthologues"] = read_orthologues(orthologues)
        effects = [named_prior(e, "effect", prior_settings["effect"], matching) for e in effect]
        edges = [
            None if e == "none" else named_prior(e, "logit", prior_settings["edge"], matching)
            for e in edge
        ]
        if resume and _is_finished(out, settings, seeds, key):
            typer.echo(f"{out} is complete: there is nothing to resume.")
            return
        datasets = read_datasets(
            expression,
            settings,
            regulators=regulators,
            groupby=groupby,
            stream=stream,
            layer=layer,
            orientation=orientation,
            variant=variant,
            name=name,
        )
        record = {
            "command": "infosem fit",
            "expression": [str(path) for path in expression],
            "regulators": "" if regulators is None else str(regulators),
            "groupby": groupby or "",
            "stream": stream,
            "layer": layer or "",
            "orientation": orientation,
            "variant": variant or "",
            "ignore_case": ignore_case,
            "orthologues": "" if orthologues is None else str(orthologues),
            "seeds": seeds,
            "key": key,
        }
        grid = batch.Grid(datasets, effects, edges, settings, seeds, key, record, top)
        for data in datasets.values():
            _describe(data, [*effects, *(e for e in edges if e is not None)], settings)
        results = []
        with progress(100, "%") as update:
            try:
                table = batch.run_grid(
                    grid,
                    out,
                    resume=resume,
                    overwrite=overwrite,
                    every=save_every,
                    on_chunk=lambda progress: update(*_grid_status(progress)),
                    on_result=lambda outcome: results.append(outcome.network),
                )
            except Interrupted as error:
                typer.echo(f"Saved in {error}; the same command with --resume goes on.", err=True)
                raise typer.Exit(130) from error
        _tell_results(out, table, results)


@app.command()
def evaluate(
    edges: Annotated[Path, typer.Argument(help="Edge table of any method: source,target,weight.")],
    network: Annotated[Path, typer.Argument(help="Reference network: source,target[,label].")],
    weight: Annotated[
        str | None,
        typer.Option(help="Column of EDGES.csv to rank by; one of a usual name by default."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Breaks ties.")] = 0,
    signed: Annotated[
        bool, typer.Option("--signed", help="Rank by weight instead of its size.")
    ] = False,
) -> None:
    """Score an edge table against a reference network; prints JSON."""
    with plain_errors():
        from infosem_jax.benchmark.grn import evaluate_edges
        from infosem_jax.data import read_network

        scores = evaluate_edges(
            read_network(edges, weight=weight), read_network(network), seed=seed,
            absolute=not signed,
        )  # fmt: skip
        typer.echo(json.dumps({k: _json_value(v) for k, v in scores.items()}, indent=2))


@app.command()
def embed_text(
    table: Annotated[Path, typer.Argument(help="Table of gene symbols and texts.")],
    out: Annotated[Path, typer.Option("--out", help="npz file for the embedding.")],
    encoder: Annotated[
        str, typer.Option(help="tfidf, or a Hugging Face model by name or folder.")
    ] = "tfidf",
    dimensions: Annotated[int, typer.Option(min=1, help="Features of the tfidf encoder.")] = 128,
    batch_size: Annotated[int, typer.Option(min=1, help="Texts that a model reads at once.")] = 64,
    seed: Annotated[int, typer.Option(help="Of the tfidf projection.")] = 0,
) -> None:
    """Turn texts about genes into an embedding."""
    with plain_errors():
        from infosem_jax.data import embed_genes, read_gene_text

        if out.suffix != ".npz":
            raise ValueError(f"--out: expected a file that ends in .npz, found {out}.")
        result = embed_genes(
            read_gene_text(table),
            encoder=encoder,
            dimensions=dimensions,
            batch_size=batch_size,
            seed=seed,
            path=out,
        )
        typer.echo(f"Wrote {out}: {len(result.names)} genes x {result.vectors.shape[1]} features.")


@data_app.command("list")
def data_list() -> None:
    """List the public data sets that can be fetched."""
    from infosem_jax.data import CATALOG

    rows = [
        (e.name, e.description, e.licence, "known" if e.sha256 else "give --sha256")
        for e in CATALOG.values()
    ]
    print_table(("name", "what it is", "licence", "checksum"), rows)


@data_app.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(help="A name of 'infosem data list'.")],
    folder: Annotated[Path | None, typer.Option(help="Where to put the file.")] = None,
    sha256: Annotated[
        str | None, typer.Option(help="Checksum to hold the file to, where none is known.")
    ] = None,
) -> None:
    """Download a data set and check its content."""
    with plain_errors():
        from infosem_jax.data import fetch

        typer.echo(str(fetch(name, folder=folder, sha256=sha256)))


def _is_finished(out: Path, settings: "Config", seeds: int, key: int) -> bool:
    from dataclasses import asdict

    from infosem_jax.grn.batch import SUMMARY, checkpoint_folder

    written = (out / "versions.json").exists() or (out / SUMMARY).exists()
    if not written or checkpoint_folder(out).exists():
        return False
    asked = {**asdict(settings), "seeds": seeds, "key": key}
    for path in sorted(out.rglob("config.toml"))[:1]:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        known = {**tables["model"], **tables["run"]}
        other = [
            f"{name} (there {known.get(name)}, now {value})"
            for name, value in asked.items()
            if known.get(name) != value
        ]
        if other:
            raise ValueError(
                f"{out}: holds the results of another run, which differs in {', '.join(other)}; "
                "choose another folder, or pass --overwrite instead of --resume."
            )
    return True


def _tell_results(out: Path, table: Any, networks: list[Any]) -> None:
    """Say what was written; of several processes, the first does."""
    import jax

    from infosem_jax.grn.batch import SUMMARY

    if jax.process_index() != 0:
        return
    if len(table) == 1:
        for found in networks:
            _print_top(found)
        seconds, seeds = table["group_seconds"].iloc[0], table["seeds"].iloc[0]
        if seeds == 1:
            typer.echo("One seed only: how far seeds agree is not known; see --seeds.")
        typer.echo(f"Wrote {out} after {seconds:.0f} s: open {out / 'report.html'}.")
        return
    sound = int((table["sound_seeds"] > 0).sum())
    lost = f"; every seed of {len(table) - sound} fits diverged" if sound < len(table) else ""
    typer.echo(f"Wrote {sound} networks to {out}{lost}; {out / SUMMARY} lists them.")


def _grid_status(progress: "GridProgress") -> tuple[float, str]:
    share = (progress.group + progress.epochs / progress.n_epochs) / progress.n_groups
    loss = f"loss {float(progress.losses.train[:, -1].mean()):.4f}"
    where = f"group {progress.group + 1} of {progress.n_groups}, " if progress.n_groups > 1 else ""
    return 100 * share, f"{where}epoch {progress.epochs:.0f} of {progress.n_epochs}, {loss}"


def _describe(data: "Dataset | Stream", named: "list[NamedPrior]", settings: "Config") -> None:
    from infosem_jax.grn import run_folder
    from infosem_jax.grn.prepare import context
    from infosem_jax.grn.priors.binding import coverage

    for note in data.notes:
        typer.echo(f"{data.name}: {note}.", err=True)
    typer.echo(
        f"{data.name}: {run_folder.n_cells(data)} cells, {len(data.genes)} genes, "
        f"{len(data.regulators)} candidate regulators; rows: {settings.rows}.",
        err=True,
    )
    for prior in named:
        found = coverage(prior.prior, context(data, settings, prior.site))
        text = "; ".join(f"{key}: {value}" for key, value in found.items()) or prior.text
        typer.echo(f"Prior on the {prior.site}, {prior.name}: {text}", err=True)


def _print_comparison(table: Any) -> None:
    summary = table.groupby("variant", sort=False)["auprc"].agg(["mean", "std"])
    rows = []
    for variant, row in summary.iterrows():
        ratio = row["mean"] / summary.loc["none", "mean"]
        sd = "" if math.isnan(row["std"]) else f"{row['std']:.3f}"
        rows.append((str(variant), f"{row['mean']:.3f}", sd, f"{ratio:.2f}"))
    print_table(("variant", "average precision", "sd over data sets", "ratio to none"), rows)


def _print_top(result: Any, n: int = 10) -> None:
    from infosem_jax.grn.networks import edges

    rows = [
        (
            edge["source"],
            edge["target"],
            f"{edge['weight']:+.4f}",
            f"{edge['sd']:.4f}",
            f"{edge['sign_agreement']:.2f}",
        )
        for edge in edges(result, top=n).to_dict("records")
    ]
    print_table(("source", "target", "weight", "sd", "sign agreement"), rows)


def _json_value(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
