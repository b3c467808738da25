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
FILES = sorted(path.relative_to(TESTS) for part in PARTS for path in (TESTS / part).rglob("test_*.py"))
# Far more than any takes on a busy machine. A hung test ends its file and prints what its threads were doing.
TEST_TIMEOUT_S = 180
TIMEOUT_S = 2400
# What CreateProcess was seen to fail with under Wine, once in 802 tests, more often on a busy machine: such a
# file is run again.
NO_PROCESS = "[WinError 1359] Internal error"
# What a Windows machine lacks, and what has to be asked of Linux alone: reasons for which a test is skipped.
BELONGS_ELSEWHERE = re.compile(r"Linux|POSIX|/proc|Windows has no|Chromium|sanitizers")


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.as_posix())
def test_file_passes_on_windows(
    file: Path, wine: Any, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """What isn't skipped passes, and only what belongs elsewhere is skipped."""
    results = tmp_path / "results.xml"
    for _ in range(3):
        finished = wine.run(
            *("-m", "pytest", f"tests/{file.as_posix()}", "-q", "-p", "no:cacheprovider"),
            *(f"--basetemp=Z:{tmp_path / 'tmp'}", f"--junitxml=Z:{results}"),
            *("-o", f"faulthandler_timeout={TEST_TIMEOUT_S}", "-o", "faulthandler_exit_on_timeout=true"),
            timeout_s=TIMEOUT_S,
        )
        print(finished.output)
        if NO_PROCESS not in finished.output:
            break
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
