"""Check that no link in the documents leads nowhere: `python docs/links.py [FILE]...`, by default in all.

Looked at are links and images in Markdown, notebooks' text included: the file or folder must be there, and
an anchor must be a heading's, as code hosts name them, or a line of a source file (`#L12`, `#L12-L20`).
Addresses elsewhere aren't asked for. Each that leads nowhere is a line; then the exit code is 1.
"""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("*.md", "docs/*.md", "examples/*.md", "notebooks/*.ipynb", "results/reference/*.md")
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//")
_LINES = re.compile(r"L(\d+)(?:-L(\d+))?")


class Document(NamedTuple):
    """What a document links to, and where it can be linked to."""

    links: list[str]
    anchors: set[str]


def main(names: Sequence[str]) -> int:
    """Print what leads nowhere."""
    paths = [Path(name) for name in names] or documents(ROOT)
    found = [f"{path}: {line}" for path in paths for line in broken(path)]
    print("\n".join(found or [f"no link of {len(paths)} documents leads nowhere"]))
    return 1 if found else 0


def documents(root: Path) -> list[Path]:
    """Every document of the repository at `root`."""
    return sorted(path for pattern in DOCUMENTS for path in root.glob(pattern))


def broken(path: Path) -> Iterator[str]:
    """`LINK: why` for each link of a document that leads nowhere."""
    for link in read(path).links:
        if _ELSEWHERE.match(link):
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / unquote(name) if name else path
        if not target.exists():
            yield f"{link}: there is no {target.resolve().name}"
        elif anchor and not _has(target, anchor):
            yield f"{link}: {target.resolve().name} has no such anchor"


@cache
def read(path: Path) -> Document:
    """Parse a Markdown file or a notebook."""
    tokens = MarkdownIt("commonmark").enable("table").parse(_text(path))
    children = [child for token in tokens for child in token.children or ()]
    links = [str(child.attrGet("href")) for child in children if child.type == "link_open"]
    links += [str(child.attrGet("src")) for child in children if child.type == "image"]
    headings = [tokens[number + 1] for number, token in enumerate(tokens) if token.type == "heading_open"]
    return Document(links, set(_anchors(map(_plain, headings))))


def _text(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    cells = json.loads(text)["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def _plain(heading: Token) -> str:
    return "".join(child.content for child in heading.children or () if child.type in ("text", "code_inline"))


def _anchors(headings: Iterator[str]) -> Iterator[str]:
    """GitHub's: lower case, hyphens for spaces, no punctuation, numbers behind those that come again."""
    counts: dict[str, int] = {}
    for heading in headings:
        anchor = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        count = counts.get(anchor, 0)
        counts[anchor] = count + 1
        yield f"{anchor}-{count}" if count else anchor


def _has(target: Path, anchor: str) -> bool:
    if target.suffix in (".md", ".ipynb"):
        return anchor in read(target).anchors
    lines = _LINES.fullmatch(anchor)
    if lines is None or not target.is_file():
        return False
    last = int(lines[2] or lines[1])
    return int(lines[1]) <= last <= len(target.read_text(encoding="utf-8").splitlines())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
