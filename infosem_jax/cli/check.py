"""The command ``infosem check``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infosem_jax.cli._common import note, plain_errors

if TYPE_CHECKING:
    from infosem_jax.calibration.findings import Finding
    from infosem_jax.data.dataset import Dataset

COLOURS = {"looks wrong": typer.colors.RED, "note": typer.colors.YELLOW, "fine": typer.colors.GREEN}


def check(
    run: Annotated[Path, typer.Argument(help="Folder that infosem fit or activity wrote.")],
    expression: Annotated[
        Path | None,
        typer.Option(help="Where the expression is now. Default: where it was."),
    ] = None,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate", help="Also fit simulations with known networks: about two minutes more."
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for check.json and check.html. Default: none."),
    ] = None,
) -> None:
    """Say in words what looks wrong with a fit, and what looks fine."""
    with plain_errors():
        from infosem_jax.calibration import check as checks
        from infosem_jax.calibration.page import write_check

        if out is not None and out.is_file():
            raise ValueError(f"--out: expected a folder, found the file {out}.")
        read = checks.read_run(run, expression, _simulated(run) if expression is None else None)
        found = checks.check(read, calibrate=calibrate, on_step=lambda text: note(f"{text} ..."))
        for verdict in COLOURS:
            for finding in found.findings:
                if finding.verdict == verdict:
                    _print(finding)
        if out is not None:
            write_check(out, found)
            typer.echo(f"Wrote {out}: open {out / 'check.html'}.")


def _print(finding: "Finding") -> None:
    typer.secho(f"{finding.verdict}: {finding.topic}", fg=COLOURS[finding.verdict], bold=True)
    for sentence in finding.sentences:
        typer.echo(f"  {sentence}")


def _simulated(run: Path) -> "Dataset | None":
    """Return the data of the demonstration, which are in no file."""
    import tomllib

    settings = run / "config.toml"
    if not settings.is_file():
        return None
    record = tomllib.loads(settings.read_text(encoding="utf-8")).get("run", {})
    if record.get("command") != "infosem demo":
        return None
    from infosem_jax.data.simulate import simulate
    from infosem_jax.grn.demo import SIMULATION

    return simulate(SIMULATION, 0).data
