"""Documents that describe a format name all of it."""

import re
from pathlib import Path

import msgspec
import pytest

from bench.analysis.claims import CLAIMS, Verdict
from bench.plan import suite
from bench.records import schema

DOCS = Path(__file__).parents[2] / "docs"
RECORDS = (
    *(schema.Record, schema.Cell, schema.Cpus, schema.Server, schema.Ready, schema.Stopped, schema.Samples),
    *(schema.LoadResult, schema.Latency, schema.Slice, schema.SeriesPoint, schema.Client, schema.OpenLoop),
    *(schema.RequestsPerConnection, schema.IdleCrowd, schema.Ever),
    *(schema.Run, schema.ServerPython, schema.ForeignCall, schema.CallCost),
)
SUITES = (suite.SuiteTable, suite.ExperimentTable, suite.LoadTable, suite.SearchTable)


def named(document: str) -> set[str]:
    """Every word that stands in backticks or in a block of code."""
    text = (DOCS / document).read_text(encoding="utf-8")
    code = re.findall(r"```.*?```|`[^`]+`", text, re.DOTALL)
    return {word for part in code for word in re.findall(r"[A-Za-z0-9_-]+", part)}


@pytest.mark.parametrize("struct", RECORDS, ids=lambda struct: struct.__name__)
def test_every_field_of_a_record_is_described(struct: type[msgspec.Struct]) -> None:
    assert set(struct.__struct_fields__) - named("results-format.md") == set()


@pytest.mark.parametrize("struct", SUITES, ids=lambda struct: struct.__name__)
def test_every_key_of_a_suite_is_described(struct: type[msgspec.Struct]) -> None:
    assert set(struct.__struct_fields__) - named("suites.md") == set()


def test_every_suite_is_described() -> None:
    described = re.findall(
        r"^\| `([a-z-]+)` \|", (DOCS / "suites.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert set(suite.names()) <= set(described)


def test_every_claim_is_described_with_the_file_of_its_rule() -> None:
    text = (DOCS / "chapter.md").read_text(encoding="utf-8")
    for claim, module in CLAIMS.items():
        described, found = re.findall(rf"^\| {claim} \|.*$", text, re.MULTILINE)
        assert f"bench/analysis/claims/{Path(str(module.__file__)).name}" in described
        assert any(f"| {verdict.value} |" in found for verdict in Verdict)
