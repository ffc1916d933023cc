"""Matching of gene names: regulators to genes, tables to genes, with messages that help."""

import difflib
import re
from collections import Counter
from collections.abc import Collection, Sequence

from infosem_jax._typing import Names
from infosem_jax.data._species import guess_species, symbols_of, without_version

AS_IT_IS = "as it is"
WAYS = IN_OTHER_CASE, BY_IDENTIFIER, BY_ALIAS = (
    "in other case",
    "by Ensembl identifier",
    "by alias",
)
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
_UNWRITABLE = re.compile("(?!^)[\t\r\n]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def match_regulators(genes: Names, regulators: Names) -> tuple[tuple[str, ...], list[str]]:
    """Return the genes that regulators name, in their order, and what is to be said of it.

    Names that no gene has as it is are looked up in other case, without the version of an
    identifier, and by the Ensembl identifiers and aliases of the species.

    Raises
    ------
    ValueError
        As `refuse_few`.
    """
    matched = find_names(genes, regulators)
    found = {gene for gene, _ in matched.values()}
    wanted = len(set(regulators))
    refuse_few(genes, regulators, found)
    how = Counter(how for _, how in matched.values())
    if how[AS_IT_IS] == wanted:
        return tuple(gene for gene in genes if gene in found), []
    said = [f"{len(found):,} of {wanted:,} candidate regulators are among the genes"]
    said += [f"{how[way]} {way}" for way in WAYS if how[way] or way == BY_ALIAS]
    species, other = guess_species(genes), guess_species(regulators)
    if species is not None:
        said.append(f"gene names look like those of {species}")
    if other is not None and species is not None and species != other:
        said.append(f"those of the regulators like {other}: genes of like names are taken")
    return tuple(gene for gene in genes if gene in found), ["; ".join(said)]


def find_names(genes: Names, names: Names) -> dict[str, tuple[str, str]]:
    """Return the gene that each name means, and how it was found; of several, the first.

    Parameters
    ----------
    genes
        Genes of the data.
    names
        Names to look up; those that mean no gene are left out.
    """
    wanted, there = dict.fromkeys(names), set(genes)
    found = {name: (name, AS_IT_IS) for name in wanted if name in there}
    if len(found) == len(wanted):
        return found
    species = guess_species(genes) or guess_species(names)
    table = {} if species is None else symbols_of(species)

    def plain(name: str) -> str:
        return without_version(name).upper()

    def symbol(name: str) -> str:
        return table.get(plain(name), plain(name))

    for key in (str.upper, plain, symbol):
        used = {gene for gene, _ in found.values()}
        places = {key(gene): gene for gene in reversed(genes) if gene not in used}
        for name in wanted:
            gene = places.get(key(name))
            if name not in found and gene is not None:
                found[name] = gene, _way(name, gene)
    return found


def refuse_few(genes: Names, regulators: Names, found: Collection[str]) -> None:
    """Refuse regulators of which few are among the genes.

    Parameters
    ----------
    genes
        Genes of the data.
    regulators
        Names of regulators.
    found
        Genes that they name.

    Raises
    ------
    ValueError
        If none is, or fewer than a tenth of them that are also fewer than a fiftieth of the genes;
        naming the nearest symbols and whether only the case or a version differs.
    """
    wanted = len(set(regulators))
    if 10 * len(found) >= wanted or 50 * len(found) >= len(genes) > 0 < len(found):
        return
    count = f"Only {len(found)}" if found else "None"
    raise ValueError(
        f"{count} of the {wanted:,} regulators is among the {len(genes):,} genes. "
        + near_misses(genes, [name for name in regulators if name not in found])
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
    """Refuse gene names that a spreadsheet would run as formulas, or that no file can hold.

    Names are identifiers that other tools match, so tables hold them as they are or not at all;
    call this before a long fit. Spreadsheets also turn symbols such as ``MARCH1`` to dates: import
    gene columns as text.

    Raises
    ------
    ValueError
        If a name starts with ``=``, ``+``, ``-``, ``@``, a tab or a line break, or has a control
        character or half a character in it.
    """
    unwritable = [name for name in genes if _UNWRITABLE.search(name)]
    if unwritable:
        raise ValueError(
            f"{len(unwritable)} gene names hold characters that no table can "
            f"({', '.join(map(ascii, unwritable[:3]))}); rename these genes."
        )
    formulas = [name for name in genes if name.startswith(FORMULA_STARTS)]
    if formulas:
        raise ValueError(
            f"{len(formulas)} gene names would be read as formulas by spreadsheets "
            f"({', '.join(map(repr, formulas[:3]))}); rename genes that start with one of = + - @ "
            "or white space."
        )


def are_regulators(values: Sequence[object], name: str) -> list[bool]:
    """Read a column that says of each gene whether it is a regulator.

    Parameters
    ----------
    values
        True or false, 1 or 0, yes or no, or the ``TF assessment`` of Lambert et al. (2018); nothing
        for no.
    name
        Name of the column, for messages.

    Raises
    ------
    ValueError
        On other values.
    """
    said = [_SAYS.get(str(value).strip().lower()) for value in values]
    if None in said:
        other = next(value for value, own in zip(values, said, strict=True) if own is None)
        raise ValueError(f"expected {name} as one true or false per gene, found {str(other)!r}.")
    return [bool(own) for own in said]


def spoilt_names(genes: Names) -> list[str]:
    """Return the names that look like dates, to which spreadsheets turn symbols such as MARCH1."""
    return [name for name in genes if _DATE.fullmatch(name)]


def some(names: Collection, n: int = 3) -> str:
    """Write the first names, and dots for the others."""
    return ", ".join(map(str, list(names)[:n])) + (", ..." if len(names) > n else "")


def describes_cells(name: str) -> bool:
    """Tell whether a column among genes is one that describes cells, such as ``n_counts``."""
    return bool(_OF_CELLS.fullmatch(name.strip().lower()))


def describes_genes(name: str) -> bool:
    """Tell whether a column among cells is one that describes genes, such as ``Length``."""
    return bool(_OF_GENES.fullmatch(re.sub(r"[\W_]", "", name.lower())))


def _way(name: str, gene: str) -> str:
    if name.upper() == gene.upper():
        return IN_OTHER_CASE
    by_identifier = any(each.upper().startswith("ENS") for each in (name, gene))
    return BY_IDENTIFIER if by_identifier else BY_ALIAS


_DATE = re.compile(
    r"\d{1,2}[- ](mar|mars?|sep|sept|dec|oct|apr|feb|nov|jan|jun|jul|aug|may)[a-z]*"
    r"|(20\d\d|\d{1,2})[-/]\d{1,2}[-/]\d{2,4}( 00:00:00)?",
    re.IGNORECASE,
)
_SAYS: dict[str, bool] = dict.fromkeys(("1", "1.0", "true", "yes", "y", "t"), True)
_SAYS |= dict.fromkeys(("0", "0.0", "false", "no", "n", "f", "", "nan", "none", "<na>"), False)
_SAYS |= {"known motif": True, "likely to be sequence specific tf": True}
_SAYS |= {"unlikely to be sequence specific tf": False, "ssdna/rna binding": False}
# As scanpy, Seurat, scDblFinder and their like name what they find out about cells.
_OF_CELLS = re.compile(
    r"(log1p_|log_|log10_)?(n|total|num|pct|percent|fraction)[_.]?"
    r"(counts?|genes?|umis?|features?|cells|reads|mito?|mt|ribo?|rb|hb)([_.]\w+)*"
    r"|(log1p_)?n_genes_by_counts|n(count|feature|umi|gene)s?(_\w+)?|pct_counts_\w+|mito(percent|ratio)"
    r"|(mito|mt|ribo)[_.]?frac(tion)?|unnamed: \d+|pc_\d+|scdblfinder[._]\S*"
    r"|umi_count|library_size|size_factors?|(leiden|louvain)([_.]\S*)?|seurat_clusters|clusters?"
    r"|(snn|rna_snn)_res[._]\S*|doublet_scores?|predicted_doublets?|scrublet_scores?|s_score"
    r"|__\w+|n_(unmapped|multimapping|nofeature|ambiguous)|orig\.ident"
    r"|batch|barcode|(sample|donor|patient|subject|cluster|library)([_.]?id)?|cell[_.]?type|age|sex"
    r"|time[_.]?(point)?|day|replicate|plate|lane|condition|treatment|dose|group"
    r"|(cell[_.]?)?labels?|class|annotations?|tissue|disease|status|cohort|stage|species"
    r"|(s|g2m)[._]score|phase|pseudotime|dpt_pseudotime|latent_time|x_umap\S*|umap_?[12]|tsne_?[12]"
)
# As featureCounts, tximport, GTEx and biomaRt name what they know of genes.
_OF_GENES = re.compile(
    r"(gene|effective|transcript)?length|width|(gene)?(start|end)|chr(omosome)?(name)?|strand"
    r"|(gene|feature)?(bio)?type|entrez(gene)?(id)?|ensembl(gene)?(id)?|hgnc(symbol|id)?"
    r"|gene(id|name|symbol)|(gene)?(symbol|description)|exons?|gccontent|transcript(id|name)?s?"
)
_LOOSER = {
    (
        "spaces around them are left out",
        "; leave them out: adata.var_names = adata.var_names.str.strip().",
    ): str.strip,
    (
        "case is ignored",
        ": is one list human (upper case) and the other mouse (capitalised)?",
    ): str.upper,
    ("versions are left out", "; leave them out of both."): without_version,
    (
        "what is before them is left out",
        "; name genes by symbols: var_names.str.replace(r'^.*?[_|:]+', '', regex=True).",
    ): lambda name: re.split(r"[_|:]+", name, maxsplit=1)[-1].upper(),
    (
        "what is behind them is left out",
        "; name genes by symbols: var_names.str.replace(r'[_|:].*', '', regex=True).",
    ): lambda name: re.split(r"[_|:]", name, maxsplit=1)[0].upper(),
}
