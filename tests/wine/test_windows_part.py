"""The suite itself, run by a Windows Python under Wine: each of its files is a test here."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

pytestmark = [pytest.mark.linux("runs the suite under Wine"), pytest.mark.slow]

TESTS = Path(__file__).parents[1]
PARTS = ("servers", "loadgen", "bench")
SAME_EVERYWHERE = TESTS / "bench" / "analysis"  # computes on tables, and asks no system for anything
FILES = sorted(
    path.relative_to(TESTS)
    for part in PARTS
    for path in (TESTS / part).rglob("test_*.py")
    if SAME_EVERYWHERE not in path.parents
)
TIMEOUT_S = 2400
# What a Windows machine lacks, and what has to be asked of Linux alone: reasons for which a test is skipped.
BELONGS_ELSEWHERE = re.compile(r"Linux|POSIX|/proc|Windows has no|Chromium|sanitizers")


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.as_posix())
def test_file_passes_on_windows(
    file: Path, wine: Any, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """What isn't skipped passes, and only what belongs elsewhere is skipped."""
    results = tmp_path / "results.xml"
    finished = wine.run_tests(
        *(f"tests/{file.as_posix()}", f"--basetemp=Z:{tmp_path / 'tmp'}", f"--junitxml=Z:{results}"),
        timeout_s=TIMEOUT_S,
    )
    assert finished.code is not None, f"didn't end within {TIMEOUT_S} s"
    assert results.exists(), f"ended with {finished.code} before there were results"
    wrongly_skipped = []
    for case in ElementTree.parse(results).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        skipped = case.find("skipped")
        if skipped is None:
            record_property("ran_under_wine", name)
        elif not BELONGS_ELSEWHERE.search(skipped.get("message", "")):
            wrongly_skipped.append(f"{name}: {skipped.get('message')}")
    assert finished.code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    assert not wrongly_skipped
