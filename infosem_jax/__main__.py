"""Run the command line as ``python -m infosem_jax``."""

from infosem_jax.cli.app import app

app()
