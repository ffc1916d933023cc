"""Tables of edges in the columns of the tools that write them, read for every use in one place."""

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportIndexIssue=false, reportReturnType=false
# Inferred from its source, the types of pandas are unions that no call narrows.

import csv
import re
from pathlib import Path as FilePath
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from infosem_jax._typing import Path
from infosem_jax.data._files import reading
from infosem_jax.data._tables import cells_of, open_text, pick, read_table

# A column ``source`` beside one of the regulators names the database that an edge is from.
REGULATOR = (
    *("tf", "regulator", "regulatorygene", "regulatory_gene", "source_genesymbol", "source"),
    *("tf_name", "tf_gene", "tf_symbol", "transcription_factor", "source_gene", "from", "gene1"),
    *("regulator_symbol", "regulator_name", "name.tf", "motif"),
)
TARGET = (
    *("target_genesymbol", "target", "targetgene", "target_gene", "target_name", "target_symbol"),
    *("gene2", "to", "gene", "gene_symbol", "name.target", "dorc"),
)  # fmt: skip
UNDIRECTED = (
    *(("entity1", "entity2"), ("protein1", "protein2"), ("node1", "node2"), ("gene1", "gene2")),
    *(("gene_a", "gene_b"), ("protein_a", "protein_b")),
    ("official_symbol_interactor_a", "official_symbol_interactor_b"),
)
WEIGHT = (
    *("weight", "edgeweight", "importance", "score", "coef_mean", "tf2g_importance"),
    *("combined_confidences", "combined_score", "confidence", "coef_abs", "-logp", "edge_weight"),
    *("probability", "prob", "strength", "importance_score", "importance_tf2g", "estimate"),
)
SIGN = ("sign", "mode", "mor", "type", "regulation", "effect", "interaction")

_SMALL_IS_STRONG = re.compile(
    r"(adj(usted)?|empirical|nominal)?[_.-]?[pq][_.-]?(val(ue)?s?|adj(usted)?)?([_.-]?adj(usted)?)?"
    r"|fdr|lfsr|rank(ing)?"
)
_UP = ("+", "activator", "activation", "activates", "activating", "positive", "up")
_DOWN = ("-", "repressor", "repression", "represses", "repressing", "inhibition", "negative")
_SIGNS = dict.fromkeys(_UP, 1.0) | dict.fromkeys((*_DOWN, "inhibitor", "down"), -1.0)
_SIGNS |= dict.fromkeys(("", "?", "unknown", "nan", "none"), 0.0)


class EdgeTable(NamedTuple):
    """A table of edges as it lies in the file, with what its columns are.

    Attributes
    ----------
    frame
        All columns, as strings; ``source`` and ``target`` hold the genes.
    weight, sign
        Names of the columns of weights and of signs; None where there is none.
    directed
        Whether the first gene acts on the second.
    """

    frame: pd.DataFrame
    weight: str | None
    sign: str | None
    directed: bool


def read_edge_table(
    path: Path, kind: str = "table of edges", *, weight: str | None = None
) -> EdgeTable:
    """Read edges from the table of any tool: columns for two genes, and what else is there.

    Known are ``source,target``, ``TF,target`` (pySCENIC, arboreto, which leaves out the header;
    TRRUST), ``regulatoryGene,targetGene`` (GENIE3), ``regulator,target`` (inferelator),
    ``Gene1,Gene2`` (BEELINE), ``TF,Gene,TF2G_importance`` (SCENIC+), CellOracle's links, OmniPath,
    ``entity1,entity2`` and STRING's own files. Case does not matter. Identifiers of STRING become
    symbols if its file ``protein.info`` of the same version lies beside that of the links.

    Parameters
    ----------
    path
        CSV, TSV or parted by spaces, plain or gzipped.
    kind
        What the file is called in messages.
    weight
        Column of weights; the first of a usual name where None.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If no columns hold genes, there is no such column of weights, or it holds ranks or p-values.
    """
    file = FilePath(path)
    frame = read_table(file, kind, header=_missing_header(file, kind))
    frame.columns = [str(name).lstrip("#").replace(" ", "_") for name in frame.columns]
    source, target = pick(frame.columns, *REGULATOR), pick(frame.columns, *TARGET)
    directed = source is not None and target is not None and (source, target) not in UNDIRECTED
    if not directed:
        source, target = next(
            (pair for pair in UNDIRECTED if set(pair) <= set(frame)), (None, None)
        )
    found = ", ".join(filter(None, map(str, frame.columns)))
    if source is None:
        raise ValueError(
            f"{file}: expected a header with source,target or TF,Target or Gene1,Gene2, found "
            f"{found}; add one of them as the first line."
        )
    given = weight and weight.lower().replace(" ", "_")
    if given is not None and given not in frame:
        raise ValueError(f"{file}: it has no column {weight!r}; choose from {found}.")
    if given is not None and _SMALL_IS_STRONG.fullmatch(given):
        raise ValueError(
            f"{file}: of the column {weight!r} small values stand for strong edges, and edges are "
            "ranked by large ones; give its negative, or minus its logarithm, as a column."
        )
    ends = frame[[source, target]].set_axis(["source", "target"], axis=1)
    others = frame.drop(columns=[source, target, "source", "target"], errors="ignore")
    for kind in ("consensus", "is"):  # as OmniPath has it
        if {f"{kind}_stimulation", f"{kind}_inhibition"} <= set(others) and "sign" not in others:
            up, down = (others[f"{kind}_{how}"].str.lower().isin(("true", "1"))
                        for how in ("stimulation", "inhibition"))  # fmt: skip
            others = others.assign(sign=(up.astype(int) - down.astype(int)).astype(str))
    return EdgeTable(
        pd.concat([_without_taxon(file, ends), others], axis=1),
        pick(_numeric(others), *WEIGHT) if given is None else given,
        pick(others.columns, *SIGN),
        directed,
    )


def _numeric(frame: pd.DataFrame) -> list[str]:
    """Return the columns that may hold weights; confidence may be a letter, as of DoRothEA."""
    some = frame.head(100).apply(pd.to_numeric, errors="coerce")
    letters = [name for name in frame if name == "confidence" and some[name].isna().all()]
    return [str(name) for name in frame if frame.empty or name not in letters]


def edge_signs(table: pd.DataFrame, what: str) -> Float[np.ndarray, " pairs"]:
    """Read the column of signs of a table of edges as 1, -1 and 0 (unknown).

    Numbers count by their sign; words are activator, repressor and their like, in any case.

    Parameters
    ----------
    table
        Edges, with a column ``sign``, ``mode``, ``mor``, ``type``, ``regulation``, ``effect`` or
        ``interaction``.
    what
        What the table is called in messages.

    Raises
    ------
    ValueError
        If there is no such column, or it holds something else.
    """
    column = pick(table.columns, *SIGN)
    if column is None:
        raise ValueError(
            f"{what}: expected a column sign (1, -1) or mode (activator, repressor), found "
            f"{', '.join(map(str, table))}."
        )
    text = table[column].astype(str).str.strip().str.lower()
    signs = np.sign(pd.to_numeric(text, errors="coerce")).fillna(text.map(_SIGNS))
    if signs.isna().any():
        raise ValueError(
            f"{what}: expected 1, -1, +, -, activator or repressor in column {column}, found "
            f"{table.loc[signs.isna().to_numpy(), column].iloc[0]!r}."
        )
    return signs.to_numpy(np.float64)


def numbers(column: pd.Series, what: str) -> Float[np.ndarray, " pairs"]:
    """Read a column of a table of edges, such as its weights, as finite numbers.

    Raises
    ------
    ValueError
        On values that are none.
    """
    values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    bad = ~np.isfinite(values)
    if bad.any():
        text = str(column[bad].iloc[0])
        hint = "; write decimals with a point" if re.fullmatch(r"-?\d+,\d+", text) else ""
        raise ValueError(f"{what}: expected numbers in column {column.name}, found {text!r}{hint}.")
    return values


def _missing_header(file: FilePath, kind: str) -> list[str] | None:
    """Name the columns of tables without a header: arboreto's, and TRRUST's."""
    with open_text(file, kind) as stream:
        line = next((line for line in stream if line.strip()), "")
    first = cells_of(line)
    if len(first) < 3:
        return None
    if len(first) == 3 and re.fullmatch(r"[-+]?\d*\.?\d+(e[-+]?\d+)?", first[2].lower()):
        return ["tf", "target", "importance"]
    if first[2].lower() in (*_UP, *_DOWN, "unknown"):
        return ["tf", "target", "type", *(f"column{i}" for i in range(3, len(first)))]
    return None


def _without_taxon(file: FilePath, ends: pd.DataFrame) -> pd.DataFrame:
    """Replace identifiers of STRING, ``9606.ENSP00000269305``, by symbols."""
    sample = pd.Series(ends.head(100).to_numpy().ravel())
    if ends.empty or not sample.str.match(r"\d+\.[A-Za-z]").all():
        return ends
    if not sample.str.match(r"\d+\.ENS\w*P\d").any():
        return ends.apply(lambda names: names.str.replace(r"^\d+\.", "", regex=True))
    beside = re.sub(r"protein\.(physical\.)?links(\.detailed|\.full)?", "protein.info", file.name)
    place = file.with_name(beside)
    if place == file or not place.exists():
        raise ValueError(
            f"{file}: its genes are identifiers of STRING ({sample.iloc[0]}); put the file "
            "protein.info of the same species and version beside it, which has their symbols."
        )
    with reading(place, "STRING's names"):
        names = pd.read_csv(
            place, sep="\t", usecols=[0, 1], quoting=csv.QUOTE_NONE, dtype=str, na_filter=False
        )
    symbols = dict(zip(names.iloc[:, 0], names.iloc[:, 1], strict=True))
    return ends.apply(lambda column: column.map(symbols).fillna(column))
