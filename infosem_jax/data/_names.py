"""Matching of gene names: regulators to genes, tables to genes, with messages that help."""

import difflib
import re

from infosem_jax._typing import Names

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def match_regulators(genes: Names, regulators: Names) -> tuple[tuple[str, ...], list[str]]:
    """Return the regulators that are among the genes, in their order, and how many those are.

    Raises
    ------
    ValueError
        If none is, or fewer than a tenth of them that are also fewer than a fiftieth of the genes;
        naming the nearest symbols and whether only the case or a version differs.
    """
    wanted = set(regulators)
    found = tuple(gene for gene in genes if gene in wanted)
    if 10 * len(found) >= len(wanted) or 50 * len(found) >= len(genes) > 0 < len(found):
        text = f"{len(found)} of {len(wanted)} candidate regulators are among the genes"
        return found, [text] if len(found) < len(wanted) else []
    count = f"Only {len(found)}" if found else "None"
    raise ValueError(
        f"{count} of the {len(wanted)} regulators is among the {len(genes)} genes. "
        + near_misses(genes, [name for name in regulators if name not in set(found)])
    )


def count_matches(genes: Names, names: Names, what: str) -> str:
    """Say how many genes are among some names, and refuse if that can be chance only.

    Parameters
    ----------
    genes
        Genes of the data.
    names
        Names in a file of knowledge: an embedding, a graph.
    what
        What it is called in messages.

    Raises
    ------
    ValueError
        If less than a twentieth of the genes is among the names, and of the names among the genes.
    """
    found = len(set(genes).intersection(names))
    text = f"{what} knows {found} of {len(set(genes))} genes"
    if 20 * found < min(len(set(genes)), len(set(names))):
        raise ValueError(f"{text}: {near_misses(names, list(genes), 'Genes of the data')}")
    return text


def near_misses(genes: Names, names: Names, what: str = "Regulators") -> str:
    """Say what names that are not among the genes may be meant for; ``what`` they are."""
    for (how, advice), key in _LOOSER.items():
        there = {key(gene): gene for gene in genes}
        same = [(name, there[key(name)]) for name in names if key(name) in there]
        if same:
            shown = ", ".join(f"{a} / {b}" for a, b in same[:3])
            return f"{len(same)} match when {how} ({shown}){advice}"
    near = []
    for name in list(names)[:20]:
        near += [(name, gene) for gene in difflib.get_close_matches(name, genes, n=1, cutoff=0.75)]
    if near:
        return "Nearest symbols: " + ", ".join(f"{a} ~ {b}" for a, b in near[:3]) + "."
    return (
        f"{what} look like {', '.join(list(names)[:3])}; genes look like "
        f"{', '.join(list(genes)[:3])}: check for Ensembl identifiers, and the matrix orientation."
    )


def check_names(genes: Names) -> None:
    """Refuse gene names that a spreadsheet would run as formulas.

    Names are identifiers that other tools match, so tables hold them as they are or not at all;
    call this before a long fit. Spreadsheets also turn symbols such as ``MARCH1`` to dates: import
    gene columns as text.

    Raises
    ------
    ValueError
        If a name starts with ``=``, ``+``, ``-``, ``@``, a tab or a line break.
    """
    formulas = [name for name in genes if name.startswith(FORMULA_STARTS)]
    if formulas:
        raise ValueError(
            f"{len(formulas)} gene names would be read as formulas by spreadsheets "
            f"({', '.join(map(repr, formulas[:3]))}); rename genes that start with one of = + - @ "
            "or white space."
        )


def without_version(name: str) -> str:
    """Return an Ensembl identifier without its version; other names as they are."""
    return re.sub(r"^(ENS[A-Z]*\d{6,})\.\d+(_PAR_Y)?$", r"\1", name)


def describes_cells(name: str) -> bool:
    """Tell whether a column among genes is one that describes cells, such as ``n_counts``."""
    return bool(_OF_CELLS.fullmatch(name.strip().lower()))


# As scanpy, Seurat, scDblFinder and their like name what they find out about cells.
_OF_CELLS = re.compile(
    r"(log1p_|log_|log10_)?(n|total|num|pct|percent|fraction)[_.]?"
    r"(counts?|genes?|umis?|features?|cells|reads|mito?|mt|ribo?|rb|hb)([_.]\w+)*"
    r"|(log1p_)?n_genes_by_counts|n(count|feature|umi|gene)s?(_\w+)?|pct_counts_\w+|mito(percent|ratio)"
    r"|umi_count|library_size|size_factors?|(leiden|louvain)([_.]\S*)?|seurat_clusters|clusters?"
    r"|(snn|rna_snn)_res[._]\S*|doublet_scores?|predicted_doublets?|scrublet_scores?|s_score"
    r"|g2m_score|phase|pseudotime|dpt_pseudotime|latent_time|x_umap\S*|umap_?[12]|tsne_?[12]"
)
_LOOSER = {
    (
        "case is ignored",
        ": is one list human (upper case) and the other mouse (capitalised)?",
    ): str.upper,
    ("versions are left out", "; leave them out of both."): without_version,
}
