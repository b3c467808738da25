"""No link of the documents leads nowhere, and one that does is found."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def check(*files: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "docs/links.py", *map(str, files)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)


def test_every_link_of_the_documents_leads_somewhere() -> None:
    done = check()
    assert done.returncode == 0, done.stdout
    assert "documents leads nowhere" in done.stdout


@pytest.fixture
def other(tmp_path: Path) -> Path:
    path = tmp_path / "other page.md"
    path.write_text("# A title\n\n## What `it` does, and why\n\n## Notes\n\n## Notes\n", encoding="utf-8")
    (tmp_path / "source.c").write_text("int\nmain;\n")
    (tmp_path / "folder").mkdir()
    return path


@pytest.mark.parametrize(
    "link",
    [
        "other%20page.md",
        "other%20page.md#a-title",
        "other%20page.md#what-it-does-and-why",
        "other%20page.md#notes-1",
        "source.c#L2",
        "source.c#L1-L2",
        "folder/",
        "#here",
        "https://example.org/#nothing",
        "mailto:a@example.org",
    ],
)
def test_a_link_that_leads_somewhere_is_fine(other: Path, link: str) -> None:
    page = other.parent / "page.md"
    page.write_text(f"# Here\n\nSee [there]({link}).\n")
    assert check(page).returncode == 0


@pytest.mark.parametrize(
    ("link", "why"),
    [
        ("gone.md", "there is no gone.md"),
        ("folder/gone.py", "there is no gone.py"),
        ("other%20page.md#gone", "other page.md has no such anchor"),
        ("other%20page.md#notes-2", "other page.md has no such anchor"),
        ("source.c#L3", "source.c has no such anchor"),
        ("source.c#main", "source.c has no such anchor"),
        ("folder/#L1", "folder has no such anchor"),
        ("#gone", "page.md has no such anchor"),
    ],
)
@pytest.mark.parametrize("text", ["[there]({})", "| a |\n| --- |\n| [there]({}) |", "![there]({})"])
def test_a_link_that_leads_nowhere_is_named(other: Path, link: str, why: str, text: str) -> None:
    page = other.parent / "page.md"
    page.write_text(f"# Here\n\n{text.format(link)}\n")
    done = check(page)
    assert (done.returncode, done.stdout) == (1, f"{page}: {link}: {why}\n")


def test_what_is_code_is_no_link(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("`[a](gone.md)`\n\n    [b](gone.md)\n\n```\n[c](gone.md)\n```\n")
    assert check(page).returncode == 0


def test_text_of_notebooks_is_looked_at(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "code", "source": ["[a](gone.md)"]},
        {"cell_type": "markdown", "source": ["See\n", "[b](away.md)."]},
    ]
    notebook = tmp_path / "one.ipynb"
    notebook.write_text(json.dumps({"cells": cells}))
    assert check(notebook).stdout == f"{notebook}: away.md: there is no away.md\n"
