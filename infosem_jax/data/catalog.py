"""Public data sets of the field by name, downloaded only with a checksum."""

import re
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import NamedTuple
from urllib.parse import unquote, urlparse

from infosem_jax._typing import Path


class Entry(NamedTuple):
    """A public file.

    Attributes
    ----------
    name
        What it is called here.
    url
        Where it lies, http or https.
    sha256
        Checksum of its content, 64 hexadecimal digits; None where none has been recorded, or where
        the file changes with time.
    licence
        Terms of use, as its source states them.
    citation
        What to cite.
    description
        What it holds, and which reader takes it.
    """

    name: str
    url: str
    sha256: str | None
    licence: str
    citation: str
    description: str


_BEELINE = (
    "Pratapa et al. 2020, Nature Methods 17:147 (BEELINE); "
    "doi:10.5281/zenodo.3701939, all versions doi:10.5281/zenodo.3378975"
)
_LAMBERT = "Lambert et al. 2018, Cell 172:650"
_ANIMALTFDB = "Shen et al. 2023, Nucleic Acids Research 51:D39 (AnimalTFDB 4.0)"
_SEE_SOURCE = "see the source"

CATALOG: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            "beeline-expression",
            "https://zenodo.org/records/3701939/files/BEELINE-data.zip",
            None,
            _SEE_SOURCE,
            _BEELINE,
            "Expression of BEELINE, one folder per data set (unzip; read_expression).",
        ),
        Entry(
            "beeline-networks",
            "https://zenodo.org/records/3701939/files/BEELINE-Networks.zip",
            None,
            _SEE_SOURCE,
            _BEELINE,
            "Reference networks and regulators of BEELINE (unzip; read_network, read_regulators).",
        ),
        Entry(
            "collectri-human",
            "https://zenodo.org/records/8192729/files/CollecTRI_regulons.csv",
            None,
            _SEE_SOURCE,
            "Müller-Dott et al. 2023, Nucleic Acids Research 51:10934; doi:10.5281/zenodo.8192729",
            "Curated human regulator-target interactions with signs as weights (read_network).",
        ),
        Entry(
            "tf-human-lambert",
            "https://humantfs.ccbr.utoronto.ca/download/v_1.01/TF_names_v_1.01.txt",
            None,
            _SEE_SOURCE,
            _LAMBERT,
            "Human transcription factors, one symbol per line (read_regulators).",
        ),
        Entry(
            "tf-human-animaltfdb",
            "https://guolab.wchscu.cn/AnimalTFDB4_static/download/TF_list_final/Homo_sapiens_TF",
            None,
            _SEE_SOURCE,
            _ANIMALTFDB,
            "Human transcription factors with families (read_regulators).",
        ),
        Entry(
            "tf-mouse-animaltfdb",
            "https://guolab.wchscu.cn/AnimalTFDB4_static/download/TF_list_final/Mus_musculus_TF",
            None,
            _SEE_SOURCE,
            _ANIMALTFDB,
            "Mouse transcription factors with families (read_regulators).",
        ),
        Entry(
            "orthologues-mgi",
            "https://www.informatics.jax.org/downloads/reports/HMD_HumanPhenotype.rpt",
            None,
            _SEE_SOURCE,
            "Baldarelli et al. 2024, Genetics 227:iyae031 (Mouse Genome Informatics)",
            "Human and mouse orthologues by symbol, updated weekly (read_orthologues).",
        ),
    )
}


def fetch(
    name: str,
    *,
    folder: Path | None = None,
    sha256: str | None = None,
    registry: Mapping[str, Entry] | None = None,
) -> FilePath:
    """Download a data set of the catalogue, check its content, and return where it lies.

    A file that is there and has the right checksum is not downloaded again.

    Parameters
    ----------
    name
        Name in the catalogue.
    folder
        Where to put the file; the user's cache folder where None.
    sha256
        Checksum to hold the file to, where the catalogue has none.
    registry
        A catalogue instead of ``CATALOG``.

    Raises
    ------
    ValueError
        On an unknown name, no checksum, one that differs from the catalogue's, or content that
        does not have it; no file is left in that case.
    ConnectionError
        If the file cannot be downloaded.
    """
    import pooch
    import requests

    entry = _entry(name, CATALOG if registry is None else registry)
    checksum = _checksum(entry, sha256)
    path = urlparse(entry.url).path
    if urlparse(entry.url).scheme not in ("http", "https"):
        raise ValueError(f"{name}: expected an http or https address, found {entry.url!r}.")
    try:
        found = pooch.retrieve(
            entry.url,
            known_hash=f"sha256:{checksum}",
            fname=f"{checksum[:12]}-{FilePath(unquote(path)).name or entry.name}",
            path=pooch.os_cache("infosem_jax") if folder is None else folder,
            downloader=pooch.HTTPDownloader(timeout=30),  # pyright: ignore[reportArgumentType]
        )
    except ValueError as error:
        raise ValueError(
            f"{name}: what {entry.url} sent does not have the checksum {checksum}; the file was "
            f"not kept. It was changed there or on the way, or the checksum is wrong. ({error})"
        ) from error
    except requests.RequestException as error:
        raise ConnectionError(f"{name}: cannot download {entry.url}: {error}") from error
    return FilePath(found)


def _entry(name: str, registry: Mapping[str, Entry]) -> Entry:
    if name not in registry:
        raise ValueError(f"Unknown data set {name!r}; choose one of {', '.join(registry)}.")
    return registry[name]


def _checksum(entry: Entry, sha256: str | None) -> str:
    given = sha256.lower() if sha256 else None
    if given and not re.fullmatch("[0-9a-f]{64}", given):
        raise ValueError(f"Expected sha256 as 64 hexadecimal digits, found {sha256!r}.")
    if given and entry.sha256 and given != entry.sha256.lower():
        raise ValueError(
            f"{entry.name}: the given sha256 differs from the catalogue's {entry.sha256}; "
            "leave it out."
        )
    checksum = entry.sha256 or given
    if not checksum:
        raise ValueError(
            f"{entry.name}: no checksum is recorded for {entry.url}, so the download could not be "
            "verified. Pass sha256 (--sha256 on the command line): the sum its publisher states, "
            "or the one that `sha256sum` gives for a copy you trust."
        )
    return checksum.lower()
