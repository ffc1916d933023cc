"""The commands ``infosem benchmark``: one for each system, with the same options."""

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
from infosem_jax.cli._common import CompileCache, plain_errors, words
from infosem_jax.cli.benchmark_perturbation import perturbation

benchmark_app = typer.Typer(
    help="Compare methods on data with a known answer.", no_args_is_help=True
)
benchmark_app.command()(perturbation)


@benchmark_app.command()
def grn(
    data: Data,
    out: Out,
    datasets: Datasets = "",
    methods: Methods = "",
    splits: Splits = "",
    seeds: Seeds = 3,
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
    quick: Quick = False,
    resume: Resume = False,
    overwrite: Overwrite = False,
    compile_cache: CompileCache = None,
) -> None:
    """Compare methods of network inference on pairs, targets and regulators they have not seen.

    DATA holds a folder for each data set, with expression.npz (h5ad, csv) and network_<name>.csv,
    or with such folders, one for each gene set. Splits are all, seen, unseen_target,
    unseen_regulator, unseen_both, and published:<name> of a table <name>.csv.
    """
    with plain_errors():
        options = {
            "genes": words(genes),
            "networks": words(networks),
            "embeddings": named(embedding, "--embedding"),
            "check_leaks": leak_check,
        }
    run_benchmark(
        "grn", data, out, (datasets, methods, splits), seeds=seeds, quick=quick, resume=resume,
        overwrite=overwrite, compile_cache=compile_cache, options=options,
    )  # fmt: skip


@benchmark_app.command()
def expression(
    data: Data,
    out: Out,
    datasets: Datasets = "",
    methods: Methods = "",
    splits: Splits = "",
    seeds: Seeds = 5,
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
    quick: Quick = False,
    resume: Resume = False,
    overwrite: Overwrite = False,
    compile_cache: CompileCache = None,
) -> None:
    """Compare methods that infer unmeasured genes, over numbers and choices of measured ones.

    DATA holds bulk expression as npz, h5ad, gct or gctx files. Of data sets, A:B infers platform B
    from platform A, and A@B learns from A and is tested on B. Splits are random, stratified:LABEL,
    grouped:LABEL and folds:K.
    """
    options = {"inputs": words(inputs), "pool": pool, "scaling": scaling}
    run_benchmark(
        "expression", data, out, (datasets, methods, splits), seeds=seeds, quick=quick,
        resume=resume, overwrite=overwrite, compile_cache=compile_cache, options=options,
    )  # fmt: skip


@benchmark_app.command()
def embedding(
    data: Data,
    out: Out,
    datasets: Datasets = "",
    methods: Methods = "",
    splits: Splits = "",
    seeds: Seeds = 5,
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
    quick: Quick = False,
    resume: Resume = False,
    overwrite: Overwrite = False,
    compile_cache: CompileCache = None,
) -> None:
    """Compare embeddings of genes over studies, by the metrics of MuSe-GNN and by functions.

    DATA holds studies as h5ad files or folders with expression.npz, and gene sets and orthologues
    as far as there are any. A data set is a group of studies, A:B or NAME=A:B; those of one tissue
    if none is named. There is one split, all.
    """
    with plain_errors():
        from infosem_jax.embedding.graph import GraphSettings

        options = {
            "orthologues": dict(named(orthologues, "--orthologues")) or None,
            "graphs": GraphSettings(genes=genes, edges=edges),
        }
    run_benchmark(
        "embedding", data, out, (datasets, methods, splits), seeds=seeds, quick=quick,
        resume=resume, overwrite=overwrite, compile_cache=compile_cache, options=options,
    )  # fmt: skip
