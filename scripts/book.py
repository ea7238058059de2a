"""Builds the two books with mdBook, and follows the links of what was built. See book.sh.

The pages stay where they are read on the repository's own site: in docs/, in docs/es/, and beside what they tell of. A book has one
folder, so they are laid there first: the repository's folders over docs/, and the Spanish pages in es/, with their links to match.
"""

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
STAGE = ROOT / "target/book-pages"
SITE = ROOT / "target/book"
LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")

BOOK = """
[book]
title = "acequia"
description = "{description}"
language = "{language}"
src = "."
[build]
build-dir = "{site}"
create-missing = false
[output.html]
default-theme = "light"
preferred-dark-theme = "navy"
no-section-label = true
additional-css = ["wide.css"]
[output.html.search]
limit-results = 20
"""
BOOKS = {
    "en": ("docs", "", "Rows from PostgreSQL and HubSpot into DuckDB, PostgreSQL or Iceberg"),
    "es": ("docs/es", "es", "Filas de PostgreSQL y HubSpot a DuckDB, PostgreSQL o Iceberg"),
}


def place(path: Path) -> Path:
    """Where a file of the repository stands on the site."""
    relative = path.relative_to(ROOT)
    parts = relative.parts[1:] if relative.parts[0] == "docs" else relative.parts
    # A folder's own page is called so on a site.
    renamed = {"README.md": "index.md", "README.es.md": "es/index.md"}
    return Path(*parts[:-1], renamed.get(parts[-1], parts[-1]))


def lay(page: Path, folder: Path, below: str) -> set[Path]:
    """Lays a page in a book's folder. Returns the files that it links to."""
    linked = set()

    def turned(match: re.Match[str]) -> str:
        link = match.group(0)
        address = urlsplit(link)
        if address.scheme or not address.path:
            return link
        file = (page.parent / unquote(address.path)).resolve()
        linked.add(file)
        # What is not there is found when the links are followed.
        if not file.is_relative_to(ROOT):
            return link
        link = os.path.relpath(place(file), place(page).parent)
        return f"{link}#{address.fragment}" if address.fragment else link

    text = LINK.sub(turned, page.read_text())
    target = folder / place(page).relative_to(below or ".")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    return linked


def build(mdbook: str, language: str) -> None:
    pages, below, description = BOOKS[language]
    folder = STAGE / language
    folder.mkdir(parents=True)
    summary = ROOT / pages / "SUMMARY.md"
    named = {(summary.parent / link).resolve() for link in LINK.findall(summary.read_text())}
    assets = lay(summary, folder, below)
    for page in named:
        assets |= lay(page, folder, below)
    for asset in assets:
        # Pictures and files. What other pages there are is another book's, or a link that leads nowhere.
        if asset.is_file() and asset.suffix != ".md" and not below:
            target = folder / place(asset)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(asset, target)
    (folder / "book.toml").write_text(BOOK.format(language=language, description=description, site=SITE / below))
    # What a run prints is wider than mdBook's column.
    (folder / "wide.css").write_text(":root { --content-max-width: 1000px; }\n")
    subprocess.run([mdbook, "build", str(folder)], check=True, env={**os.environ, "RUST_LOG": "warn"})
    # mdBook takes its own configuration along.
    (SITE / below / "book.toml").unlink(missing_ok=True)


class Page(HTMLParser):
    """What a page links to, and which places of it can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value is None:
                continue
            if name == "id":
                self.anchors.add(value)
            elif name in ("href", "src") and tag != "base":
                self.links.append(value)


def wrong_links() -> tuple[int, list[str]]:
    """How many links within the site there are, and which lead nowhere."""
    pages = {path: Page(path.read_text()) for path in SITE.rglob("*.html")}
    followed, wrong = 0, []
    for path, page in pages.items():
        # A page for what is not found has addresses from the site's root; the printed one is all pages in one.
        if path.name in ("404.html", "print.html"):
            continue
        for link in page.links:
            address = urlsplit(link)
            if address.scheme or address.netloc:
                continue
            followed += 1
            target = (path.parent / unquote(address.path)).resolve() if address.path else path
            if not target.exists():
                wrong.append(f"{path.relative_to(SITE)}: {link}")
            elif address.fragment and target in pages and unquote(address.fragment) not in pages[target].anchors:
                wrong.append(f"{path.relative_to(SITE)}: {link}: there is no such heading")
    return followed, wrong


def main(mdbook: str) -> None:
    for folder in (STAGE, SITE):
        shutil.rmtree(folder, ignore_errors=True)
    for language in BOOKS:
        build(mdbook, language)
    followed, wrong = wrong_links()
    if wrong:
        sys.exit("links that lead nowhere:\n" + "\n".join(sorted(set(wrong))))
    pages = sum(1 for _ in SITE.rglob("*.html"))
    print(f"{pages} pages in {SITE.relative_to(ROOT)}, {followed} links followed")


main(sys.argv[1])
