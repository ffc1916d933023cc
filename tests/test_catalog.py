"""Downloads: from a server on this machine, always checked."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from infosem_jax.data import CATALOG, Entry, fetch

CONTENT = b"source,target\nA,B\n"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server():
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            found = self.path.startswith("/net.csv")
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", str(len(CONTENT) if found else 0))
            self.end_headers()
            if found:
                self.wfile.write(CONTENT)

        def log_message(self, *args):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}", asked
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def registry(url: str, sha256: str | None = SHA256) -> dict[str, Entry]:
    return {"net": Entry("net", url, sha256, "CC0", "nobody", "a network")}


def test_fetch_checks_and_keeps(server, tmp_path):
    url, asked = server
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


def test_fetch_takes_a_checksum_where_none_is_recorded(server, tmp_path):
    url, asked = server
    entries = registry(f"{url}/net.csv", None)
    with pytest.raises(ValueError, match=r"no checksum is recorded.*Pass sha256 \(--sha256"):
        fetch("net", folder=tmp_path, registry=entries)
    assert asked == []
    assert fetch("net", folder=tmp_path, sha256=SHA256.upper(), registry=entries).exists()


def test_wrong_content_is_not_kept(server, tmp_path):
    url, _ = server
    with pytest.raises(ValueError, match="does not have the checksum"):
        fetch("net", folder=tmp_path, registry=registry(f"{url}/net.csv", "0" * 64))
    assert list(tmp_path.iterdir()) == []


def test_failed_downloads(server, tmp_path):
    url, _ = server
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
    assert entry.url.startswith("https://")
    assert entry.licence
    assert entry.citation
    assert "read_" in entry.description
    assert entry.sha256 is None or len(entry.sha256) == 64
