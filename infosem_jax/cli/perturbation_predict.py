"""The commands ``infosem perturbation predict`` and ``explain``, on what ``fit`` wrote."""

from pathlib import Path
from typing import Annotated

import typer

from infosem_jax.cli._common import check_file, check_folder, file_of, plain_errors, words
from infosem_jax.cli._devices import start_devices
from infosem_jax.cli._inputs import Out

Folder = Annotated[Path, typer.Argument(help="Folder that infosem perturbation fit wrote.")]
Line = Annotated[
    str | None, typer.Option("--line", help="Cell line; needed where there are several.")
]
# Of the labels of cells, for those commands that read them.
Control = Annotated[
    list[str] | None, typer.Option(help="Name of control cells there; again for more.")
]
Separator = Annotated[
    str | None, typer.Option(help="What stands between the genes of a combination.")
]
LineColumn = Annotated[str | None, typer.Option(help="Column of obs of cell lines.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what exists.")]


def predict(
    model: Folder,
    perturb: Annotated[
        str, typer.Option("--perturb", help="Genes, with commas between; A+B for a combination.")
    ],
    out: Annotated[Path, typer.Option("--out", help="h5ad file for the predictions.")],
    line: Line = None,
    overwrite: Overwrite = False,
) -> None:
    """Predict responses to perturbations.

    X holds the expected change, and layers how likely a gene is to change, in which direction, and
    the deviation; see infosem_jax.perturbation.reports.to_anndata.
    """
    with plain_errors():
        start_devices(False, None)
        from infosem_jax import perturbation as system
        from infosem_jax.data._names import find_names
        from infosem_jax.outputs.folder import write_h5ad
        from infosem_jax.perturbation.fitting import parse_perturbed
        from infosem_jax.perturbation.reports import to_anndata

        check_file(out, ".h5ad", overwrite=overwrite)
        fitted = system.load(file_of(model, "model.npz", "infosem perturbation fit"))
        asked = list(dict.fromkeys(parse_perturbed(words(perturb))))
        task = system.task_of(fitted, asked, line)
        predicted = system.predict(fitted, task.perturbed, task.line, task.control)
        record = {"command": "infosem perturbation predict", "model": str(model)}
        adata = to_anndata(predicted, task, record=record)
        write_h5ad(out, adata)
        unknown = adata.obs_names[~adata.obs["informed"].to_numpy()].tolist()
        if unknown:
            near = find_names(fitted.knowledge.nodes, [gene for own in asked for gene in own])
            meant = [gene for name, (gene, _) in near.items() if name != gene]
            hint = f" Did you mean {', '.join(meant[:10])}?" if meant else ""
            typer.echo(
                f"Nothing is known of {', '.join(unknown[:10])}: the prediction is what "
                f"perturbations have in common.{hint} Genes of a combination have + between.",
                err=True,
            )
        typer.echo(f"Wrote {out}: {adata.n_obs} perturbations x {adata.n_vars} genes.")


def explain(
    model: Folder,
    perturb: Annotated[str, typer.Option("--perturb", help="A gene; A+B for a combination.")],
    out: Out,
    line: Line = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw the part of the knowledge graph that a prediction used."""
    with plain_errors():
        start_devices(False, None)
        from infosem_jax import perturbation as system
        from infosem_jax.outputs.folder import whole_folder
        from infosem_jax.perturbation.reports import EXPLAINED, write_explanation

        check_folder(out, EXPLAINED, overwrite=overwrite)
        fitted = system.load(file_of(model, "model.npz", "infosem perturbation fit"))
        if len(words(perturb)) != 1:
            raise ValueError(f"--perturb: expected one perturbation, found {perturb!r}.")
        found = system.explain(fitted, words(perturb)[0], line)
        with whole_folder(out) as folder:
            write_explanation(folder, fitted, words(perturb)[0], found, model)
        chosen = found.nodes[found.nodes["selected"]]["gene"].tolist()
        more = ", ..." if len(chosen) > 8 else ""
        typer.echo(
            f"{perturb}: {len(chosen)} of {len(found.nodes)} genes within reach are selected: "
            f"{', '.join(chosen[:8])}{more}."
        )
        typer.echo(f"Wrote {out}: open {out / 'report.html'}.")
