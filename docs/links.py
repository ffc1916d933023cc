"""Check the links of the built pages: every file, anchor and picture they name is there.

    python docs/links.py docs/_build/html

Links to other sites are not followed. What is broken is printed, and the exit status is then 1.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """What a page links to, and the anchors it has."""

    def __init__(self, text: str):
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take the links and anchors of a tag."""
        of = {name: value for name, value in attrs if value}
        self.anchors.update(of[name] for name in ("id", "name") if name in of)
        self.links.update(of[name] for name in ("href", "src") if name in of)


def broken(folder: Path) -> list[str]:
    """Return each broken link of a folder of pages, with the page it is on."""
    paths = (path for path in sorted(folder.rglob("*.html")) if "_static" not in path.parts)
    pages = {path.resolve(): Page(path.read_text()) for path in paths}
    if not pages:
        raise ValueError(f"{folder} holds no pages; build them by `sphinx-build docs {folder}`.")
    found = []
    for path, page in pages.items():
        for link in sorted(page.links):
            to = urlsplit(link)
            if to.scheme or to.netloc:
                continue
            target = (path.parent / unquote(to.path)).resolve() if to.path else path
            anchor = unquote(to.fragment)
            # sphinx.ext.viewcode names the place of a source once, though two modules document it.
            lacks = target in pages and anchor and anchor not in pages[target].anchors
            if (lacks and "_modules" not in path.parts) or not target.exists():
                found.append(f"{path.relative_to(folder.resolve())}: {link}")
    return found


if __name__ == "__main__":
    links = broken(Path(sys.argv[1]))
    print(*links, sep="\n", end="\n" if links else "")
    sys.exit(bool(links))
