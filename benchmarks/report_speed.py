"""How long a report of many records takes, stage by stage, and whether twice as many take twice as long.

    python benchmarks/report_speed.py                     # 5 000, 10 000 and 20 000 records: a minute or two
    python benchmarks/report_speed.py --records 10000     # one size
    python benchmarks/report_speed.py --json              # for a program

A run of 20 contenders under as many loads as it takes, 50 repeats and 12 rounds each, is written into a
temporary folder: records as a generator leaves them, with slices, a time series of 30 points and histograms
of some hundred buckets. Half of the contenders are C twins, so the interpreter tax is computed; the most
connections of each were searched for and all claims are asked, so verdicts are computed as well. Each size is
reported in a process of its own:

- `read`: from cells.jsonl to records;
- `find`: tables, ratios, the best of each load, drift, taxes;
- `summary`: rows, answers, verdicts;
- `page`: charts as SVG and PNG, and the page.

Imports are left out of the sum: they take the same time for any run. Seconds are CPU time: a report has one
thread, and what else the machine does isn't counted.
"""

import argparse
import base64
import json
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from bench.analysis.claims import CLAIMS
from bench.garbage import no_garbage_collection
from bench.plan.contender import Contender
from bench.plan.suite import Experiment, LoadTable, Search, Suite
from bench.records.reading import CELLS_FILE
from bench.records.schema import (
    SCHEMA,
    Cell,
    Client,
    Cpus,
    Latency,
    Load,
    LoadResult,
    Ready,
    Record,
    RequestsPerConnection,
    Run,
    Samples,
    SeriesPoint,
    Server,
    Slice,
)
from bench.records.store import RunFolder

SIZES = (5_000, 10_000, 20_000)
MODELS, REPEATS, ROUNDS, POINTS = 10, 50, 12, 30
SLICE_S, RAMP_S = 0.05, 0.02
HIGHEST_NS = 3_600_000_000_000
VALUES = 20_000  # behind a histogram: they fill some hundred buckets; of a connection's first one each
STAGES = ("imports", "read", "find", "summary", "page")
NOISE = 0.02  # of a slice; the machine's, common to a round, is five times that


class Times(NamedTuple):
    """Seconds of a report, by stage."""

    records: int
    megabytes: float
    stages: dict[str, float]

    @property
    def total_s(self) -> float:
        """Without imports."""
        return sum(seconds for name, seconds in self.stages.items() if name != "imports")


def main() -> None:
    """Write, report and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", default=",".join(map(str, SIZES)), metavar="N,N", help="sizes")
    parser.add_argument("--json", action="store_true", help="one JSON array")
    parser.add_argument("--report", type=Path, metavar="RUN", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.report is not None:
        print(json.dumps(_reported(arguments.report)))
        return
    found = [_measured(int(size)) for size in arguments.records.split(",")]
    if arguments.json:
        print(json.dumps([{**one._asdict(), "total_s": one.total_s} for one in found]))
        return
    print("  ".join(f"{name:>9}" for name in ("records", "MB", *STAGES, "in all", "µs/record")))
    for one in found:
        numbers = [f"{one.records}", f"{one.megabytes:.0f}"]
        numbers += [f"{one.stages[name]:.2f}" for name in STAGES]
        numbers += [f"{one.total_s:.2f}", f"{1e6 * one.total_s / one.records:.0f}"]
        print("  ".join(f"{number:>9}" for number in numbers))


def _measured(size: int) -> Times:
    """A run of about `size` records, reported in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path, records = write_run(Path(folder), size)
        megabytes = (path / CELLS_FILE).stat().st_size / 1e6
        command = [sys.executable, __file__, "--report", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        return Times(records, megabytes, json.loads(done.stdout))


def _now_s() -> float:
    """CPU time of this process, which is the time that it takes on a machine that does nothing else."""
    return time.process_time()


def _reported(path: Path) -> dict[str, float]:
    """Seconds of each stage."""
    clock = [_now_s()]
    from bench.analysis import findings
    from bench.report import page, summary

    clock.append(_now_s())
    with no_garbage_collection():  # as in `iocpbench report`
        folder = RunFolder.open(path)
        folder.read()
        clock.append(_now_s())
        found = findings.find([folder])
        clock.append(_now_s())
        summed_up = summary.of(found)
        clock.append(_now_s())
        page.write([folder], findings=found, summary=summed_up)
        clock.append(_now_s())
    return dict(zip(STAGES, np.diff(clock).tolist(), strict=True))


# --- the run --------------------------------------------------------------------------------------


def write_run(results: Path, size: int) -> tuple[Path, int]:
    """The folder of a run of about `size` records, and how many it has."""
    rng = np.random.default_rng(7)
    contenders = [
        Contender(name=f"model{number}{suffix}", model=f"model{number}", implementation=implementation)
        for number in range(MODELS)
        for suffix, implementation in (("", "python"), (":c", "c"))
    ]
    counts = np.unique(np.geomspace(10, 100_000, max(1, size // (len(contenders) * REPEATS))).astype(int))
    run = Run(
        schema=SCHEMA,
        name="speed",
        status="finished",
        started_at="2026-11-23T13:59:15Z",
        seed=7,
        suite=msgspec.to_builtins(_suite(contenders, counts.tolist())),
        environment={"system": "linux", "cpu": {"model": "any", "allowed": 2}},
        versions={"iocpbench": "0"},
        yardstick_sha256="0" * 64,
    )
    with RunFolder.create(results, run) as folder:
        path = folder.path
    written = 0
    with (path / CELLS_FILE).open("wb") as cells:
        for record in _records(contenders, counts.tolist(), rng):
            cells.write(msgspec.json.encode(record) + b"\n")
            written += 1
    return path, written


def _suite(contenders: Sequence[Contender], counts: list[int]) -> Suite:
    shared: dict[str, Any] = {
        "contenders": list(contenders),
        "reference": contenders[0].name,
        "repeats": REPEATS,
        "rounds": ROUNDS,
        "slice_s": SLICE_S,
    }
    search = Search(maximise="connections", p99_limit_ns=10_000_000, precision=0.05, confirmations=1)
    experiments = [
        Experiment(
            name="connections", question="", claims=list(CLAIMS), load=LoadTable(connections=counts), **shared
        ),
        Experiment(name="carried", question="", claims=["C1"], load=LoadTable(), search=search, **shared),
    ]
    names = [one.name for one in contenders]
    return Suite(
        schema=1, name="speed", title="Speed", contenders=names, reference=names[0], experiment=experiments
    )


def _records(
    contenders: Sequence[Contender], counts: Sequence[int], rng: np.random.Generator
) -> Iterator[Record]:
    """Block after block, then the trials of the searches."""
    service_ns = {one.name: 3000 * 1.08**place for place, one in enumerate(contenders)}
    histograms = {
        (name, count): (_histogram(ns * count, rng), _histogram(2 * ns * count, rng, min(count, VALUES)))
        for name, ns in service_ns.items()
        for count in counts
    }
    for repeat in range(1, REPEATS + 1):
        for count in counts:
            weather = rng.normal(0, 5 * NOISE, ROUNDS + 1)
            for one in contenders:
                load = _load_result(service_ns[one.name], count, weather, histograms[one.name, count], rng)
                yield _record("connections", one, repeat, load)
    for one in contenders:
        for count, ns in ((1000, 5_000_000), (2000, 20_000_000)):  # under the limit, and over it
            own = (_histogram(ns, rng), _histogram(2 * ns, rng, min(count, VALUES)))
            load = _load_result(ns / count, count, np.zeros(ROUNDS + 1), own, rng)
            yield _record("carried", one, 1, load)


def _record(experiment: str, contender: Contender, repeat: int, load: LoadResult) -> Record:
    count = load.connections_opened
    cpu_ns = 1e9 * sum(one.server_cpu_s or 0.0 for one in load.slices) / max(load.requests, 1)
    ready = Ready(
        model=str(contender.model),
        implementation=str(contender.implementation),
        host="127.0.0.1",
        port=40000,
        pid=1,
        options={"buffer_bytes": 4096, "backlog": 4096},
        system="linux",
        interpreter="CPython 3.14.0",
        gil=True,
    )
    return Record(
        schema=SCHEMA,
        status="measured",
        repeat=repeat,
        block=f"{experiment}-{count}",
        started_at=f"2026-11-23T14:{repeat % 60:02}:00Z",
        cell=Cell(
            experiment=experiment,
            contender=contender.name,
            model=contender.model,
            implementation=contender.implementation,
            options={},
            load=Load(connections=count),
        ),
        cpus=Cpus(server=[0], generator=[1]),
        slice_s=SLICE_S,
        ramp_s=RAMP_S,
        server=Server(ready=ready),
        load=load,
        samples=Samples(server_busy=0.98, server_cpu_ns_per_request=cpu_ns, server_memory_bytes=30_000_000),
    )


def _load_result(
    service_ns: float, count: int, weather: np.ndarray, histograms: tuple[str, str], rng: np.random.Generator
) -> LoadResult:
    p50_ns = service_ns * count * np.exp(weather + rng.normal(0, NOISE, weather.size))
    requests = np.maximum((SLICE_S * count / p50_ns * 1e9).astype(int), 1).tolist()
    slices = [
        Slice(
            round=place,
            requests=done,
            duration_s=SLICE_S,
            rate_per_s=done / SLICE_S,
            p50_ns=int(ns),
            p99_ns=int(1.6 * ns),
            in_flight_mean=float(count),
            connections_served=count,
            cpu_s=0.04,
            requests_total=done,
            span_s=SLICE_S,
            warmup=place == 0,
            server_cpu_s=done * service_ns / 1e9,
        )
        for place, (done, ns) in enumerate(zip(requests, p50_ns.tolist(), strict=True))
    ]
    series = [
        SeriesPoint(
            t_s=0.1 * (place + 1),
            requests=requests[1],
            in_flight=count,
            connections_open=count,
            connections_served=count,
            p50_ns=slices[1].p50_ns,
            p99_ns=slices[1].p99_ns,
        )
        for place in range(POINTS)
    ]
    median_ns = int(np.median(p50_ns))
    times = Latency(
        count=sum(requests),
        histogram=histograms[0],
        mean_ns=float(median_ns),
        p50_ns=median_ns,
        p90_ns=int(1.2 * median_ns),
        p99_ns=int(1.6 * median_ns),
        p99_9_ns=2 * median_ns,
        max_ns=3 * median_ns,
    )
    first_times = msgspec.structs.replace(times, count=min(count, VALUES), histogram=histograms[1])
    total = sum(requests[1:])
    return LoadResult(
        requests=total,
        bytes_sent=64 * total,
        bytes_received=64 * total,
        duration_s=ROUNDS * SLICE_S,
        rate_per_s=total / (ROUNDS * SLICE_S),
        errors={},
        connections_opened=count,
        connections_open_min=count,
        requests_per_connection=RequestsPerConnection(min=1, p1=1, p50=2, max=3),
        longest_silence_ns=4 * median_ns,
        fairness=1.0,
        response_time=times,
        connect_time=first_times,
        first_echo_time=first_times,
        client=Client(cpu_user_s=0.1, cpu_system_s=0.2, cpu_ns_per_request=2800.0, busy=0.8, wait="sleep"),
        checks={"littles_law_ratio": 1.0},
        slices=slices,
        series=series,
    )


def _histogram(p50_ns: float, rng: np.random.Generator, count: int = VALUES) -> str:
    """HdrHistogram V2, base64, of `count` values around `p50_ns`."""
    values = (p50_ns * np.exp(rng.gumbel(0, 0.12, count))).astype(np.int64)
    shifts = np.maximum(np.floor(np.log2(values)).astype(np.int64) - 10, 0)
    indices, counts = np.unique((shifts << 10) + (values >> shifts), return_counts=True)
    payload, expected = bytearray(), 0
    for index, filled in zip(indices.tolist(), counts.tolist(), strict=True):
        if index > expected:
            payload += _leb128(expected - index)  # negative: that many empty buckets
        payload += _leb128(filled)
        expected = index + 1
    header = struct.pack(">iiiiqqd", 0x1C849313, len(payload), 0, 3, 1, HIGHEST_NS, 1.0)
    packed = zlib.compress(header + payload)
    return base64.b64encode(struct.pack(">ii", 0x1C849314, len(packed)) + packed).decode()


def _leb128(number: int) -> bytes:
    zigzag = (number << 1) ^ (number >> 63)
    octets = bytearray()
    while zigzag > 0x7F:
        octets.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    octets.append(zigzag)
    return bytes(octets)


if __name__ == "__main__":
    main()
