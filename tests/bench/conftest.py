"""Runs with a known truth: how fast each contender really is, under noise like a real machine's.

Figures follow FACTS of a closed loop: a request alone takes the wake-ups and its service, many wait for each
other. The noise has the two parts that matter: the machine's, common to a round, and a slice's own.
"""

import base64
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bench.plan.contender import Contender
from bench.plan.suite import Experiment, LoadTable, Quantity, Suite
from bench.records.schema import (
    SCHEMA,
    Cell,
    Client,
    Cpus,
    ForeignCall,
    Latency,
    Load,
    LoadResult,
    Precision,
    Ready,
    Record,
    RequestsPerConnection,
    Run,
    Samples,
    Server,
    ServerPython,
    Slice,
)
from bench.records.store import RunFolder

SERVICE_NS = {
    "threads": 7800,
    "select": 3770,
    "poll": 3700,
    "epoll": 3860,
    "asyncio_streams": 9900,
    "epoll:c": 3250,
}
WAKE_UP_NS = 55_000
SLICE_S = 0.05
HIGHEST_NS = 3_600_000_000_000

MakeRecords = Callable[..., list[Record]]
MakeRun = Callable[..., RunFolder]


def contender(name: str) -> Contender:
    base, _, threads = name.partition("-threads-")  # as a list of an option's values names them
    model, _, implementation = base.partition(":")
    return Contender(
        name=name,
        model=model,
        implementation=implementation or "python",
        options={"threads": int(threads)} if threads else {},
        variant_of=base if threads else None,
        is_default=threads == "1",
    )


def encode(counts: Mapping[int, int]) -> str:
    """HdrHistogram V2 of `counts[value]`, by the format's description; the package needs 50 ms for one."""
    buckets: dict[int, int] = {}
    for value, count in counts.items():
        shift = max(0, value.bit_length() - 11)
        index = (shift << 10) + (value >> shift)
        buckets[index] = buckets.get(index, 0) + count
    payload, expected = bytearray(), 0
    for index in sorted(buckets):
        for number in (expected - index, buckets[index]):  # negative: that many empty buckets
            zigzag = (number << 1) ^ (number >> 63)
            while zigzag > 0x7F:
                payload.append(zigzag & 0x7F | 0x80)
                zigzag >>= 7
            if number:
                payload.append(zigzag)
        expected = index + 1
    header = struct.pack(">iiiiqqd", 0x1C849313, len(payload), 0, 3, 1, HIGHEST_NS, 1.0)
    packed = zlib.compress(header + payload)
    return base64.b64encode(struct.pack(">ii", 0x1C849314, len(packed)) + packed).decode()


def latency(p50_ns: float, count: int, rng: np.random.Generator) -> Latency:
    """Response times around `p50_ns`, with a longer tail to the right, as a generator reports them."""
    spread = np.sort(rng.gumbel(0, 0.12, 99))
    values = (p50_ns * np.exp(spread - np.median(spread))).astype(int)
    each = max(1, count // values.size)
    p50, p90, p99, p99_9 = (int(value) for value in np.percentile(values, [50, 90, 99, 99.9]))
    return Latency(
        count=each * values.size,
        histogram=encode({int(value): each for value in values}),
        mean_ns=float(values.mean()),
        p50_ns=p50,
        p90_ns=p90,
        p99_ns=p99,
        p99_9_ns=p99_9,
        max_ns=int(values[-1]),
    )


def load_result(slices: list[Slice], connections: int, rng: np.random.Generator) -> LoadResult:
    measured = [part for part in slices if not part.warmup]
    requests = sum(part.requests for part in measured)
    duration_s = sum(part.duration_s for part in measured)
    response_time = latency(float(np.median([part.p50_ns for part in measured])), requests, rng)
    each = requests // connections
    return LoadResult(
        requests=requests,
        bytes_sent=64 * requests,
        bytes_received=64 * requests,
        duration_s=duration_s,
        rate_per_s=requests / duration_s,
        errors={},
        connections_opened=connections,
        connections_open_min=connections,
        requests_per_connection=RequestsPerConnection(min=each, p1=each, p50=each, max=each),
        longest_silence_ns=2 * (response_time.max_ns or 0),
        fairness=1.0,
        response_time=response_time,
        connect_time=response_time,
        first_echo_time=response_time,
        client=Client(
            cpu_user_s=0.1,
            cpu_system_s=0.2,
            cpu_ns_per_request=2800.0,
            busy=0.8,
            wait="sleep",
            in_client_share=0.05,
        ),
        checks={"littles_law_ratio": 1.0},
        slices=slices,
    )


def on(system: str, record: Record) -> Record:
    """`record` as its server's `system` would have left it; under Wine the yardstick is Linux's."""
    assert record.server is not None
    assert record.server.ready is not None
    if record.cell.contender == "epoll:c":
        system = "linux"
    ready = msgspec.structs.replace(record.server.ready, system=system)
    wine = [{"code": "windows-wine"}] if system == "windows-wine" else []
    return msgspec.structs.replace(record, server=Server(ready=ready), warnings=[*wine, *record.warnings])


def with_newcomers(record: Record, first_echo_ns: float, rng: np.random.Generator) -> Record:
    assert record.load is not None
    first_echo_time = latency(first_echo_ns * np.exp(rng.normal(0, 0.02)), 99, rng)
    cell = msgspec.structs.replace(
        record.cell, load=msgspec.structs.replace(record.cell.load, newcomers_per_s=20.0)
    )
    load = msgspec.structs.replace(record.load, first_echo_time=first_echo_time)
    return msgspec.structs.replace(record, cell=cell, load=load)


class Block:
    """All contenders at one load in one repeat."""

    def __init__(
        self, rng: np.random.Generator, repeat: int, connections: int, rounds: int, noise: float
    ) -> None:
        self.rng = rng
        self.repeat = repeat
        self.connections = connections
        self.rounds = rounds
        self.noise = noise
        self.weather = rng.normal(0, 5 * noise, rounds)

    def record(
        self, name: str, service_ns: float, *, stalls: float, drift: float, marks: Sequence[dict[str, Any]]
    ) -> Record:
        own = self.rng.normal(0, self.noise / 3) + self.rng.normal(0, self.noise, self.rounds)
        trend = np.linspace(0, np.log1p(drift), self.rounds)
        slow = np.exp(self.weather + own - trend)
        p50_ns = np.maximum(WAKE_UP_NS + service_ns, self.connections * service_ns) * slow
        rate_per_s = self.connections / p50_ns * 1e9
        stalled = self.rng.random(self.rounds) < stalls
        requests = (rate_per_s * SLICE_S * np.where(stalled, 0.05, 1)).round().astype(int)
        slices = [
            Slice(
                round=index,
                requests=int(requests[index]),
                duration_s=SLICE_S,
                rate_per_s=float(requests[index]) / SLICE_S,
                p50_ns=int(p50_ns[index]),
                p99_ns=int(1.6 * p50_ns[index]),
                in_flight_mean=float(self.connections),
                connections_served=self.connections,
                cpu_s=0.04,
                requests_total=int(requests[index]),
                span_s=SLICE_S,
                warmup=index == 0,
            )
            for index in range(self.rounds)
        ]
        cell = self.cell(name)
        ready = Ready(
            model=str(cell.model),
            implementation=str(cell.implementation),
            host="127.0.0.1",
            port=40000,
            pid=1,
            options={},
            system="linux",
            interpreter="CPython 3.11.2",
            gil=True,
        )
        return msgspec.structs.replace(
            self.nothing(name, "measured", None),
            server=Server(ready=ready),
            load=load_result(slices, self.connections, self.rng),
            samples=Samples(
                server_busy=0.98, server_cpu_ns_per_request=service_ns, server_memory_bytes=30_000_000
            ),
            warnings=list(marks),
        )

    def nothing(self, name: str, status: Any, reason: str | None) -> Record:
        return Record(
            schema=SCHEMA,
            status=status,
            repeat=self.repeat,
            block=f"connections-{self.connections}",
            started_at=f"2026-11-23T14:{self.repeat:02}:{self.connections % 60:02}Z",
            cell=self.cell(name),
            cpus=Cpus(server=[0], generator=[1]),
            reason=reason,
        )

    def cell(self, name: str) -> Cell:
        found = contender(name)
        return Cell(
            experiment="connections",
            contender=name,
            model=found.model,
            implementation=found.implementation,
            options=found.options,
            load=Load(connections=self.connections),
        )


@pytest.fixture(scope="session")
def make_records() -> MakeRecords:
    """`make_records(service_ns={"a": 4000}, connections=(1, 10), stalls={"a": 0.25}, …) -> [Record]`.

    With `first_echo_ns` clients come during the load, and have their first echo after about that time.
    """

    def make(
        service_ns: Mapping[str, float] = SERVICE_NS,
        *,
        connections: Sequence[int] = (1, 10, 100, 1000),
        repeats: int = 5,
        rounds: int = 6,
        noise: float = 0.02,
        seed: int = 1,
        stalls: Mapping[str, float] | None = None,
        drift: Mapping[str, float] | None = None,
        marks: Mapping[tuple[str, int], Sequence[dict[str, Any]]] | None = None,
        system: str = "linux",
        first_echo_ns: Mapping[str, float] | None = None,
    ) -> list[Record]:
        rng = np.random.default_rng(seed)
        blocks = [
            Block(rng, repeat, count, rounds, noise)
            for repeat in range(1, repeats + 1)
            for count in connections
        ]
        records = [
            block.record(
                name,
                ns,
                stalls=(stalls or {}).get(name, 0),
                drift=(drift or {}).get(name, 0),
                marks=(marks or {}).get((name, block.connections), ()),
            )
            for block in blocks
            for name, ns in service_ns.items()
        ]
        records = [on(system, record) for record in records]
        return [
            with_newcomers(record, first_echo_ns[record.cell.contender], rng) if first_echo_ns else record
            for record in records
        ]

    return make


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    """`make_run(records, contenders=…, results=…)`: a finished run, in a new folder if none is given."""

    def make(
        records: Sequence[Record],
        *,
        contenders: Sequence[str] | None = None,
        reference: str = "epoll",
        started_at: str = "2026-11-23T13:59:15Z",
        environment: dict[str, object] | None = None,
        results: Path | None = None,
        server_python: ServerPython | None = None,
        elsewhere: Mapping[str, list[str]] | None = None,
        judged_by: Quantity = "response_time",
        foreign_calls: Sequence[ForeignCall] = (),
        experiments: Sequence[Experiment] = (),
        precision: Precision | None = None,
        command: Sequence[str] = (),
    ) -> RunFolder:
        present = dict.fromkeys(record.cell.contender for record in records)
        names = list(contenders or [name for name in present if name != "epoll:c"])
        counts = list(dict.fromkeys(record.cell.load.connections for record in records))
        experiment = Experiment(
            name="connections",
            question="How does response time grow with connections?",
            claims=[],
            judged_by=judged_by,
            contenders=[
                msgspec.structs.replace(contender(name), elsewhere=(elsewhere or {}).get(name, []))
                for name in names
            ],
            reference=reference,
            repeats=5,
            rounds=6,
            slice_s=SLICE_S,
            load=LoadTable(connections=counts),
        )
        suite = Suite(
            schema=1,
            name="quick",
            title="Which I/O answers fastest here?",
            contenders=names,
            reference=reference,
            experiment=list(experiments) or [experiment],
        )
        run = Run(
            schema=SCHEMA,
            name="quick",
            status="running",
            started_at=started_at,
            seed=7,
            suite=msgspec.to_builtins(suite),
            environment=environment or {"system": "linux"},
            versions={"iocpbench": "0.1.0", "python": "3.11.2"},
            yardstick_sha256="0" * 64,
            server_python=server_python,
            foreign_calls=list(foreign_calls),
            precision=precision,
            command=list(command),
        )
        with RunFolder.create(results or tmp_path_factory.mktemp("results"), run) as folder:
            for key in dict.fromkeys((record.repeat, record.block) for record in records):
                folder.append([record for record in records if (record.repeat, record.block) == key])
            folder.update(
                status="finished", finished_at="2026-11-23T14:00:40Z", elapsed_s=85.0, slices_s=70.0
            )
        return folder

    return make
