"""Fitted embeddings as files, without pickle."""

from infosem_jax._typing import Path
from infosem_jax.embedding.baselines import Components, Settings
from infosem_jax.embedding.fitting import Config, Fitted
from infosem_jax.embedding.graph import GraphSettings
from infosem_jax.embedding.network import MuSeGNNConfig
from infosem_jax.embedding.result import Genes
from infosem_jax.outputs import arrays

KIND = "gene embedding 1"
TYPES = (Fitted, Genes, Config, GraphSettings, MuSeGNNConfig, Settings, Components)


def save(path: Path, fitted: Fitted) -> None:
    """Write fitted embeddings to one file, whole or not at all.

    Raises
    ------
    OSError
        If writing fails; an older file is then as it was.
    """
    arrays.save(path, KIND, fitted)


def load(path: Path) -> Fitted:
    """Read what `save` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged or something else.
    """
    return arrays.load(path, KIND, "infosem embed fit", TYPES)
