"""The commands ``infosem embed``."""

import json
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
    from infosem_jax.embedding.function import GeneSets
    from infosem_jax.embedding.studies import Study

embed_app = typer.Typer(
    help="Genes of several studies embedded together, like beside like.", no_args_is_help=True
)

FILES = {
    "embedding.npz": "one vector for each gene: infosem fit --effect gene-embedding=embedding.npz",
    "genes.h5ad": "all rows as AnnData, genes of studies as observations",
    "rows.npz": "the same, for infosem embed export and neighbours",
    "genes.csv": "cluster of each gene of each study",
    "clusters.csv": "gene sets over-represented in clusters, where gene sets were given",
    "metrics.json": "measures of the embedding",
    "losses.csv": "training loss of each epoch, where something was trained",
    "config.toml": "all settings",
    "versions.json": "versions of the software, and the device",
    "report.html": "figures and how to read them",
}

Run = Annotated[Path, typer.Argument(help="Folder that infosem embed fit wrote.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what exists.")]
OneStudy = Annotated[
    str | None, typer.Option(help="Vectors of one study; the mean over all if not given.")
]


@embed_app.command()
def fit(
    studies: Annotated[
        list[Path], typer.Argument(help="Expression: h5ad, npz, or folders with expression.npz.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for the results.")],
    method: Annotated[str, typer.Option(help="musegnn, pca, gae, wsmae, ...")] = "musegnn",
    orthologues: Annotated[
        list[str] | None,
        typer.Option(help="SPECIES=FILE: orthologues to the target species; again for more."),
    ] = None,
    target: Annotated[str, typer.Option(help="Species whose symbols name genes.")] = "human",
    species: Annotated[
        list[str] | None,
        typer.Option(help="STUDY=SPECIES where a file does not say it; again for more."),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="STUDY=LABEL in place of technique and tissue; again for more."),
    ] = None,
    genes: Annotated[int, typer.Option(min=20, help="Most genes of a study.")] = 1000,
    edges: Annotated[
        str, typer.Option(help="auto, cscore (counts), correlation, cosine or knn.")
    ] = "auto",
    alpha: Annotated[float, typer.Option(help="p-value below which CS-CORE sees an edge.")] = 0.005,
    correct: Annotated[
        bool, typer.Option("--correct", help="Correct p-values for the number of pairs.")
    ] = False,
    threshold: Annotated[float, typer.Option(help="Least correlation or cosine of an edge.")] = 0.3,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of training.")] = None,
    key: Annotated[int, typer.Option(help="Seeds the random numbers.")] = 0,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with a table of the method's settings.")
    ] = None,
    sets: Annotated[
        list[Path] | None,
        typer.Option(help="Gene sets (GMT) to look for in clusters; again for more."),
    ] = None,
    plane: Annotated[
        str, typer.Option(help="How genes are drawn: umap (if installed), pca or auto.")
    ] = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Embed the genes of several studies together.

    Each study becomes a graph of its co-expressed genes. Names of genes decide which are the same;
    studies of several species need a table of orthologues.
    """
    with plain_errors():
        start_devices(False, None)
        from infosem_jax.embedding import reports
        from infosem_jax.embedding.function import function_recovery, gene_vectors
        from infosem_jax.embedding.graph import GraphSettings, common, study_graph
        from infosem_jax.embedding.methods import configured, settings_of
        from infosem_jax.embedding.metrics import evaluate
        from infosem_jax.embedding.saved import embedded, export, save
        from infosem_jax.embedding.studies import harmonise
        from infosem_jax.outputs.folder import software_versions, whole_folder
        from infosem_jax.outputs.page import write_page

        check_folder(out, FILES, overwrite=overwrite)
        reports.check_plane(plane)
        settings = read_settings(config, method) | ({} if epochs is None else {"epochs": epochs})
        chosen, _ = configured(method, settings)
        graph_settings = GraphSettings(
            genes=genes,
            edges=edges,
            alpha=alpha,
            correct=correct,
            threshold=threshold,
        )
        tables = _orthologues(orthologues or [], target)
        collections = _gene_sets(sets or [])
        read = _read(studies, _pairs(species or [], "--species"), _pairs(label or [], "--label"))
        graphs = [
            study_graph(study, graph_settings) for study in harmonise(read, tables, target=target)
        ]
        notes = _notes(graphs)
        for note in notes:
            typer.echo(note, err=True)
        losses = None
        if method.startswith("musegnn"):
            vectors, losses = _train(graphs, settings, method, key)
        else:
            vectors = chosen.embed(graphs, key)
        found = embedded(graphs, vectors, method, seed=key)
        metrics = evaluate(graphs, vectors, seed=key)
        names, z = gene_vectors([graph.genes for graph in graphs], vectors)
        for name, own in collections.items():
            scores = function_recovery(names, z, own)
            metrics |= {f"{measure}_{name}": value for measure, value in scores.items()}
        enriched = reports.enrichment_table(found, collections) if collections else None
        record = {
            "command": "infosem embed fit",
            "studies": [str(path) for path in studies],
            "method": method,
            "orthologues": orthologues or [],
            "target": target,
            "genes": genes,
            "edges": edges,
            "alpha": alpha,
            "correct": correct,
            "threshold": threshold,
            "key": key,
        }
        versions = software_versions()
        own = settings_of(method, settings)
        facts = {"Settings": record | own, "Files": FILES, "Versions": versions}
        page = reports.fit_page(
            graphs, found, metrics, losses, enriched, plane=plane, notes=notes, facts=facts
        )
        with whole_folder(out) as folder:
            save(folder / "rows.npz", found)
            export(folder / "embedding.npz", found)
            export(folder / "genes.h5ad", found)
            reports.cluster_table(found).to_csv(folder / "genes.csv", index=False)
            if enriched is not None:
                enriched.to_csv(folder / "clusters.csv", index=False)
            _write_losses(folder, losses)
            _write_json(folder / "metrics.json", metrics)
            write_record(folder, {"run": record, method: own}, versions)
            write_page(folder / "report.html", page)
        rows = [(k.replace("_", " "), reports.measured_text(k, v)) for k, v in metrics.items()]
        title = f"{len(set(found.gene)):,} genes, {len(common(graphs)):,} of them in all studies"
        print_table(("measure", "value"), rows, title)
        typer.echo(f"Wrote {out}: open {out / 'report.html'}.")


@embed_app.command("export")
def export_command(
    folder: Run,
    out: Annotated[
        Path, typer.Option("--out", help="File: .npz or .csv (one vector per gene), or .h5ad.")
    ],
    study: OneStudy = None,
    graph: Annotated[
        int, typer.Option(min=0, help="Write so many nearest genes of each, as edges (.csv).")
    ] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Write an embedding, or the graph of like genes, for other software and as a prior."""
    with plain_errors():
        from infosem_jax.data.io import atomic_write
        from infosem_jax.embedding.function import nearest_pairs
        from infosem_jax.embedding.saved import export, one_per_gene

        if out.exists() and not overwrite:
            raise ValueError(f"{out}: the file exists; choose another, or pass --overwrite.")
        if not out.absolute().parent.is_dir():
            raise ValueError(f"{out}: the folder does not exist; create it first.")
        if graph and out.suffix != ".csv":
            raise ValueError(f"--graph: expected a file that ends in .csv, found {out}.")
        if graph:
            genes = one_per_gene(_load(folder), study)
            with atomic_write(out) as draft:
                nearest_pairs(genes.names, genes.vectors, graph).to_csv(draft, index=False)
        else:
            export(out, _load(folder), study=study)
        typer.echo(f"Wrote {out}.")


@embed_app.command()
def neighbours(
    folder: Run,
    gene: Annotated[str, typer.Argument(help="Symbol of the gene.")],
    n: Annotated[int, typer.Option("-n", min=1, help="How many.")] = 10,
    study: OneStudy = None,
) -> None:
    """List the genes that lie nearest to one, by the cosine of their vectors."""
    with plain_errors():
        from infosem_jax.embedding.function import nearest_genes
        from infosem_jax.embedding.saved import one_per_gene

        found = one_per_gene(_load(folder), study)
        near = nearest_genes(found.names, found.vectors, gene, n)
        print_table(("gene", "cosine"), [(name, f"{cosine:.3f}") for name, cosine in near], gene)


def _load(folder: Path) -> Any:
    from infosem_jax.embedding.saved import load

    if not (folder / "rows.npz").is_file():
        raise ValueError(f"{folder}: expected a folder of infosem embed fit.")
    return load(folder / "rows.npz")


def _train(graphs: Any, settings: dict[str, Any], method: str, key: int) -> tuple[Any, Any]:
    """Train MuSe-GNN with a bar that shows how far it is."""
    from infosem_jax.embedding import model
    from infosem_jax.embedding.methods import configured

    _, config = configured(method, settings)
    with progress(config.epochs, "epochs") as update:
        fitted = model.fit(
            graphs,
            config,
            seeds=(key,),
            on_chunk=lambda p: update(p.done, f"loss {float(p.losses.train[0, -1]):.4f}"),
        )
    return fitted.vectors[0], fitted.losses


def _notes(graphs: Any) -> list[str]:
    """Say where studies have little to say to each other."""
    from infosem_jax.embedding.graph import common

    notes = []
    if len(graphs) == 1:
        notes.append("One study alone: nothing is joined, and the embedding tells its graph only.")
    for i, a in enumerate(graphs):
        for b in graphs[:i]:
            if not common([a, b]):
                notes.append(
                    f"{b.name} and {a.name} share no gene, so that nothing joins them; are their "
                    "names of one kind, and of one species?"
                )
    return notes


def _read(paths: list[Path], species: dict[str, str], labels: dict[str, str]) -> "list[Study]":
    from infosem_jax.embedding.studies import read_study

    names = _names(paths)
    for what, given in (("--species", species), ("--label", labels)):
        unknown = sorted(given.keys() - set(names))
        if unknown:
            raise ValueError(
                f"{what}: expected names of studies ({', '.join(names)}), found "
                f"{', '.join(unknown)}."
            )
    found = []
    for path, name in zip(paths, names, strict=True):
        known = {"species": species[name]} if name in species else {}
        if name in labels:
            known |= {"technique": labels[name], "tissue": ""}
        found.append(read_study(path, name=name, **known))
    return found


def _names(paths: list[Path]) -> list[str]:
    """Name studies by their files; where these are alike, by their folders too."""
    short = [path.name.split(".")[0] for path in paths]
    if len(set(short)) == len(short):
        return short
    return [
        f"{path.absolute().parent.name}/{name}" for path, name in zip(paths, short, strict=True)
    ]


def _pairs(given: list[str], option: str) -> dict[str, str]:
    found = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not (name and sign and value):
            raise ValueError(f"{option}: expected NAME=VALUE, found {text!r}.")
        found[name] = value
    return found


def _orthologues(given: list[str], target: str) -> dict[str, Any]:
    from infosem_jax.data.io import read_orthologues

    return {
        species: read_orthologues(Path(file), source=species, target=target)
        for species, file in _pairs(given, "--orthologues").items()
    }


def _gene_sets(paths: list[Path]) -> "dict[str, GeneSets]":
    from infosem_jax.embedding.function import read_gene_sets

    return {path.name.split(".symbols")[0].split(".gmt")[0]: read_gene_sets(path) for path in paths}


def _write_losses(folder: Path, losses: Any) -> None:
    if losses is None:
        return
    import pandas as pd

    table = pd.DataFrame({"epoch": range(1, losses.shape[1] + 1), "loss": losses[0]})
    table.to_csv(folder / "losses.csv", index=False)


def _write_json(path: Path, values: dict[str, float]) -> None:
    import math

    known = {k: float(v) if math.isfinite(v) else None for k, v in values.items()}
    path.write_text(json.dumps(known, indent=1, allow_nan=False) + "\n", encoding="utf-8")
