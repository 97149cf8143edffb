"""Sphinx extension: pages made from code and from files elsewhere in the repository, and links between all of them.

A Markdown link in this repository names a file relative to the document, as GitHub resolves it. When a document becomes
a page, a link to the source of another page becomes a link to that page.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import reference

DOCS = Path(__file__).parent
ROOT = DOCS.parent
INCLUDED = {
    "on-disk": ROOT / "schemas" / "README.md",
    "contributing": ROOT / "CONTRIBUTING.md",
    "changelog": ROOT / "CHANGELOG.md",
}
"""Pages whose text is another file of the repository."""
GENERATED = {"reference-cli": reference.command_line, "reference-pipeline": reference.pipeline}
"""Pages whose text follows the heading and introduction in `docs/`, and is made from the code."""


def page_text(name: str, text: str) -> str:
    """The Markdown of page `name`; `text` is the content of its file in `docs/`."""
    source = INCLUDED.get(name, DOCS / f"{name}.md")
    if name in INCLUDED:
        text = source.read_text("utf-8")
    text = relink(text, source.parent)
    return f"{text}\n{GENERATED[name]()}" if name in GENERATED else text


def relink(text: str, folder: Path) -> str:
    """Replaces the targets of relative links in `text`, which is in `folder`, by targets relative to `docs/`."""
    pages = {path.resolve(): name for name, path in INCLUDED.items()}
    pages[ROOT / "README.md"] = "index"

    def target(match: re.Match[str]) -> str:
        path, hash_, anchor = match[1].partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return match[0]
        file = (folder / path).resolve()
        moved = f"{pages[file]}.md" if file in pages else os.path.relpath(file, DOCS)
        return f"]({moved}{hash_}{anchor})"

    fenced = re.split(r"^(```.*?^```)$", text, flags=re.DOTALL | re.MULTILINE)
    return "".join(part if part.startswith("```") else re.sub(r"\]\(([^)\s]+)\)", target, part) for part in fenced)


def _read(app: Any, name: str, source: list[str]) -> None:
    source[0] = page_text(name, source[0])


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}
