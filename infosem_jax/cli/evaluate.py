"""The command ``infosem evaluate``."""

from pathlib import Path
from typing import Annotated

import typer

from infosem_jax.cli._common import note, plain_errors


def evaluate(
    edges: Annotated[
        Path, typer.Argument(help="Edge table of any method: source,target,weight[,score].")
    ],
    network: Annotated[Path, typer.Argument(help="Reference network: source,target[,label].")],
    weight: Annotated[
        str | None,
        typer.Option(
            help="Column of EDGES to rank by. Default: score, or the first of a usual name."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Number that the order of ties is drawn from.")] = 0,
    signed: Annotated[
        bool, typer.Option("--signed", help="Rank edges by the signed weight.")
    ] = False,
    scored_only: Annotated[
        bool,
        typer.Option(
            "--scored-only", help="Leave out edges of NETWORK that EDGES lacks a gene of."
        ),
    ] = False,
) -> None:
    """Score an edge table against a reference network; prints JSON."""
    with plain_errors():
        from infosem_jax.data import read_network
        from infosem_jax.grn import metrics
        from infosem_jax.outputs.folder import to_json

        scores = metrics.evaluate(
            read_network(edges, weight=weight),
            read_network(network),
            seed=seed,
            absolute=not signed,
            scored_only=scored_only,
        )
        unscored = int(scores["unscored_pairs"]) / int(scores["candidates"])
        if unscored > 0.5:
            note(
                f"{unscored:.1%} of the candidate pairs have no score in {edges} and rank last: if "
                "they are of genes that were not measured, leave them out with --scored-only."
            )
        typer.echo(to_json(scores), nl=False)
