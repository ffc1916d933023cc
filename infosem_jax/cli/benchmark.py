"""The commands ``infosem benchmark expression``, ``embedding`` and ``perturbation``."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infosem_jax.cli._common import (
    BeginAnew,
    CompileCache,
    ComputeMissing,
    Quick,
    choose_methods,
    plain_errors,
    print_table,
    start_devices,
    words,
)
from infosem_jax.cli.benchmark_grn import benchmark_app, run_benchmark

if TYPE_CHECKING:
    from infosem_jax.benchmark.embedding.cells import Cell as EmbeddingCell
    from infosem_jax.benchmark.expression.cells import Cell as ExpressionCell
    from infosem_jax.benchmark.perturbation.cells import Cell as PerturbationCell


@benchmark_app.command()
def expression(
    data: Annotated[
        Path, typer.Option(help="Folder of bulk expression: npz, h5ad, gct or gctx files.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    datasets: Annotated[
        str,
        typer.Option(
            help="Names of files; A:B infers platform B from A, A@B learns from A and tests on B."
        ),
    ] = "",
    methods: Annotated[str, typer.Option(help="Methods; graph and those without a graph.")] = "",
    splits: Annotated[
        str, typer.Option(help="random, stratified:LABEL, grouped:LABEL, folds:K; by the labels.")
    ] = "",
    inputs: Annotated[
        str, typer.Option(help="Measured genes: all, random:100, greedy:1/3, all+tissue, ...")
    ] = "",
    pool: Annotated[
        str, typer.Option(help="Genes to choose them from: auto, landmarks, all or random:N.")
    ] = "auto",
    scaling: Annotated[
        str, typer.Option(help="standard (per gene), max (as Kim et al.) or none.")
    ] = "standard",
    seeds: Annotated[int, typer.Option(min=1, help="Splits, pools and fits.")] = 5,
    quick: Quick = False,
    resume: ComputeMissing = False,
    overwrite: BeginAnew = False,
    compile_cache: CompileCache = None,
) -> None:
    """Compare methods that infer unmeasured genes, over numbers and choices of measured ones.

    Each result is a file, so that an interrupted run goes on with --resume.
    """
    with plain_errors():
        start_devices(False, compile_cache)
        from infosem_jax.benchmark import folder
        from infosem_jax.benchmark.expression.runner import USUAL_INPUTS, Grid, run_grid
        from infosem_jax.benchmark.expression.sources import find_sources, reduce
        from infosem_jax.expression.choices import parse_inputs
        from infosem_jax.expression.methods import USUAL
        from infosem_jax.expression.methods import methods as all_methods

        chosen = choose_methods(words(methods) or [*USUAL], all_methods(quick=quick))
        wanted = tuple(words(inputs)) or (("all", "greedy:10") if quick else USUAL_INPUTS)
        for text in wanted:
            parse_inputs(text)
        folder.check(out, resume=resume, overwrite=overwrite)
        sources, notes = find_sources(data, words(datasets))
        if quick:
            sources, reduced = reduce(sources)
            notes.append(reduced)
        for note in notes:
            typer.echo(note, err=True)
        grid = Grid(
            sources,
            chosen,
            wanted,
            tuple(words(splits)),
            pool,
            scaling,
            1 if quick else seeds,
            quick,
            tuple(notes),
        )
        run_benchmark(
            partial(run_grid, grid, out, resume=resume, overwrite=overwrite), out, _print_expression
        )


@benchmark_app.command()
def embedding(
    data: Annotated[
        Path, typer.Option(help="Folder of studies: h5ad files, or folders with expression.npz.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    datasets: Annotated[
        str,
        typer.Option(
            help="Groups of studies: A:B or NAME=A:B, with commas between; those of one tissue."
        ),
    ] = "",
    methods: Annotated[str, typer.Option(help="Methods; musegnn and all baselines.")] = "",
    orthologues: Annotated[
        list[str] | None,
        typer.Option(help="SPECIES=FILE: orthologues to human; a table *ortholog* of the folder."),
    ] = None,
    genes: Annotated[int, typer.Option(min=20, help="Most genes of a study.")] = 1000,
    edges: Annotated[
        str, typer.Option(help="auto, cscore (counts), correlation, cosine or knn.")
    ] = "auto",
    seeds: Annotated[int, typer.Option(min=1, help="Fits, and draws of orthologues.")] = 5,
    quick: Quick = False,
    resume: ComputeMissing = False,
    overwrite: BeginAnew = False,
    compile_cache: CompileCache = None,
) -> None:
    """Compare embeddings of genes over studies, by the metrics of MuSe-GNN and by functions.

    Orthologues and gene sets are looked for in the folder. Each result is a file, so that an
    interrupted run goes on with --resume.
    """
    with plain_errors():
        start_devices(False, compile_cache)
        from infosem_jax.benchmark import folder
        from infosem_jax.benchmark.embedding.runner import Grid, run_grid
        from infosem_jax.benchmark.embedding.sources import (
            QUICK_GENES,
            find_gene_sets,
            find_sources,
            reduce,
        )
        from infosem_jax.embedding.graph import GraphSettings
        from infosem_jax.embedding.methods import USUAL
        from infosem_jax.embedding.methods import methods as all_methods

        chosen = choose_methods(words(methods) or [*USUAL], all_methods(quick=quick))
        settings = GraphSettings(
            genes=min(genes, QUICK_GENES) if quick else genes,
            edges=edges,
        )
        folder.check(out, resume=resume, overwrite=overwrite)
        tables = {}
        for text in orthologues or []:
            species, _, file = text.partition("=")
            if not (species and file):
                raise ValueError(f"--orthologues: expected SPECIES=FILE, found {text!r}.")
            tables[species] = file
        sources, notes = find_sources(data, words(datasets), tables or None)
        if quick:
            sources, reduced = reduce(sources)
            notes.append(reduced)
        sets = find_gene_sets(data)
        if not sets:
            notes.append("No gene sets were found, so that functions are not measured.")
        for note in notes:
            typer.echo(note, err=True)
        grid = Grid(sources, chosen, sets, settings, 1 if quick else seeds, quick, tuple(notes))
        run_benchmark(
            partial(run_grid, grid, out, resume=resume, overwrite=overwrite), out, _print_embedding
        )


@benchmark_app.command()
def perturbation(
    data: Annotated[
        list[Path],
        typer.Option(help="Screen: cells (h5ad), means (npz), signs (CSV); again for more."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    graph: Annotated[
        list[str] | None,
        typer.Option(
            help="[SET:]NAME=FILE of edges, again for more; each SET is tried as knowledge."
        ),
    ] = None,
    text: Annotated[
        Path | None, typer.Option(help="Texts (CSV) or vectors (npz, h5ad, CSV) of genes.")
    ] = None,
    graph_top: Annotated[
        int, typer.Option(min=0, help="Strongest edges of each target to keep; 0 keeps all.")
    ] = 0,
    methods: Annotated[str, typer.Option(help="Methods; adapert, its rivals, baselines.")] = "",
    splits: Annotated[
        str,
        typer.Option(
            help="published, unseen, leave_one_out, folds:K, combination, line:NAME, a FILE; auto."
        ),
    ] = "auto",
    seeds: Annotated[int, typer.Option(min=1, help="Splits and fits.")] = 3,
    fdr: Annotated[float, typer.Option(help="Adjusted p-values of changed genes.")] = 0.05,
    lfc: Annotated[float, typer.Option(help="Least absolute log2 fold changes.")] = 0.0,
    least_cells: Annotated[int, typer.Option(min=2, help="Cells of a perturbation.")] = 10,
    least_counts: Annotated[float, typer.Option(help="Counts of a cell at least.")] = 0.0,
    keep: Annotated[
        list[str] | None, typer.Option(help="COLUMN=LEAST: cells to keep; again for more.")
    ] = None,
    top_genes: Annotated[int, typer.Option(min=0, help="Most variable genes; 0 for all.")] = 0,
    most_cells: Annotated[int, typer.Option(min=0, help="Of a perturbation; 0 for all.")] = 0,
    quick: Quick = False,
    resume: ComputeMissing = False,
    overwrite: BeginAnew = False,
    compile_cache: CompileCache = None,
) -> None:
    """Compare methods that predict responses to perturbations, on what no method has seen.

    Each result is a file, so that an interrupted run goes on with --resume.
    """
    with plain_errors():
        start_devices(False, compile_cache)
        from infosem_jax.benchmark import folder
        from infosem_jax.benchmark.perturbation.runner import Grid, run_grid
        from infosem_jax.cli.perturbation import least_values
        from infosem_jax.perturbation.de import Thresholds
        from infosem_jax.perturbation.methods import USUAL
        from infosem_jax.perturbation.methods import methods as all_methods
        from infosem_jax.perturbation.screen import read_knowledge, read_screen

        chosen = choose_methods(words(methods) or [*USUAL], all_methods(quick=quick))
        folder.check(out, resume=resume, overwrite=overwrite)
        sets = _graph_sets(graph or [])
        thresholds = Thresholds(fdr, lfc)
        screens = [
            read_screen(
                path,
                thresholds=thresholds,
                least_cells=least_cells,
                least_counts=least_counts,
                keep=least_values(keep),
                top_genes=top_genes,
                most_cells=most_cells,
            )
            for path in data
        ]
        genes = sorted({gene for screen in screens for gene in screen.genes})
        knowledge = {
            name: read_knowledge(files, text, genes, top=graph_top) for name, files in sets.items()
        }
        notes = ["A quick look, no benchmark: small networks, one seed."] if quick else []
        grid = Grid(
            screens,
            knowledge,
            chosen,
            tuple(words(splits)) or ("auto",),
            1 if quick else seeds,
            thresholds,
            quick,
            tuple(notes),
        )
        run_benchmark(
            partial(run_grid, grid, out, resume=resume, overwrite=overwrite),
            out,
            _print_perturbation,
        )


def _print_expression(cells: "list[ExpressionCell]") -> None:
    """Print the scores of each data set, methods by inputs."""
    from infosem_jax.benchmark.expression.compare import by_method, group_of, mean_scores

    for group in sorted({group_of(cell.at) for cell in cells}):
        found = {genes: of for (own, genes), of in by_method(cells) if own == group}
        names = sorted({name for of in found.values() for name in of})
        rows = [
            [name, *(mean_scores(of[name]) if name in of else "-" for of in found.values())]
            for name in names
        ]
        title = f"{group.title}: correlation of gene ranks / per gene"
        print_table(("method", *found), rows, title)


def _print_embedding(cells: "list[EmbeddingCell]") -> None:
    """Print average ranks over the six metrics, and the recovery of functions."""
    from infosem_jax.benchmark.embedding.compare import average_ranks, rank_estimates
    from infosem_jax.benchmark.table import wide
    from infosem_jax.outputs.page import interval

    table = wide(cells)
    for dataset, ranks in rank_estimates(average_ranks(table)).items():
        own = table.loc[table["dataset"] == dataset].groupby("method").mean(numeric_only=True)
        rows = [
            (
                name,
                interval(found.mean, found.low, found.high, 2),
                f"{own.loc[name, 'auc']:.3f}",
                f"{own.loc[name, 'function_auroc']:.3f}",
            )
            for name, found in sorted(ranks.items(), key=lambda pair: pair[1].mean)
        ]
        columns = ("method", "average rank [95 %]", "AUC of edges", "AUROC of function")
        print_table(columns, rows, dataset)


def _graph_sets(given: list[str]) -> dict[str, dict[str, Path]]:
    """Return files of edges by name, for each set of knowledge."""
    from infosem_jax.cli.perturbation import named_files

    sets: dict[str, list[str]] = {}
    for spec in given:
        head, _, file = spec.partition("=")
        name, _, graph = head.rpartition(":")
        sets.setdefault(name or "graphs", []).append(f"{graph}={file}")
    return {name: named_files(specs, "--graph") for name, specs in sets.items()} or {"none": {}}


def _print_perturbation(cells: "list[PerturbationCell]") -> None:
    """Print the main scores of each data set, methods in rows."""
    import numpy as np

    from infosem_jax.benchmark.perturbation.compare import by_method, headlines

    for group, methods in by_method(cells):
        main = headlines([cell for of in methods.values() for cell in of])
        rows = [
            [name, *(f"{np.mean([c.metrics.get(m, np.nan) for c in of]):.3f}" for m in main)]
            for name, of in methods.items()
        ]
        print_table(("method", *main), rows, group.title)
