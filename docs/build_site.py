"""Build the documents' site: `uv run --group docs python docs/build_site.py`; it is in build/site then.

The documents are written for a code host: their links lead to files of the repository. So they are copied
into build/docs first, where a file of the source that one of them links to is a page of its own, and a
notebook too, and links are made to fit. Zensical makes the site of that. A link or an anchor that leads
nowhere fails the build, in the documents as in the site.

`--serve` shows the site at http://localhost:8000, as it is now: after a change build it again.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import links

HOME = PurePosixPath("README.md")
DOCUMENTS, SOURCE, NOTEBOOKS = PurePosixPath("docs"), PurePosixPath("source"), PurePosixPath("notebooks")
PICTURES = (".png", ".svg")
_LINK = re.compile(r"(?<=\]\()[^()\s]+(?=\))")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//|#")
_LANGUAGES = {".c": "c", ".h": "c", ".py": "python", ".toml": "toml", ".yml": "yaml", ".js": "js"}
_LANGUAGES |= {".go": "go", ".rs": "rust", ".sh": "bash"}
_HIDDEN = "---\nsearch:\n  exclude: true\n---\n\n"  # found in the source, not among the documents


def main() -> int:
    """Build or serve; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--root", type=Path, default=links.ROOT, help="another checkout")
    parser.add_argument("--serve", action="store_true", help="show it at http://localhost:8000")
    options = parser.parse_args()
    root: Path = options.root.resolve()
    found = [
        f"{path.relative_to(root)}: {line}" for path in links.documents(root) for line in links.broken(path)
    ]
    if found:
        print("\n".join(found), file=sys.stderr)
        return 1
    write_pages(root, root / "build" / "docs")
    shutil.rmtree(root / "build" / "site", ignore_errors=True)
    command = ["serve"] if options.serve else ["build", "--clean", "--strict"]
    return subprocess.run([sys.executable, "-m", "zensical", *command], cwd=root, check=False).returncode


def write_pages(root: Path, out: Path) -> None:
    """Write the documents of the repository at `root`, and all files that they link to, into `out`."""
    shutil.rmtree(out, ignore_errors=True)
    waiting = [_name(path, root) for path in links.documents(root)]
    written = set()
    while waiting:
        name = waiting.pop()
        if name not in written:
            written.add(name)
            waiting += _write(root, name, out / place(name))


def place(name: PurePosixPath) -> PurePosixPath:
    """Where a file of the repository is in the site's folder of documents."""
    if name == HOME:
        return PurePosixPath("index.md")
    if name.is_relative_to(DOCUMENTS) and name.suffix in (".md", *PICTURES):
        return name.relative_to(DOCUMENTS)
    if name.is_relative_to(NOTEBOOKS) and name.suffix == ".ipynb":
        return name.with_suffix(".md")
    if name.suffix == ".md" and len(name.parts) == 1:
        return PurePosixPath(name.name.lower())
    if name.name == "README.md":
        return SOURCE / name.parent / "index.md"
    return SOURCE / (name if name.suffix in (".md", *PICTURES) else f"{name}.md")


def _name(path: Path, root: Path) -> PurePosixPath:
    return PurePosixPath(path.relative_to(root).as_posix())


def _write(root: Path, name: PurePosixPath, target: Path) -> list[PurePosixPath]:
    """Write one file's page; the files that it links to."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if name.suffix in PICTURES:
        shutil.copyfile(root / name, target)
        return []
    if name.suffix == ".ipynb":
        text = _notebook(root / name, target)
    elif name.suffix == ".md":
        text = (root / name).read_text(encoding="utf-8")
    else:
        target.write_text(_source((root / name).read_text(encoding="utf-8"), name), encoding="utf-8")
        return []
    linked: list[PurePosixPath] = []
    target.write_text(_with_links(text, root, name, linked), encoding="utf-8")
    return linked


def _with_links(text: str, root: Path, name: PurePosixPath, linked: list[PurePosixPath]) -> str:
    """The text with links that fit the site; the files that it links to are added to `linked`."""

    def fitting(match: re.Match[str]) -> str:
        link = match[0]
        path, _, anchor = link.partition("#")
        if _ELSEWHERE.match(link) or not (root / name.parent / path).exists():  # a notebook's own picture
            return link
        aim = _aim(root, name.parent / path)
        linked.append(aim)
        line = re.match(r"L(\d+)", anchor)
        end = f"__codelineno-0-{line[1]}" if line and aim.suffix != ".md" else anchor
        relative = PurePosixPath(os.path.relpath(place(aim), place(name).parent)).as_posix()
        return f"{relative}#{end}" if end else relative

    return "\n".join(
        line if is_code else _LINK.sub(fitting, line) for line, is_code in _lines(text.splitlines())
    )


def _aim(root: Path, path: PurePosixPath) -> PurePosixPath:
    """The file that is meant: of a folder its README."""
    name = PurePosixPath(os.path.normpath(path))
    return name / "README.md" if (root / name).is_dir() else name


def _lines(lines: list[str]) -> Iterator[tuple[str, bool]]:
    """Each line of a Markdown text, and whether it belongs to a fenced block."""
    fence = ""
    for line in lines:
        found = _FENCE.match(line)
        if fence:
            yield line, True
            if found and found[1].startswith(fence):
                fence = ""
        else:
            fence = found[1] if found else ""
            yield line, bool(fence)


def _source(text: str, name: PurePosixPath) -> str:
    """A source file's page, its lines numbered."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall(r"`+", text))])
    language = _LANGUAGES.get(name.suffix, "text")
    return f'{_HIDDEN}# `{name}`\n\n{fence} {{ .{language} linenums="1" }}\n{text.rstrip()}\n{fence}\n'


def _notebook(path: Path, target: Path) -> str:
    """A notebook's text, code and outputs as Markdown; its pictures are written beside `target`."""
    from nbconvert import MarkdownExporter

    names = {"unique_key": path.stem, "output_files_dir": f"{path.stem}_files"}
    exporter: Any = MarkdownExporter  # which has no types
    text, made = exporter().from_filename(str(path), resources=names)
    for name, content in made["outputs"].items():
        picture = target.parent / name
        picture.parent.mkdir(exist_ok=True)
        picture.write_bytes(content)
    # pandas' own looks keep the site's from its tables.
    text = re.sub(r"<style scoped>.*?</style>\n", "", text, flags=re.DOTALL)
    return str(text).replace('<table border="1" class="dataframe">', "<table>")


if __name__ == "__main__":
    sys.exit(main())
