"""The commands ``infosem embed``."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infosem_jax.cli._common import check_file, file_of, named, plain_errors, print_table
from infosem_jax.cli._devices import start_devices
from infosem_jax.cli._inputs import Layer, MethodConfig, Out, Resume, SaveEvery, VarNames
from infosem_jax.cli._jobs import training
from infosem_jax.cli._progress import progress
from infosem_jax.cli._record import read_settings, record_of, write_record

if TYPE_CHECKING:
    from infosem_jax.embedding import Fitted

embed_app = typer.Typer(
    help="Genes of several studies embedded together, like beside like.", no_args_is_help=True
)

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
    out: Out,
    method: Annotated[str, typer.Option(help="Method: auto, musegnn, pca, gae, ...")] = "auto",
    orthologues: Annotated[
        list[str] | None,
        typer.Option(help="SPECIES=FILE: orthologues to the target species; again for more."),
    ] = None,
    target: Annotated[str, typer.Option(help="Species whose symbols name genes.")] = "human",
    species: Annotated[
        list[str] | None,
        typer.Option(help="STUDY=SPECIES where a file lacks it; again for more."),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="STUDY=LABEL in place of technique and tissue; again for more."),
    ] = None,
    layer: Layer = None,
    var_names: VarNames = None,
    genes: Annotated[int, typer.Option(min=20, help="Most genes of a study.")] = 1000,
    edges: Annotated[
        str,
        typer.Option(help="Edges by cscore (counts), correlation, cosine, knn or auto."),
    ] = "auto",
    alpha: Annotated[
        float, typer.Option(help="Two-sided p-value of CS-CORE below which two genes are joined.")
    ] = 0.005,
    correct: Annotated[
        bool, typer.Option("--correct", help="Correct p-values for the number of pairs.")
    ] = False,
    threshold: Annotated[float, typer.Option(help="Least correlation or cosine of an edge.")] = 0.3,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of training.")] = None,
    key: Annotated[int, typer.Option(help="Seeds the random numbers.")] = 0,
    config: MethodConfig = None,
    sets: Annotated[
        list[Path] | None,
        typer.Option(help="Gene sets (GMT) to test for in clusters; again for more."),
    ] = None,
    plane: Annotated[
        str, typer.Option(help="How genes are drawn: umap (if installed), pca or auto.")
    ] = "auto",
    resume: Resume = False,
    save_every: SaveEvery = None,
    overwrite: Overwrite = False,
) -> None:
    """Embed the genes of several studies together.

    Each study becomes a graph of its co-expressed genes. Names of genes decide which are the same;
    studies of several species need a table of orthologues.
    """
    record = record_of("infosem embed fit", dict(locals()))
    with plain_errors(out):
        start_devices(False, None)
        from infosem_jax import embedding
        from infosem_jax.data._names import check_names, count_matches
        from infosem_jax.data.io import read_orthologues
        from infosem_jax.embedding import reports
        from infosem_jax.embedding.graph import common, isolated
        from infosem_jax.outputs.folder import software_versions, whole_folder

        with training(out, reports.FILES, record, resume, overwrite, save_every) as saver:
            reports.check_plane(plane)
            settings = read_settings(config, method) | (
                {} if epochs is None else {"epochs": epochs}
            )
            own = embedding.configured(method, settings).settings
            graph = embedding.GraphSettings(genes, edges, alpha, correct, threshold)
            chosen = embedding.Config(method, own, graph, target)
            tables = {
                name: read_orthologues(Path(file), source=name, target=target)
                for name, file in named(orthologues, "--orthologues")
            }
            gene_sets = {
                path.name.split(".symbols")[0].split(".gmt")[0]: embedding.read_gene_sets(path)
                for path in sets or ()
            }
            of_study = {
                "species": dict(named(species, "--species")),
                "labels": dict(named(label, "--label")),
            }
            read = embedding.read_studies(studies, **of_study, layer=layer, names=var_names)
            graphs = embedding.study_graphs(read, tables, config=chosen)
            check_names([name for each in graphs for name in (each.name, *each.genes)])
            check_names([name for each in gene_sets.values() for name in each])
            for title, each in gene_sets.items():
                known = [gene for graph in graphs for gene in graph.genes]
                held = sorted(set().union(*each.values()))
                count_matches(known, held, f"the file of gene sets {title}")
            for note in isolated(graphs):
                typer.echo(note, err=True)
            with progress(getattr(chosen.settings, "epochs", 1), "epochs") as update:
                told = {"config": chosen, "key": key, "on_chunk": lambda p: update(p.done, p.text)}
                fitted = embedding.fit(graphs, saver=saver, **told)
            metrics = embedding.evaluate(embedding.predict(fitted), graphs, gene_sets)
            options = {"sets": gene_sets, "plane": plane, "record": record}
            versions, table = software_versions(), {} if own is None else asdict(own)
            with whole_folder(out) as folder:
                reports.write_results(folder, fitted, graphs, metrics, versions=versions, **options)
                write_record(folder, {"run": record, method: table}, versions)
            rows = [(k.replace("_", " "), reports.measured_text(k, v)) for k, v in metrics.items()]
            n_genes = len(set(fitted.genes.gene))
            title = f"{n_genes:,} genes, {len(common(graphs)):,} of them in all studies"
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
        from infosem_jax import embedding

        check_file(out, out.suffix, overwrite=overwrite)
        found = embedding.predict(_load(folder))
        embedding.export(out, found, study=study, nearest=graph)
        typer.echo(f"Wrote {out}.")


@embed_app.command()
def neighbours(
    folder: Run,
    gene: Annotated[str, typer.Argument(help="Symbol of the gene.")],
    n: Annotated[int, typer.Option("-n", min=1, help="Number of genes to list.")] = 10,
    study: OneStudy = None,
) -> None:
    """List the genes that lie nearest to one, by the cosine of their vectors."""
    with plain_errors():
        from infosem_jax import embedding

        near = embedding.neighbours(_load(folder), gene, n, study=study)
        print_table(("gene", "cosine"), [(name, f"{cosine:.3f}") for name, cosine in near], gene)


def _load(folder: Path) -> "Fitted":
    from infosem_jax import embedding

    return embedding.load(file_of(folder, "fitted.npz", "infosem embed fit"))
