"""What the kernel holds for a server: against connections that were opened, where it may be asked."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.measure import kernel_memory
from bench.measure.block import Measured
from bench.plan.contender import Contender
from bench.records.schema import Load, Record

IDLE = 400
Measure = Callable[..., Measured]
pytestmark = pytest.mark.linux("has control groups")


def may_be_asked() -> bool:
    """Whether this process may make a group: as root where there is a memory controller."""
    base = kernel_memory._base()
    return base is not None and os.access(base, os.W_OK)


def by_name(measured: Measured) -> dict[str, Record]:
    return {record.cell.contender: record for record in measured.records}


def test_idle_connections_show_in_process_and_kernel(measured: Measure, plain: Contender) -> None:
    """A thread has a stack in the kernel, of 16 KiB on x86; an entry of epoll takes a hundredth of that."""
    threads = Contender(name="threads", model="threads", implementation="python")
    records = by_name(measured(plain, threads, load=Load(connections=2, idle=IDLE), rounds=1))
    each = {}
    for name, record in records.items():
        samples = record.samples
        assert 2**20 < samples.server_memory_before_bytes <= samples.server_memory_bytes
        if not may_be_asked():
            assert samples.server_kernel_bytes is None
            continue
        each[name] = (samples.server_kernel_bytes - samples.server_kernel_before_bytes) / IDLE
    if may_be_asked():
        assert 300 < each["plain"] < 10_000
        assert each["threads"] > each["plain"] + 8_000
        assert not list(kernel_memory._base().glob(f"iocpbench-{os.getpid()}-*"))  # none is left


def test_without_an_idle_crowd_nothing_is_moved(measured: Measure, plain: Contender) -> None:
    (record,) = measured(plain, load=Load(connections=2), rounds=1).records
    assert record.samples.server_kernel_bytes is None
    assert record.samples.server_memory_before_bytes > 2**20


def test_where_no_group_can_be_made_nothing_is_told(
    measured: Measure, plain: Contender, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(kernel_memory, "_base", lambda: tmp_path / "no-such-folder")
    (record,) = measured(plain, load=Load(connections=2, idle=10), rounds=1).records
    assert record.status == "measured"
    assert record.samples.server_kernel_bytes is None


@pytest.mark.parametrize("missing", [True, False])
def test_a_group_of_version_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, missing: bool) -> None:
    """Its file says more than is asked for; a kernel before 5.18 has no line `kernel`."""
    monkeypatch.setattr(kernel_memory, "_base", lambda: tmp_path)
    group = kernel_memory.Group()
    (folder,) = tmp_path.iterdir()
    (folder / "cgroup.controllers").write_text("memory\n")
    (folder / "memory.stat").write_text("anon 5\nsock 7\n" + ("" if missing else "kernel 1000\nslab 3\n"))
    assert group.memory_bytes() == (None if missing else 1007)


@pytest.mark.parametrize(
    ("mounts", "groups", "expected"),
    [
        (["24 1 0:21 / /cg/memory rw - cgroup cgroup rw,memory"], "4:memory:/a/b\n0::/", "/cg/memory/a/b"),
        (["24 1 0:21 /a /cg/memory rw - cgroup cgroup rw,memory"], "4:memory:/a/b\n", "/cg/memory/b"),
        (["24 1 0:21 / /cg/cpu rw - cgroup cgroup rw,cpu"], "4:memory:/a/b\n", None),
        (["24 1 0:21 / /no-such rw - cgroup2 cgroup2 rw"], "0::/user.slice\n", None),
    ],
)
def test_where_groups_are_made(
    monkeypatch: pytest.MonkeyPatch, mounts: list[str], groups: str, expected: str | None
) -> None:
    texts = {"/proc/self/mountinfo": "\n".join(mounts), "/proc/self/cgroup": groups}
    real = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda self, *a, **k: texts.get(str(self)) or real(self, *a, **k))
    base = kernel_memory._base()
    assert (base and str(base)) == expected


def test_a_group_is_removed_when_its_process_has_ended() -> None:
    if not may_be_asked():
        with pytest.raises(OSError, match=r"."):
            kernel_memory.Group()
        return
    group = kernel_memory.Group()
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    group.add(process.pid)
    assert group.memory_bytes() >= 0
    process.communicate(b"\n")
    group.remove()
    assert group.memory_bytes() is None
