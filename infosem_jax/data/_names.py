"""Matching of gene names: regulators to genes, tables to genes, with messages that help."""

import difflib

from infosem_jax._typing import Names


def match_regulators(genes: Names, regulators: Names) -> tuple[str, ...]:
    """Return the regulators that are among the genes, in the order of the genes.

    Raises
    ------
    ValueError
        If none is, naming the nearest symbols and whether only the case differs.
    """
    wanted = set(regulators)
    found = tuple(gene for gene in genes if gene in wanted)
    if found:
        return found
    raise ValueError(
        f"None of the {len(wanted)} regulators is among the {len(genes)} genes. "
        + _hint(genes, regulators)
    )


def _hint(genes: Names, names: Names) -> str:
    upper = {gene.upper(): gene for gene in genes}
    same = [(name, upper[name.upper()]) for name in names if name.upper() in upper]
    if same:
        shown = ", ".join(f"{a} / {b}" for a, b in same[:3])
        return (
            f"{len(same)} match when case is ignored ({shown}): is one list human (upper case) "
            "and the other mouse (capitalised)?"
        )
    near = []
    for name in list(names)[:20]:
        near += [(name, gene) for gene in difflib.get_close_matches(name, genes, n=1, cutoff=0.75)]
    if near:
        return "Nearest symbols: " + ", ".join(f"{a} ~ {b}" for a, b in near[:3]) + "."
    return (
        f"Regulators look like {', '.join(list(names)[:3])}; genes look like "
        f"{', '.join(list(genes)[:3])}: check for Ensembl identifiers, and the matrix orientation."
    )
