"""The command ``infosem benchmark perturbation``."""

from pathlib import Path
from typing import Annotated

import typer

from infosem_jax.cli._benchmark import (
    Data,
    Datasets,
    Methods,
    Out,
    Overwrite,
    Quick,
    Resume,
    Seeds,
    Splits,
    named,
    run_benchmark,
)
from infosem_jax.cli._common import CompileCache, plain_errors


def perturbation(
    data: Data,
    out: Out,
    datasets: Datasets = "",
    methods: Methods = "",
    splits: Splits = "",
    seeds: Seeds = 3,
    graph: Annotated[
        list[str] | None,
        typer.Option(
            help="[SET:]NAME=FILE: edges, or a name in the folder kg of DATA; again for more. Each "
            "SET is tried as knowledge. All of kg that are named *_pairs, if not given."
        ),
    ] = None,
    text: Annotated[
        Path | None,
        typer.Option(help="Texts (CSV) or vectors (npz, h5ad, CSV) of genes; kg/gene_text*."),
    ] = None,
    graph_top: Annotated[
        int, typer.Option(min=0, help="Number of strongest edges of a target to keep; 0 for all.")
    ] = 0,
    fdr: Annotated[
        float, typer.Option(help="Greatest adjusted p-value of a differentially expressed gene.")
    ] = 0.05,
    lfc: Annotated[
        float, typer.Option(help="Least absolute log2 fold change of such a gene.")
    ] = 0.0,
    least_cells: Annotated[
        int, typer.Option(min=2, help="Least number of cells that a perturbation needs.")
    ] = 10,
    least_counts: Annotated[
        float, typer.Option(help="Least number of counts that a cell needs.")
    ] = 0.0,
    keep: Annotated[
        list[str] | None,
        typer.Option(help="COLUMN=LEAST: cells with at least this value; again for more."),
    ] = None,
    top_genes: Annotated[
        int, typer.Option(min=0, help="Number of most variable genes to keep; 0 for all.")
    ] = 0,
    most_cells: Annotated[
        int, typer.Option(min=0, help="Greatest number of cells of a perturbation; 0 for all.")
    ] = 0,
    quick: Quick = False,
    resume: Resume = False,
    overwrite: Overwrite = False,
    compile_cache: CompileCache = None,
) -> None:
    """Compare methods that predict responses to perturbations, on what no method has seen.

    DATA holds screens: cells (h5ad), means (npz) or signs (CSV), in folders sc, pseudobulk and
    labels if it has any of these. Splits are published, unseen, leave_one_out, folds:K,
    combination, line:NAME, or the name of a list in the folder splits of DATA.
    """
    with plain_errors():
        from infosem_jax.perturbation.de import Thresholds

        sets: dict[str, dict[str, str]] = {}
        for name, file in named(graph, "--graph"):
            head, _, tail = name.rpartition(":")
            sets.setdefault(head or "graphs", {})[tail] = file
        options = {
            "graphs": sets,
            "text": text,
            "graph_top": graph_top,
            "thresholds": Thresholds(fdr, lfc),
            "least_cells": least_cells,
            "least_counts": least_counts,
            "keep": [(name, float(least)) for name, least in named(keep, "--keep")],
            "top_genes": top_genes,
            "most_cells": most_cells,
        }
    run_benchmark(
        "perturbation", data, out, (datasets, methods, splits), seeds=seeds, quick=quick,
        resume=resume, overwrite=overwrite, compile_cache=compile_cache, options=options,
    )  # fmt: skip
