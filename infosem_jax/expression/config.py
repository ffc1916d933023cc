"""Settings of a fit: the method, the genes that are measured, and how samples are split."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Config:
    """Settings of a fit.

    Attributes
    ----------
    method
        One of `infosem_jax.expression.METHODS`.
    settings
        Settings of the method that differ from its usual ones.
    inputs
        Genes that are measured: ``landmarks``, ``all``, how many to choose among all, or names.
    choose
        How genes are chosen where ``inputs`` is a number; one of ``methods.ORDERS``.
    labels
        Labels of the samples that are known too, such as ``tissue``.
    split
        Samples for training, validation and test, see ``choices.SPLITS``; the one that suits the
        labels of the data where empty.
    scaling
        ``standard`` for each gene, ``max`` as Kim et al. (2025), or ``none``.
    """

    method: str = "auto"
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: str | int | tuple[str, ...] = "landmarks"
    choose: str = "greedy"
    labels: tuple[str, ...] = ()
    split: str = ""
    scaling: str = "standard"

    def __post_init__(self):
        if isinstance(self.inputs, str) and self.inputs not in ("landmarks", "all"):
            raise ValueError(
                f"inputs: expected landmarks, all, a number or names of genes, found "
                f"{self.inputs!r}."
            )
        if isinstance(self.inputs, int) and self.inputs < 1:
            raise ValueError(f"inputs: expected at least 1 gene, found {self.inputs}.")


DEFAULT = Config()
