"""Options that fits and comparisons share, and how priors are read from them."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

if TYPE_CHECKING:
    from infosem_jax.grn import Priors

Expression = Annotated[
    list[Path],
    typer.Argument(help="Expression: h5ad, CSV, TSV, npz, or a folder; one or several."),
]
Out = Annotated[Path, typer.Option("--out", help="Folder for the results.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the results of an earlier run in the folder.")
]
Regulators = Annotated[
    Path | None,
    typer.Option(
        help="human or mouse, for the transcription factors of the species, or a file of "
        "candidate regulators, one symbol a line. Default: every gene."
    ),
]
Covariates = Annotated[
    str | None,
    typer.Option(
        help="Columns of obs of h5ad files to regress out, such as batch,donor: categories and "
        "numbers."
    ),
]
Effect = Annotated[
    list[str],
    typer.Option(
        help="Prior of the effects: PRIOR, PRIOR=FILE, mixture=FILE,FILE,... or your own, "
        "MODULE:FUNCTION. Give it again for further priors, each of which is fitted."
    ),
]
Edge = Annotated[
    list[str],
    typer.Option(
        help="Prior of the existence of edges: PRIOR, PRIOR=FILE, known-elsewhere=FILE,FILE,..., "
        "labels=FILE,FILE,... (labels, then texts, vectors or other networks), MODULE:FUNCTION or "
        "none. Give it again for further priors, each of which is fitted."
    ),
]
Key = Annotated[int, typer.Option(help="Number that the random numbers are drawn from.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        help="TOML file of settings, with tables exact or model (of svi), effect and edge."
    ),
]
IgnoreCase = Annotated[
    bool,
    typer.Option("--ignore-case", help="Match gene names to embeddings whatever the letter case."),
]
OrthologueTable = Annotated[
    Path | None,
    typer.Option("--orthologues", help="Table from the genes of the data to the embedding's."),
]
MethodConfig = Annotated[
    Path | None, typer.Option(help="TOML file with a table of the method's settings.")
]
Layer = Annotated[
    str | None, typer.Option(help="Layer of an h5ad file to read, or raw. Default: X.")
]
VarNames = Annotated[
    str | None,
    typer.Option("--var-names", help="Column of var that names genes. Default: its index."),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with an interrupted run, if there is one.")
]
SaveEvery = Annotated[
    float | None,
    typer.Option(
        min=0, help="Least time between two checkpoints of training, in seconds. Default: 60."
    ),
]


# Why the exact engine has no use for them.
OF_SVI = {
    "--seeds": "the posterior is exact, so that there are no seeds",
    "--cells": "all cells are left out, in folds",
    "--samples": "densities are a closed form",
    "--save-every": "each network is kept when it is done",
}


def refuse_svi_options(options: dict[str, Any]) -> None:
    """Refuse options that only the svi engine knows, and that were given.

    Raises
    ------
    ValueError
        If one is not None.
    """
    for option, value in options.items():
        if value is not None:
            raise ValueError(
                f"{option} is for the svi engine; of the exact engine, {OF_SVI[option]}: "
                "leave it out, or add --engine svi."
            )


def check_resume(resume: bool, overwrite: bool) -> None:
    """Refuse to go on with a run and to begin anew.

    Raises
    ------
    ValueError
        If both are asked for.
    """
    if resume and overwrite:
        raise ValueError("Expected --resume or --overwrite, found both.")


def priors_of(
    effect: list[str],
    edge: list[str],
    settings: dict[str, dict[str, Any]],
    *,
    ignore_case: bool,
    orthologues: Path | None,
) -> "dict[str, Priors]":
    """Build the priors that options name; modules of the user may lie in the current folder.

    Parameters
    ----------
    effect, edge
        Values of ``--effect`` and ``--edge``.
    settings
        Settings of the priors by site.
    ignore_case, orthologues
        Values of the options of these names.
    """
    from infosem_jax.data import read_orthologues
    from infosem_jax.grn.priors.registry import read_priors

    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    table = None if orthologues is None else read_orthologues(orthologues)
    return read_priors(effect, edge, settings, ignore_case=ignore_case, orthologues=table)


def check_reading(expression: list[Path], name: str | None, reading: dict[str, Any]) -> None:
    """Refuse options about expression that do not go together.

    Parameters
    ----------
    expression, name
        Files, and what the data are called.
    reading
        Values of the options that `infosem_jax.grn.inputs.read_datasets` takes, by their names.

    Raises
    ------
    ValueError
        If options do not go together.
    """
    from infosem_jax.data.io import Orientation

    grouped, known = reading["groupby"] is not None, get_args(Orientation)
    if name is not None and len(expression) > 1:
        raise ValueError("--name: expected one data set to name, found several; leave it out.")
    if reading["stream"] and grouped:
        raise ValueError("Expected --stream or --groupby, found both; groups are read to memory.")
    if name is not None and grouped:
        raise ValueError("--name: groups are called by their values; leave it out.")
    if reading["orientation"] not in known:
        raise ValueError(
            f"--orientation: expected {', '.join(known)}, found {reading['orientation']!r}."
        )
    plain = reading["variant"] is None and reading["orientation"] == "auto"
    if (reading["stream"] or grouped) and not plain:
        raise ValueError("Expected no --variant or --orientation with --stream or --groupby.")
