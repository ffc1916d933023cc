"""The command line, ``infosem``; imports wait until a command needs them, as help is instant."""

import logging
from typing import Annotated

import typer

from infosem_jax.cli._common import LOGGER
from infosem_jax.cli.activity import activity
from infosem_jax.cli.benchmark import benchmark_app
from infosem_jax.cli.check import check
from infosem_jax.cli.compare import compare
from infosem_jax.cli.contrast import contrast
from infosem_jax.cli.data import data_app, embed_text
from infosem_jax.cli.demo import demo
from infosem_jax.cli.embedding import embed_app
from infosem_jax.cli.evaluate import evaluate
from infosem_jax.cli.expression import expression_app
from infosem_jax.cli.fit import fit
from infosem_jax.cli.knockout import knockout
from infosem_jax.cli.perturbation import perturbation_app
from infosem_jax.cli.perturbation_evaluate import evaluate_perturbation
from infosem_jax.cli.regulons import regulons

app = typer.Typer(
    name="infosem",
    help="Gene regulatory networks with informative priors, and three models of their genes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for command in (
    demo,
    fit,
    evaluate,
    compare,
    check,
    activity,
    contrast,
    knockout,
    regulons,
    embed_text,
):
    app.command()(command)
app.command("evaluate-perturbation")(evaluate_perturbation)
app.add_typer(benchmark_app, name="benchmark")
app.add_typer(expression_app, name="expression")
app.add_typer(perturbation_app, name="perturbation")
app.add_typer(embed_app, name="embed")
app.add_typer(data_app, name="data")


def _print_version(wanted: bool) -> bool:
    if wanted:
        from infosem_jax import __version__

        typer.echo(f"infosem {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and end."
        ),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show no progress and no notes, only warnings.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show all that is logged, for debugging.")
    ] = False,
) -> None:
    """Set how much is shown besides results, which go to the standard output."""
    if quiet and verbose:
        raise typer.BadParameter("expected --quiet or --verbose, found both.")
    level = logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO
    logging.getLogger(LOGGER).setLevel(level)
