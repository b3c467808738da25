"""Names that a run may hold, made fit to be shown: they stay apart, and what is fit already is left alone."""

from collections.abc import Callable

import msgspec
import pytest

from bench.analysis.findings import find
from bench.analysis.names import NAME_LENGTH_MAX, short, slug, visible
from bench.records.schema import Record
from bench.records.store import RunFolder

MakeRecords = Callable[..., list[Record]]
MakeRun = Callable[..., RunFolder]
RIGHT_TO_LEFT = "\N{RIGHT-TO-LEFT OVERRIDE}"


@pytest.mark.parametrize("text", ["epoll:c", "µs ≥ 1", "<b>", "$x^2$", "a\nb\tc", "שלום", "日本語"])
def test_text_that_can_be_seen_stays(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    "hidden", [RIGHT_TO_LEFT, "\x00", "\x1b", "\x9b", "\u200b", "\u2066", "\ufeff", "\ud800"]
)
def test_what_cannot_be_seen_or_moves_others_is_replaced(hidden: str) -> None:
    assert visible(f"a{hidden}b") == "a\N{REPLACEMENT CHARACTER}b"
    visible(hidden).encode()


def test_a_short_name_is_one_line_of_limited_length() -> None:
    assert short("overlapped-accept-alternating-accept_poll_ms-100") == (
        "overlapped-accept-alternating-accept_poll_ms-100"
    )
    for name in ("x" * 5000, "two\nlines", f"a{RIGHT_TO_LEFT}b", ""):
        found = short(name)
        assert len(found) <= NAME_LENGTH_MAX
        assert found.isprintable()
        assert short(found) == found


@pytest.mark.parametrize("shortened", [short, slug])
def test_different_names_stay_different(shortened: Callable[[str], str]) -> None:
    names = ["x" * 5000, "x" * 5001, "a b", "a  b", "a\nb", "a/b", "../a", "", "\x00", "a-b"]
    assert len({shortened(name) for name in names}) == len(names)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a/b", "a\\b", "-rf", ".hidden", "a b", '"><img>', "é", "x" * 300, "", "a\n"]
)
def test_a_slug_is_a_plain_files_name(name: str) -> None:
    found = slug(name)
    assert found[0].isalnum() or found[0] == "_"
    assert found.isascii()
    assert not set(found) & set("/\\ \"'<>&#%?\n")
    assert len(found) <= 64


def test_a_slug_of_a_suites_own_names_is_the_name() -> None:
    assert [slug(name) for name in ("connections", "alternating-busy", "v1.2_b")] == [
        "connections",
        "alternating-busy",
        "v1.2_b",
    ]


def test_a_run_with_names_too_long_is_found_whole(make_records: MakeRecords, make_run: MakeRun) -> None:
    long = {"epoll": "x" * 3000, "threads": "x" * 3001}
    records = [
        msgspec.structs.replace(
            one, cell=msgspec.structs.replace(one.cell, contender=long[one.cell.contender])
        )
        for one in make_records({"epoll": 4000, "threads": 9000}, connections=(10,), repeats=3)
    ]
    findings = find([make_run(records, reference=long["epoll"])])
    assert findings.table["contender"].tolist() == [short(name) for name in long.values()]
    assert findings.table["competes"].all()
    ratios = findings.ratios[findings.ratios["quantity"] == "p50_ns"].set_index("contender")["ratio"]
    assert ratios[short(long["threads"])] == pytest.approx(90 / 59, rel=0.05)
