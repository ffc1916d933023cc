"""The commands ``infosem benchmark``: one for each system, with the same options."""

from pathlib import Path
from typing import Annotated, Any

import typer

from infosem_jax.cli._benchmark import benchmark
from infosem_jax.cli._benchmark import benchmark_app as benchmark_app
from infosem_jax.cli._common import named, words
from infosem_jax.cli.perturbation import (
    Fdr,
    GraphTop,
    Keep,
    LeastCells,
    LeastCounts,
    Lfc,
    MostCells,
    TopGenes,
)


@benchmark(seeds=3)
def grn(
    genes: Annotated[
        str, typer.Option(help="Gene sets; TFs+500 where there is one, else the first, if empty.")
    ] = "",
    networks: Annotated[str, typer.Option(help="Reference networks; all if empty.")] = "",
    embedding: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=FILE: vectors (npz, h5ad) or texts (csv) of genes; again for more. "
            "Those in the folder embeddings in DATA, or beside it, if not given."
        ),
    ] = None,
    leak_check: Annotated[
        str,
        typer.Option(
            help="Methods to test for knowing too much: registered (by users), all, or none."
        ),
    ] = "registered",
) -> dict[str, Any]:
    """Compare methods of network inference on pairs, targets and regulators they have not seen.

    DATA holds a folder for each data set, with expression.npz (h5ad, csv) and network_<name>.csv,
    or with such folders, one for each gene set. Splits are all, seen, unseen_target,
    unseen_regulator, unseen_both, if asked for unseen_as_regulator (such regulators may be known
    as targets), and published:<name> of a table <name>.csv.
    """
    return {
        "genes": words(genes),
        "networks": words(networks),
        "embeddings": named(embedding, "--embedding"),
        "check_leaks": leak_check,
    }


@benchmark(seeds=5)
def expression(
    inputs: Annotated[
        str,
        typer.Option(
            help="Choices of measured genes, such as all, random:100, greedy:1/3, all+tissue; "
            "six usual ones if empty."
        ),
    ] = "",
    pool: Annotated[
        str, typer.Option(help="Genes to choose them from: auto, landmarks, all or random:N.")
    ] = "auto",
    scaling: Annotated[
        str, typer.Option(help="Scaling of genes: standard, max (as Kim et al.) or none.")
    ] = "standard",
) -> dict[str, Any]:
    """Compare methods that infer unmeasured genes, over numbers and choices of measured ones.

    DATA holds bulk expression as npz, h5ad, gct or gctx files. Of data sets, A:B infers platform B
    from platform A, and A@B learns from A and is tested on B. Splits are random, stratified:LABEL,
    grouped:LABEL and folds:K.
    """
    return {"inputs": words(inputs), "pool": pool, "scaling": scaling}


@benchmark(seeds=5)
def embedding(
    orthologues: Annotated[
        list[str] | None,
        typer.Option(
            help="SPECIES=FILE: orthologues to human; again for more. A table *ortholog* in DATA "
            "for mouse, if not given."
        ),
    ] = None,
    genes: Annotated[int, typer.Option(min=20, help="Greatest number of genes of a study.")] = 1000,
    edges: Annotated[
        str, typer.Option(help="Graphs of genes: auto, cscore (counts), correlation, cosine, knn.")
    ] = "auto",
) -> dict[str, Any]:
    """Compare embeddings of genes over studies, by the metrics of MuSe-GNN and by functions.

    DATA holds studies as h5ad files or folders with expression.npz, and gene sets and orthologues
    as far as there are any. A data set is a group of studies, A:B or NAME=A:B; those of one tissue
    if none is named. There is one split, all.
    """
    from infosem_jax.embedding.graph import GraphSettings

    return {
        "orthologues": dict(named(orthologues, "--orthologues")) or None,
        "graphs": GraphSettings(genes=genes, edges=edges),
    }


@benchmark(seeds=3)
def perturbation(
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
    graph_top: GraphTop = 0,
    fdr: Fdr = 0.05,
    lfc: Lfc = 0.0,
    least_cells: LeastCells = 10,
    least_counts: LeastCounts = 0.0,
    keep: Keep = None,
    top_genes: TopGenes = 0,
    most_cells: MostCells = 0,
) -> dict[str, Any]:
    """Compare methods that predict responses to perturbations, on what no method has seen.

    DATA holds screens: cells (h5ad), means (npz) or signs (CSV), in folders sc, pseudobulk and
    labels if it has any of these. Splits are published, unseen, leave_one_out, folds:K,
    combination, line:NAME, or the name of a list in the folder splits of DATA.
    """
    from infosem_jax.perturbation.de import Thresholds

    sets: dict[str, dict[str, str]] = {}
    for name, file in named(graph, "--graph"):
        head, _, tail = name.rpartition(":")
        sets.setdefault(head or "graphs", {})[tail] = file
    return {
        "graphs": sets,
        "text": text,
        "graph_top": graph_top,
        "thresholds": Thresholds(fdr, lfc),
        "least_cells": least_cells,
        "least_counts": least_counts,
        "keep": named(keep, "--keep", float, "COLUMN=LEAST"),
        "top_genes": top_genes,
        "most_cells": most_cells,
    }
