"""Both sides of the binding have the same structures, and counts come through it."""

import ctypes
import errno
import re
from pathlib import Path

import pytest

from servers import native
from servers.contract import Counters

HEADER = (Path(__file__).parents[2] / "servers" / "native.h").read_text()
ASSERTED = dict(re.findall(r"_Static_assert\(sizeof\(struct (\w+)\) == (\d+)", HEADER))


@pytest.mark.parametrize(
    ("structure", "name"),
    [
        (native.ServeOptions, "serve_options"),
        (native.ErrorCount, "error_count"),
        (native.ServeCounters, "serve_counters"),
    ],
)
def test_structures_have_the_size_that_the_compiler_asserts(structure, name):
    assert ctypes.sizeof(structure) == int(ASSERTED.pop(name))


@pytest.mark.parametrize(
    ("structure", "name"),
    [
        (native.ServeOptions, "serve_options"),
        (native.ErrorCount, "error_count"),
        (native.ServeCounters, "serve_counters"),
    ],
)
def test_structures_have_the_fields_of_the_header_in_its_order(structure, name):
    body = re.search(rf"struct {name} {{(.*?)}};", HEADER, re.DOTALL)
    assert body is not None
    declared = re.findall(r"^\s*(?:struct )?(\w+) (\w+)(?:\[\w+\])?;", body.group(1), re.MULTILINE)
    bound = [(field[1].__name__, field[0]) for field in structure._fields_]
    assert [field for _, field in declared] == [field for _, field in bound]
    for (c_type, _), (ctype, _) in zip(declared, bound, strict=True):
        if c_type.endswith("_t"):
            assert ctype in {f"c_{c_type.removesuffix('_t')}", ctypes_alias(c_type)}


def ctypes_alias(c_type: str) -> str:
    """The name under which ctypes knows a fixed-width type on this system."""
    return getattr(ctypes, f"c_{c_type.removesuffix('_t')}").__name__


def test_counts_are_taken_over_under_the_systems_names():
    counted = native.ServeCounters(connections_accepted=7, connections_open_max=5, errors_other=3)
    counted.errors[0] = native.ErrorCount(count=2, code=errno.ECONNRESET)
    counted.errors[1] = native.ErrorCount(count=1, code=99_999)
    counters = Counters()
    native.take(counted, counters)
    assert (counters.connections_accepted, counters.connections_open_max) == (7, 5)
    assert counters.errors == {errno.errorcode[errno.ECONNRESET]: 2, "99999": 1, "other": 3}
