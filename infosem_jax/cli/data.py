"""The commands ``infosem data`` and ``infosem embed-text``."""

from pathlib import Path
from typing import Annotated

import typer

from infosem_jax.cli._common import plain_errors, print_table

data_app = typer.Typer(help="Public data sets.", no_args_is_help=True)


@data_app.command("list")
def list_datasets() -> None:
    """List the public data sets that can be fetched."""
    from infosem_jax.data import CATALOG

    rows = [
        (e.name, e.description, e.licence, f"{e.size / 2**20:.1f} MiB" if e.size else "-")
        for e in CATALOG.values()
    ]
    print_table(("name", "what it is", "licence", "size"), rows)


@data_app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A name of 'infosem data list'.")],
    folder: Annotated[
        Path | None, typer.Option(help="Where to put the file. Default: the cache of the user.")
    ] = None,
    sha256: Annotated[
        str | None,
        typer.Option(
            help="Checksum that the file must have. Default: the one that is known, or that the "
            "first download recorded."
        ),
    ] = None,
) -> None:
    """Download a data set and check its content."""
    with plain_errors():
        from infosem_jax.data import fetch

        typer.echo(str(fetch(name, folder=folder, sha256=sha256)))


def embed_text(
    table: Annotated[Path, typer.Argument(help="Table of gene symbols and texts.")],
    out: Annotated[Path, typer.Option("--out", help="npz file for the embedding.")],
    encoder: Annotated[
        str,
        typer.Option(
            help="tfidf, minilm (of the extra text), or a Hugging Face model by name or folder."
        ),
    ] = "tfidf",
    dimensions: Annotated[
        int, typer.Option(min=1, help="Number of features of the tfidf encoder.")
    ] = 128,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Number of texts that a model reads at once.")
    ] = 64,
    seed: Annotated[int, typer.Option(help="Number that the tfidf projection is drawn from.")] = 0,
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
