"""Options that the commands ``infosem expression`` share, and what is read of their files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infosem_jax.expression import Profiles

Train = Annotated[
    Path, typer.Argument(help="Samples to learn from: npz, h5ad, gct, gctx, CSV or TSV.")
]
Truth = Annotated[
    Path | None,
    typer.Option(help="The same samples on the platform to infer; that of TRAIN if not given."),
]
Names = Annotated[
    str | None,
    typer.Option(
        "--names",
        "--var-names",
        help="Annotation of npz, gct and gctx files, or column of var of h5ad, to name genes by.",
    ),
]
GeneTable = Annotated[
    Path | None,
    typer.Option(help="Gene table (geneinfo_beta) that names landmarks, and genes by symbol."),
]
Orientation = Annotated[
    str, typer.Option(help="Of a CSV or TSV: auto, genes_in_rows or genes_in_columns.")
]
SplitBy = Annotated[
    str,
    typer.Option(
        "--split",
        help="How samples are split: random, stratified:LABEL, grouped:LABEL, folds:K[:LABEL] "
        "or ordered:N:M (N to train, M to validate); by donor, study or tissue where the data "
        "name them.",
    ),
]
Scaling = Annotated[
    str, typer.Option(help="Of expression: standard (per gene), max (as Kim et al.) or none.")
]
LogCounts = Annotated[
    bool, typer.Option("--log-counts", help="Turn counts into log2(1 + counts per million).")
]
LogBase = Annotated[
    str | None,
    typer.Option(help="Base of logarithms, e, 2 or 10, where the file does not tell it."),
]
Label = Annotated[
    list[str] | None,
    typer.Option(help="Label of samples that is known too, such as tissue; again for more."),
]
Budget = Annotated[
    float,
    typer.Option(
        min=0, help="Minutes for a fit of auto; a network that takes longer is left out. 0: no end."
    ),
]
PanelCounts = Annotated[
    bool,
    typer.Option(
        "--panel-counts",
        help="Counts of cells or spots: those of the panel are divided by their own mean, as new "
        "cells have no others.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a folder that exists.")]
Key = Annotated[int, typer.Option(help="Seeds the random numbers and the split.")]

UNTOLD = (
    "The values do not tell the base of their logarithms; state it (--log-base), so that new "
    "samples with another are refused."
)


def read(
    path: Path,
    names: str | None,
    layer: str | None,
    orientation: Any,
    gene_table: Path | None,
    log: bool,
    log_base: str | None = None,
) -> "Profiles":
    """Read expression, its genes by symbol where a gene table is given, counts as logarithms.

    Parameters
    ----------
    path, names, layer, orientation, gene_table, log, log_base
        As the options give them.
    """
    from infosem_jax.expression import log_counts, read_gene_table, read_profiles, to_symbols

    found = read_profiles(path, names=names, layer=layer, orientation=orientation, base=log_base)
    if gene_table is not None:
        found = to_symbols(found, read_gene_table(gene_table), duplicates="mean")
    return log_counts(found) if log else found


def read_pair(train: Path, truth: Path | None, *how: Any) -> "Profiles | tuple[Profiles, Profiles]":
    """Read the expression that is learned from, of one platform or of two with the same samples.

    Parameters
    ----------
    train, truth
        Files; None for one platform.
    how
        As of `read`.
    """
    from infosem_jax.expression import pair_samples

    source = read(train, *how)
    return source if truth is None else pair_samples(source, read(truth, *how))


def read_inputs(
    text: str, train: Path, gene_table: Path | None
) -> "tuple[str | int | tuple[str, ...], tuple[str, ...]]":
    """Return the inputs of the settings that a user names, and the landmarks if asked for.

    Parameters
    ----------
    text
        ``landmarks``, ``all``, how many to choose, or a file.
    train, gene_table
        Expression, and the table that knows the landmarks; None looks for one beside it.
    """
    from infosem_jax.expression import read_landmarks

    if text.isdecimal() or text == "all":
        return (int(text) if text.isdecimal() else text), ()
    if text != "landmarks":
        return read_landmarks(Path(text)), ()
    beside = sorted(train.parent.glob("geneinfo_beta*"))
    table = gene_table or (beside[0] if beside else None)
    if table is None:
        raise ValueError(
            "Landmarks are named by a gene table: give it with --gene-table (geneinfo_beta of the "
            "Connectivity Map), or name your genes by a file."
        )
    return text, read_landmarks(table)


def check_totals(samples: "Profiles", genes: "Sequence[str]") -> None:
    """Refuse counts of a panel, whose total is not that which training counts were divided by.

    Raises
    ------
    ValueError
        If less than half of the genes of the model are there.
    """
    found = len(set(genes) & set(samples.genes))
    if 2 * found < len(genes):
        raise ValueError(
            f"{samples.name}: --log-counts divides by the total of a sample, which {found} of the "
            f"{len(genes)} genes of the model do not make; fit and predict with --panel-counts, "
            "or give logarithms of values that were divided by the total of all genes."
        )


def as_panel(data: Any, measured: Any) -> "tuple[Profiles, Profiles]":
    """Split counts into what a panel would measure, and the rest.

    Raises
    ------
    ValueError
        If counts are of two platforms, or the panel is not given by names.
    """
    from infosem_jax.expression import Profiles, panel_pair

    if not isinstance(data, Profiles) or not isinstance(measured, tuple):
        raise ValueError(
            "--panel-counts: expected one file of counts, and --inputs FILE with the genes of the "
            "panel; infosem expression select chooses some."
        )
    return panel_pair(data, measured)
