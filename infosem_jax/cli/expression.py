"""The commands ``infosem expression``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infosem_jax.cli._common import (
    check_folder,
    plain_errors,
    print_table,
    progress,
    read_settings,
    start_devices,
    write_record,
)

if TYPE_CHECKING:
    from infosem_jax.expression.profiles import Profiles

expression_app = typer.Typer(
    help="What unmeasured genes express, inferred from those measured.", no_args_is_help=True
)

MODEL = {
    "model.npz": "the model, for infosem expression predict",
    "genes.csv": "how well each gene is inferred in test samples",
    "config.toml": "all settings",
    "versions.json": "versions of the software, and the device",
    "report.html": "figures and how to read them",
}

Train = Annotated[
    Path, typer.Argument(help="Samples to learn from: npz, h5ad, gct, gctx, CSV or TSV.")
]
Out = Annotated[Path, typer.Option("--out", help="Folder for the results.")]
Truth = Annotated[
    Path | None,
    typer.Option(help="The same samples on the platform to infer; that of TRAIN if not given."),
]
Names = Annotated[
    str | None, typer.Option(help="Annotation of npz, gct and gctx files to name genes by.")
]
GeneTable = Annotated[
    Path | None,
    typer.Option(help="Gene table (geneinfo_beta): knows the landmarks, and names by symbol."),
]
Orientation = Annotated[
    str, typer.Option(help="Of a CSV or TSV: genes_in_rows or genes_in_columns.")
]
SplitBy = Annotated[
    str, typer.Option("--split", help="random, stratified:LABEL or grouped:LABEL; by the labels.")
]
Scaling = Annotated[str, typer.Option(help="standard (per gene), max (as Kim et al.) or none.")]
LogCounts = Annotated[
    bool, typer.Option("--log-counts", help="Turn counts into log2(1 + counts per million).")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a folder that exists.")]


@expression_app.command()
def fit(
    train: Train,
    out: Out,
    inputs: Annotated[
        str, typer.Option(help="Measured genes: landmarks, a FILE, or how many to choose.")
    ] = "landmarks",
    method: Annotated[str, typer.Option(help="graph, ridge, knn, mlp, trees, ...")] = "graph",
    truth: Truth = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="Label of samples that is known too, such as tissue; again for more."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Fits whose predictions are averaged.")] = 1,
    key: Annotated[int, typer.Option(help="Seeds the random numbers and the split.")] = 0,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with a table of the method's settings.")
    ] = None,
    choose: Annotated[
        str, typer.Option(help="How genes are chosen where --inputs is a number.")
    ] = "greedy",
    split: SplitBy = "",
    scaling: Scaling = "standard",
    show: Annotated[str, typer.Option(help="Genes to plot, with commas between.")] = "",
    gene_table: GeneTable = None,
    names: Names = None,
    orientation: Orientation = "auto",
    log_counts: LogCounts = False,
    overwrite: Overwrite = False,
) -> None:
    """Learn to infer genes from others, and test it on samples that were left out.

    A fifth of the samples is for the test; the model that is kept is the one that was tested.
    """
    with plain_errors():
        start_devices(False, None)
        from infosem_jax.expression.choices import draw_split, parse_inputs, usual_split
        from infosem_jax.expression.completed import trust_table
        from infosem_jax.expression.methods import METHODS, configured
        from infosem_jax.expression.profiles import pair_samples
        from infosem_jax.expression.reports import fit_page
        from infosem_jax.expression.saved import fit_model, predict, save_model
        from infosem_jax.expression.task import make_task
        from infosem_jax.outputs.folder import software_versions, whole_folder
        from infosem_jax.outputs.page import write_page

        check_folder(out, MODEL, overwrite=overwrite)
        settings = read_settings(config, method)
        configured(method, settings)
        if inputs.isdecimal():
            parse_inputs(f"{choose}:{inputs}")
        source = _read(train, names, orientation, gene_table, log_counts)
        pair = (source, source)
        if truth is not None:
            pair = pair_samples(source, _read(truth, names, orientation, gene_table, log_counts))
        how = split or usual_split(pair[0])
        parts = draw_split(pair[0], how, key)
        platforms = pair if truth is not None else source
        measured, notes = _inputs(inputs, train, gene_table, pair[0])
        if inputs.isdecimal():
            measured, notes = _choose(platforms, parts, scaling, choose, int(inputs), key)
        notes += _units(pair[1])
        problem = make_task(
            platforms,
            measured,
            parts,
            targets="rest" if truth is None else "all",
            scaling=scaling,
            covariates=label or (),
        )
        unknown = [name for name in _list(show) if name not in problem.task.targets]
        if unknown:
            raise ValueError(f"--show: expected genes to infer, found {', '.join(unknown)}.")
        for note in (*notes, *problem.notes):
            typer.echo(note, err=True)
        with progress(seeds, "fits") as update:
            model = fit_model(
                problem,
                method,
                (pair[0].name, pair[1].name),
                settings=settings,
                seeds=seeds,
                first_seed=key,
                on_seed=update,
            )
        x_test = problem.task.x_test * problem.x_scaling.scale + problem.x_scaling.location
        prediction = predict(model, x_test, problem.task.covariate_test)
        table = trust_table(problem, prediction)
        record = {
            "command": "infosem expression fit",
            "train": str(train),
            "truth": "" if truth is None else str(truth),
            "inputs": inputs,
            "method": method,
            "label": label or [],
            "seeds": seeds,
            "key": key,
            "split": how,
            "scaling": scaling,
            "log_counts": log_counts,
        }
        versions = software_versions()
        if not METHODS[method].random and seeds > 1:
            notes.append(f"{method} has no random numbers, so that one fit was made.")
        page = fit_page(
            problem,
            prediction,
            model,
            table,
            genes=_list(show),
            notes=notes,
            facts={
                "Settings": record | model.settings,
                "Files": MODEL,
                "Versions": versions,
            },
        )
        with whole_folder(out) as folder:
            save_model(folder / "model.npz", model)
            table.to_csv(folder / "genes.csv", index=False)
            write_record(folder, {"run": record, method: model.settings}, versions)
            write_page(folder / "report.html", page)
        typer.echo(
            f"{len(model.targets):,} genes from {len(model.inputs):,}: mean correlation "
            f"{table['pearson'].mean():.3f} in {len(problem.samples)} test samples; "
            f"{(table['recall'] >= 0.95).mean():.0%} of the genes reach a recall of 0.95."
        )
        typer.echo(f"Wrote {out}: open {out / 'report.html'}.")


@expression_app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="Folder that infosem expression fit wrote.")],
    new: Annotated[Path, typer.Argument(help="New samples, in the units of the training data.")],
    out: Annotated[Path, typer.Option("--out", help="h5ad file for the completed samples.")],
    impute: Annotated[
        bool, typer.Option("--impute", help="Set missing inputs to their training means.")
    ] = False,
    gene_table: GeneTable = None,
    names: Names = None,
    orientation: Orientation = "auto",
    log_counts: LogCounts = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that exists.")
    ] = False,
) -> None:
    """Infer what was not measured in new samples.

    X keeps measured values; the layers "inferred" and "inferred_sd" hold what the model says, and
    var how far to trust each gene.
    """
    with plain_errors():
        start_devices(False, None)
        import pandas as pd

        from infosem_jax.expression.completed import TRUST, complete
        from infosem_jax.expression.saved import load_model, prepare
        from infosem_jax.outputs.folder import write_h5ad

        if out.suffix != ".h5ad":
            raise ValueError(f"--out: expected a file that ends in .h5ad, found {out}.")
        if out.exists() and not overwrite:
            raise ValueError(f"{out}: the file exists; choose another, or pass --overwrite.")
        if not out.absolute().parent.is_dir():
            raise ValueError(f"{out}: the folder does not exist; create it first.")
        if not (model / "model.npz").is_file():
            raise ValueError(f"{model}: expected a folder of infosem expression fit.")
        fitted = load_model(model / "model.npz")
        trust = pd.read_csv(model / "genes.csv")
        if not {"gene", *TRUST} <= set(trust) or set(trust["gene"]) != set(fitted.targets):
            raise ValueError(f"{model / 'genes.csv'}: does not go with the model; was it changed?")
        samples = _read(new, names, orientation, gene_table, log_counts)
        ready = prepare(fitted, samples, impute=impute)
        adata = complete(fitted, samples, ready, trust)
        write_h5ad(out, adata)
        if ready.imputed:
            typer.echo(
                f"{len(ready.imputed)} of {len(fitted.inputs)} inputs were missing and stand at "
                f"their training means: {', '.join(ready.imputed[:10])}"
                f"{', ...' if len(ready.imputed) > 10 else ''}.",
                err=True,
            )
        typer.echo(f"Wrote {out}: {adata.n_obs} samples x {adata.n_vars} genes.")


@expression_app.command()
def select(
    train: Train,
    out: Out,
    n: Annotated[int, typer.Option("--n", min=1, help="How many genes can be measured.")],
    how: Annotated[str, typer.Option(help="greedy, lasso, random, first or gate.")] = "greedy",
    pool: Annotated[
        str, typer.Option(help="Genes to choose from: all, landmarks or a FILE.")
    ] = "all",
    truth: Truth = None,
    key: Annotated[int, typer.Option(help="Seeds the random numbers and the split.")] = 0,
    split: SplitBy = "",
    scaling: Scaling = "standard",
    gene_table: GeneTable = None,
    names: Names = None,
    orientation: Orientation = "auto",
    log_counts: LogCounts = False,
    overwrite: Overwrite = False,
) -> None:
    """Choose genes to measure, and say what to expect of the first n of them."""
    with plain_errors():
        start_devices(False, None)
        import pandas as pd

        from infosem_jax.expression.choices import draw_split, usual_split
        from infosem_jax.expression.methods import ORDERS
        from infosem_jax.expression.profiles import pair_samples
        from infosem_jax.expression.reports import selection_page, selection_table
        from infosem_jax.expression.selection import select as select_inputs
        from infosem_jax.expression.task import make_task
        from infosem_jax.outputs.folder import software_versions, whole_folder
        from infosem_jax.outputs.page import write_page

        files = ("genes.csv", "accuracy.csv", "config.toml", "versions.json", "report.html")
        check_folder(out, files, overwrite=overwrite)
        if how not in ORDERS:
            raise ValueError(f"--how: expected one of {', '.join(ORDERS)}, found {how!r}.")
        source = _read(train, names, orientation, gene_table, log_counts)
        pair = (source, source)
        if truth is not None:
            pair = pair_samples(source, _read(truth, names, orientation, gene_table, log_counts))
        candidates, notes = source.genes, []
        if pool != "all":
            candidates, notes = _inputs(pool, train, gene_table, source)
        named = split or usual_split(pair[0])
        problem = make_task(
            pair if truth is not None else source,
            candidates,
            draw_split(pair[0], named, key),
            targets="rest" if truth is None and pool != "all" else "all",
            scaling=scaling,
        )
        chosen = [select_inputs(problem.task, n, how, key, selectors=ORDERS)]
        if how != "random":
            sizes = chosen[0].sizes.tolist()
            chosen.append(select_inputs(problem.task, n, "random", key, sizes=sizes))
        versions = software_versions()
        record = {
            "command": "infosem expression select",
            "train": str(train),
            "truth": "" if truth is None else str(truth),
            "n": n,
            "how": how,
            "pool": pool,
            "key": key,
            "split": named,
            "scaling": scaling,
        }
        facts = {"Settings": record, "Versions": versions}
        page = selection_page(chosen, problem, notes=notes, facts=facts)
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
        typer.echo(f"Wrote {out}: open {out / 'report.html'}.")


def _read(
    path: Path, names: str | None, orientation: Any, gene_table: Path | None, log: bool
) -> "Profiles":
    from infosem_jax.expression.profiles import identifier_kind, to_symbols
    from infosem_jax.expression.readers import read_gene_table, read_profiles
    from infosem_jax.expression.units import log_counts

    found = read_profiles(path, names=names, orientation=orientation)
    if gene_table is not None and identifier_kind(found.genes) != "symbol":
        found = to_symbols(found, read_gene_table(gene_table))
    return log_counts(found) if log else found


def _inputs(
    text: str, train: Path, gene_table: Path | None, profiles: "Profiles"
) -> tuple[tuple[str, ...], list[str]]:
    """Return the input genes that a user names, and what is to be told of them."""
    from infosem_jax.expression.choices import landmark_pool
    from infosem_jax.expression.readers import read_landmarks

    if text.isdecimal():
        return (), []
    if text != "landmarks":
        return read_landmarks(Path(text)), []
    beside = sorted(train.parent.glob("geneinfo_beta*"))
    table = gene_table or (beside[0] if beside else None)
    if table is None:
        raise ValueError(
            "Landmarks are named by a gene table: give it with --gene-table (geneinfo_beta of the "
            "Connectivity Map), or name your genes by a file."
        )
    landmarks = read_landmarks(table)
    found = landmark_pool(profiles.genes, landmarks)
    return found, [f"The data hold {len(found)} of {len(landmarks)} landmark genes."]


def _choose(
    platforms: Any, parts: Any, scaling: str, how: str, n: int, key: int
) -> tuple[tuple[str, ...], list[str]]:
    """Choose inputs among all genes, on the training samples."""
    from infosem_jax.expression.choices import choose_inputs, parse_inputs
    from infosem_jax.expression.profiles import Profiles
    from infosem_jax.expression.task import make_task

    source = platforms if isinstance(platforms, Profiles) else platforms[0]
    task = make_task(platforms, source.genes, parts, scaling=scaling).task
    chosen = choose_inputs(task, parse_inputs(f"{how}:{n}"), key).inputs
    return chosen, [f"The {n} inputs were chosen among {len(source.genes)} genes ({how})."]


def _units(profiles: "Profiles") -> list[str]:
    """Say where values are far from what methods and measures are made for."""
    from infosem_jax.expression.units import describe_units

    kind = describe_units(profiles.x).kind
    if kind not in ("counts", "linear"):
        return []
    advice = "pass --log-counts" if kind == "counts" else "take logarithms first"
    return [f"Values of {profiles.name} look like {kind}: {advice}, as few genes outweigh all."]


def _list(text: str) -> list[str]:
    return list(dict.fromkeys(filter(None, (part.strip() for part in text.split(",")))))
