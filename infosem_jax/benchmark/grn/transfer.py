"""The split ``transfer``: learn from the networks of other data sets, be tested on this one.

Pairs of this data set that other networks speak of, by name or orthologue, are the training pairs;
their regulators need not be tested. A part of the regulators is kept for validation, since most
tested ones are unseen as well. Only cell-type-specific networks are measured anew for each data
set; of all others, a network of another data set is the same reference on other genes, so that
what it has on tested regulators is left out.
"""

import re
from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from infosem_jax._typing import Path
from infosem_jax.benchmark.grn.references import USUAL_NETWORK, Loaded
from infosem_jax.data._species import human_symbols
from infosem_jax.data.io import read_network
from infosem_jax.grn.priors.known_elsewhere import align
from infosem_jax.grn.splits import Split, Universe, candidates

TRANSFER = "transfer"
VALIDATION = 0.15
WHOLE = "networks_full"


class Given(NamedTuple):
    """What methods may learn from instead of labels of the tested data set.

    Attributes
    ----------
    regulators, genes
        Names of rows and columns; the tested ones are among them.
    labels, validation
        1 and 0 from other networks, NaN elsewhere, [regulators, genes].
    others
        These networks.
    """

    regulators: tuple[str, ...]
    genes: tuple[str, ...]
    labels: Float[np.ndarray, "regulators genes"]
    validation: Float[np.ndarray, "regulators genes"]
    others: tuple[pd.DataFrame, ...]


def add_others(loaded: Sequence[Loaded], folder: Path) -> list[Loaded]:
    """Give each data set the networks of the others in a folder, whether these are tested or not.

    The tables of all gene sets of a data set count as one network. A file of the folder
    ``networks_full`` whose name has the words of a data set and ``ChIP`` is its whole
    cell-type-specific network.

    Parameters
    ----------
    loaded
        Data sets.
    folder
        The folder that holds them.
    """
    folder = FilePath(folder)
    known: dict[str, dict[str, list[FilePath]]] = {}
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        for file in sorted([*place.glob("network_*.csv*"), *place.glob("*/network_*.csv*")]):
            network = file.name.split(".csv")[0].removeprefix("network_")
            known.setdefault(network, {}).setdefault(place.name, []).append(file)
    for file in sorted((folder / WHOLE).glob("*.csv*")):
        words = re.split(r"[^a-z0-9]+", file.name.lower())
        for name, files in known.get(USUAL_NETWORK, {}).items():
            if "chip" in words and name.lower() in words:
                files.append(file)
    tables: dict[FilePath, pd.DataFrame] = {}

    def read(files: Sequence[FilePath]) -> pd.DataFrame:
        for file in files:
            if file not in tables:
                tables[file] = pd.DataFrame(read_network(file)[["source", "target"]])
        return pd.concat([tables[file] for file in files]).drop_duplicates()

    return [
        each._replace(
            others={
                network: found
                for network in each.networks
                if (
                    found := tuple(
                        read(files)
                        for name, files in known.get(network, {}).items()
                        if name != each.reference.dataset
                    )
                )
            }
        )
        for each in loaded
    ]


def transfer(loaded: Loaded, network: str, seed: int) -> tuple[Universe, Split, Given]:
    """Draw the training and validation pairs, which are of other data sets, and the test.

    Parameters
    ----------
    loaded
        The tested data set, with the networks of others.
    network
        Its network.
    seed
        Of the draw of regulators for validation.

    Raises
    ------
    ValueError
        If no other network speaks of pairs of this data set.
    """
    universe = candidates(loaded.data, loaded.networks[network])
    none = np.zeros_like(universe.candidate)
    split = Split(none, none, universe.candidate, TRANSFER, seed)
    others = usable(loaded.others.get(network, ()), network, universe.regulators)
    aligned = [align(table, loaded.data.genes) for table in others]
    expressed = set(loaded.data.genes)
    seen = sorted({name for each in aligned for name in each.regulators}.intersection(expressed))
    if not seen:
        raise ValueError("no network of this name of another data set speaks of its genes")
    regulators = tuple(sorted({*seen, *universe.regulators}))
    genes = tuple(sorted({*universe.genes, *regulators}))
    columns = pd.Index(loaded.data.genes).get_indexer(pd.Index(genes))
    votes, voters = (np.zeros((len(regulators), len(genes))) for _ in range(2))
    for each in aligned:
        at = {name: i for i, name in enumerate(each.regulators)}
        for row, name in enumerate(regulators):
            if name in at:
                named = each.named[columns] & (np.asarray(genes) != name)
                votes[row] += each.edges[at[name], columns] & named
                voters[row] += named
    labels = np.full(votes.shape, np.nan)
    labels[voters > 0] = votes[voters > 0] >= voters[voters > 0] / 2
    rng = np.random.default_rng(seed)
    kept = rng.permutation(len(seen))[: round(VALIDATION * len(seen))]
    aside = np.isin(regulators, np.asarray(seen)[kept])[:, None]
    given = Given(
        regulators,
        genes,
        np.where(aside, np.nan, labels),
        np.where(aside, labels, np.nan),
        tuple(others),
    )
    return universe, split, given


def usable(
    others: Sequence[pd.DataFrame], network: str, tested: Sequence[str]
) -> list[pd.DataFrame]:
    """Leave out what is no other measurement: see the module.

    Parameters
    ----------
    others
        Networks of other data sets.
    network
        What they are called.
    tested
        Tested regulators.
    """
    if network == USUAL_NETWORK:
        return list(others)
    human = human_symbols(tested)
    own = {human.get(name, name) for name in tested}
    kept = []
    for table in others:
        theirs = human_symbols(sorted({*table["source"], *table["target"]})) if human else {}
        called = np.array([theirs.get(name, name) in own for name in table["source"]])
        if not called.all():
            kept.append(table[~called])
    return kept
