"""Tables of responses from files: means of perturbations, and signs."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportIndexIssue=false, reportReturnType=false
# Inferred from its source, the types of pandas are unions that no call narrows.

from collections import Counter
from collections.abc import Sequence
from pathlib import Path as FilePath

import numpy as np
import pandas as pd

from infosem_jax._typing import Path
from infosem_jax.data._files import load_npz, reading
from infosem_jax.data._names import some
from infosem_jax.data._tables import read_table
from infosem_jax.data.units import check_missing
from infosem_jax.perturbation.data import Responses
from infosem_jax.perturbation.de import USUAL, Changes, Thresholds, signs
from infosem_jax.perturbation.guides import is_missing, parse_labels
from infosem_jax.perturbation.splits import UNUSED


def read_means(path: Path, *, line: str = "", thresholds: Thresholds = USUAL) -> Responses:
    """Read a table of means, ``.npz`` with ``perts``, ``genes``, ``delta`` and ``ctrl_mean``.

    ``log2fc`` and ``padj`` [perturbations, genes] and ``n_cells`` are read where they are there;
    without them nothing is known of which genes are differentially expressed.

    Parameters
    ----------
    path
        The file.
    line
        Cell line of all; ``all`` where empty.
    thresholds
        What counts as differentially expressed.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If arrays are missing or do not agree, values mark missing ones, or a perturbation is there
        twice.
    """
    arrays = load_npz(path)
    with reading(path, "table of means"):
        missing = [name for name in ("perts", "genes", "delta", "ctrl_mean") if name not in arrays]
        if missing:
            raise ValueError(f"expected arrays {', '.join(missing)}, found {', '.join(arrays)}.")
        perts, genes = arrays["perts"].tolist(), arrays["genes"].tolist()
        delta = arrays["delta"].astype(np.float32)
        if delta.shape != (len(perts), len(genes)) or arrays["ctrl_mean"].shape != (len(genes),):
            raise ValueError(
                f"expected delta [{len(perts)}, {len(genes)}] and ctrl_mean [{len(genes)}], found "
                f"{delta.shape} and {arrays['ctrl_mean'].shape}."
            )
        control = arrays["ctrl_mean"].astype(np.float32)
        for name, values in (("delta", delta), ("ctrl_mean", control)):
            check_missing(values, f"values of {name}")
        changes = None
        if {"log2fc", "padj"} <= set(arrays):
            changes = Changes(
                arrays["log2fc"].astype(np.float32), arrays["padj"].astype(np.float32)
            )
        nothing = np.zeros(delta.shape, np.int8)
        cells = arrays.get("n_cells")
        return Responses(
            FilePath(path).name.removesuffix(".npz").removesuffix("_pseudobulk"),
            _once(parse_labels(list(map(str, perts)), genes)),
            (line or "all",) * len(perts),
            tuple(map(str, genes)),
            nothing if changes is None else signs(changes, thresholds),
            np.full(delta.shape, changes is not None),
            np.tile(control, (len(perts), 1)),
            delta,
            changes,
            None,
            None if cells is None else cells.astype(int),
        )


def read_signed(path: Path, *, line: str = "") -> tuple[Responses, tuple[str, ...]]:
    """Read a table of signs, in the form of PerturbQA, and the part that each row belongs to.

    Either one table with ``pert``, ``gene``, ``label`` (1 where differentially expressed),
    ``direction`` (1 up, 0 down) and perhaps ``split``; or ``NAME_de.csv`` beside
    ``NAME_dir.csv``, whose ``label`` is the direction. Pairs that are not listed are unknown.

    Parameters
    ----------
    path
        The table, or ``NAME_de.csv`` of two.
    line
        Cell line; from the name of the file where empty.

    Returns
    -------
    The responses, and the split of each perturbation as published, "" where there is none.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        On other columns or labels, a differentially expressed pair without direction, or a
        perturbation that stands in two parts or under two names.
    """
    table = _table(path)
    with reading(path, "table of signs"):
        if "direction" not in table:
            other = FilePath(path).with_name(FilePath(path).name.replace("_de.", "_dir."))
            if other == FilePath(path):
                raise ValueError("expected a column direction, or a file NAME_de beside NAME_dir.")
            direction = _table(other).rename(columns={"label": "direction"})
            columns = ["pert", "gene", "direction"]
            table = table.merge(direction[columns], on=["pert", "gene"], how="left")
        if table.duplicated(["pert", "gene"]).any():
            raise ValueError("a pair of perturbation and gene is listed twice.")
        de = table["label"].astype(float).to_numpy() == 1
        up = pd.to_numeric(table["direction"], errors="coerce").to_numpy()
        if not np.isin(up[de], (0, 1)).all():
            raise ValueError(
                "expected a direction, 0 or 1, of every differentially expressed pair."
            )
        perts, pert = np.unique(table["pert"].to_numpy(str), return_inverse=True)
        genes, gene = np.unique(table["gene"].to_numpy(str), return_inverse=True)
        sign = np.zeros((len(perts), len(genes)), np.int8)
        known = np.zeros(sign.shape, bool)
        sign[pert, gene] = np.where(de, np.where(up == 1, 1, -1), 0)
        known[pert, gene] = True
        part = table["split"].to_numpy(str) if "split" in table else np.full(len(table), "")
        # Some tables also hold genes out; a perturbation belongs where its training genes are.
        part = np.where(part == "test_gene", "train", np.where(part == "test_cond", "test", part))
        words = np.unique(part)
        if len(words) > 1:
            part = np.where(np.isin(part, [*filter(is_missing, words)]), UNUSED, part)
        split = _one_each(pert, part, perts)
        unused = split.count(UNUSED)
        note = f"{unused} perturbations have no part in the published split, which leaves them out"
        name = FilePath(path).name.split(".")[0]
        found = Responses(
            name,
            _once(parse_labels(perts.tolist(), genes.tolist())),
            (line or name.removesuffix("_de"),) * len(perts),
            tuple(genes.tolist()),
            sign,
            known,
            notes=(note,) * (unused > 0),
        )
        return found, split


def _once(perturbed: Sequence[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """Refuse perturbations that are there twice, and controls among them."""
    if () in perturbed:
        raise ValueError("controls are among the perturbations; leave their rows out.")
    twice = ["+".join(genes) for genes, count in Counter(perturbed).items() if count > 1]
    if twice:
        raise ValueError(
            f"{len(twice)} perturbations are there more than once ({some(twice)}); "
            "average their rows, so that none is both learned from and tested on."
        )
    return tuple(perturbed)


def _table(path: Path) -> pd.DataFrame:
    table = read_table(path, "table of signs")
    missing = [name for name in ("pert", "gene", "label") if name not in table]
    if missing:
        raise ValueError(
            f"{path}: expected a table of signs with columns pert, gene and label, found "
            f"{some(table.columns, 6)}. Expression, of cells or of bulk samples, is read from "
            "AnnData (h5ad), a row for each, with what was perturbed in a column of obs (of bulk "
            "samples, with --least-cells 2); means from npz."
        )
    if not table["label"].isin(["0", "1", "0.0", "1.0"]).all():
        raise ValueError(f"{path}: expected labels 0 and 1, found others.")
    return table


def _one_each(pert: np.ndarray, part: np.ndarray, perts: np.ndarray) -> tuple[str, ...]:
    pairs = pd.DataFrame({"pert": pert, "part": part}).drop_duplicates()
    twice = pairs["pert"].duplicated()
    if twice.any():
        name = perts[pairs["pert"][twice].iloc[0]]
        raise ValueError(f"the perturbation {name} stands in several parts of the split.")
    return tuple(pairs.sort_values("pert")["part"].tolist())
