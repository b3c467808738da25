"""The types of everything a run writes: `run.json` and each line of `cells.jsonl`.

Names end in their unit; times are integer nanoseconds unless the name says seconds. What servers and
generators print is decoded into these types as it arrives, so a field that is missing or has the wrong type
is found then, not in a chart. Fields that a program adds later are ignored by older readers. All types are
immutable: raw records are never edited.

Version history of `SCHEMA`:

1. the first
"""

from typing import Literal

import msgspec

SCHEMA = 1
FIRST_SCHEMA = 1  # the oldest that can be read

Value = str | int | float | bool | None
Status = Literal["measured", "unavailable", "refused", "failed"]
Arrivals = Literal["constant", "poisson"]
Mark = dict[str, Value]
"""`{"code": …}` and the figures that show it: something that limits what a record may be used for."""


# --- what a server process says -------------------------------------------------------------------


class Ready(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """A server listens; `options` are the effective values, `connections_max` None where unlimited.

    `pids` are the processes that serve, where they aren't the one that says it.
    """

    model: str
    implementation: str
    host: str
    port: int
    pid: int
    options: dict[str, Value]
    system: str
    interpreter: str
    gil: bool
    connections_max: int | None = None
    pids: list[int] = []


class Stopped(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """A server has ended in order; `errors` counts what went wrong by the system's own name."""

    connections_accepted: int
    connections_open_max: int
    errors: dict[str, int] = {}


class Server(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """Both ends of a server process; None where it never got there."""

    ready: Ready | None = None
    stopped: Stopped | None = None


# --- what a generator process says ----------------------------------------------------------------


class Latency(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """A distribution of times: figures to read, and the whole HdrHistogram V2 (base64) to add up."""

    count: int
    histogram: str
    mean_ns: float | None = None  # None where nothing was recorded
    p50_ns: int | None = None
    p90_ns: int | None = None
    p99_ns: int | None = None
    p99_9_ns: int | None = None
    max_ns: int | None = None


class Slice(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """One slice of load: what the generator answers to one line on its stdin.

    `requests`, `duration_s`, `rate_per_s` and `cpu_s` are of the window, the percentiles of requests started
    inside it. `requests_total` and `span_s` are of the whole slice, ramp and drain included: what a server's
    CPU time over the slice is to be divided by. `censored` requests were still out when load went off: under
    load they would have taken longer than they did.
    """

    round: int
    requests: int
    duration_s: float
    rate_per_s: float
    p50_ns: int | None
    p99_ns: int | None
    in_flight_mean: float
    connections_served: int
    cpu_s: float
    requests_total: int
    span_s: float
    censored: int = 0
    due: int | None = None  # open loop: requests that the schedule has in the window
    warmup: bool = False
    server_cpu_s: float | None = None  # added by the harness: the server's CPU time over the whole slice


class SeriesPoint(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """One interval of the time series, `t_s` at its end, from the start of the measured window."""

    t_s: float
    requests: int
    in_flight: int
    connections_open: int
    connections_served: int
    p50_ns: int | None
    p99_ns: int | None


class RequestsPerConnection(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """How evenly the connections were served."""

    min: int
    p1: int
    p50: int
    max: int


class Client(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """The generator's own cost: whether it was the bottleneck can be told from this."""

    cpu_user_s: float
    cpu_system_s: float
    cpu_ns_per_request: float | None
    busy: float
    wait: str
    spun_s: float = 0.0  # of the CPU time: in looking for what wasn't there yet; `busy` is without it
    threads: int = 1
    processes: int = 1
    memory_bytes_per_connection: float | None = None
    lateness_p99_ns: int | None = None
    in_client_share: float | None = None


class OpenLoop(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """What a schedule asked for and what came of it: `reached` is requests done over requests due.

    `given_up` were never sent: too many waited on their connection. `lateness` is the generator's own, of
    requests that nothing else kept waiting.
    """

    rate_per_s: float
    arrivals: str
    due: int
    given_up: int
    reached: float | None
    lateness_p50_ns: int | None
    lateness_p99_ns: int | None
    lateness_max_ns: int | None


class IdleCrowd(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """Connections that were to echo once, be silent, and echo once more."""

    connections: int
    opened: int
    open: int
    echoed_again: int


class Ever(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """Counts from the first connect to the last echo, warm-ups and all, for comparing with other counters.

    What the kernel counted on the same connections is None where it doesn't tell.
    """

    connections: int
    echoes: int
    bytes_sent: int
    bytes_received: int
    kernel_bytes_sent: int | None = None
    kernel_bytes_received: int | None = None


class LoadResult(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """The generator's result: DESIGN of the generator process has each field's meaning."""

    requests: int
    bytes_sent: int
    bytes_received: int
    duration_s: float
    rate_per_s: float
    errors: dict[str, int]
    connections_opened: int
    connections_open_min: int
    requests_per_connection: RequestsPerConnection
    longest_silence_ns: int
    fairness: float | None
    response_time: Latency
    connect_time: Latency
    first_echo_time: Latency
    client: Client
    checks: dict[str, float | None]
    bandwidth_bytes_per_s: float | None = None
    ever: Ever | None = None
    open_loop: OpenLoop | None = None
    service_time: Latency | None = None
    idle: IdleCrowd | None = None
    series: list[SeriesPoint] = []
    slices: list[Slice] = []


# --- a cell's record ------------------------------------------------------------------------------


class Load(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """What the generator does in a cell. What is 0 isn't done: without a rate the loop is closed."""

    connections: int = 1
    idle: int = 0
    message_bytes: int = 64
    depth: int = 1
    offered_per_s: float = 0.0  # requests: an open loop's rate
    arrivals: Arrivals = "constant"
    requests_per_connection: int = 0
    close: Literal["fin", "reset"] = "fin"
    newcomers_per_s: float = 0.0
    wait: Literal["sleep", "spin"] = "sleep"
    generator_threads: int = 1
    generator_processes: int = 0  # 0: as many as descriptors make necessary

    @property
    def held(self) -> int:
        """Connections that are to be open at once."""
        return self.connections + self.idle


class Cell(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """One contender under one load."""

    experiment: str
    contender: str
    model: str | None  # None where the contender is anybody's command
    implementation: str | None
    options: dict[str, Value]
    load: Load


class Cpus(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """Which CPUs each side was kept to; None: wherever the system put it."""

    server: list[int] | None
    generator: list[int] | None


class Samples(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """What the sampler read beside the load. CPU times are over all measured slices of the repeat."""

    server_cpu_s: float | None = None
    server_cpu_ns_per_request: float | None = None
    server_busy: float | None = None  # of one CPU, while under load
    server_waiting_cpu_share: float | None = None  # CPU time while others had the load, over that time
    server_memory_bytes: int | None = None  # resident, with all connections open
    server_memory_before_bytes: int | None = None  # resident, when it listened and before there was one
    server_kernel_bytes: int | None = None  # what the kernel holds for it; None where it doesn't tell
    server_kernel_before_bytes: int | None = None
    server_threads: int | None = None
    server_descriptors: int | None = None  # on Windows its handles: sockets, files, events, threads
    server_private_bytes: int | None = None  # committed to it alone, in memory or not; None on Linux
    foreign_cpu_share: float | None = None  # of all CPUs, by processes that aren't the run's
    steal_share: float | None = None  # of all CPUs, taken by the hypervisor


class Record(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """What one cell leaves in `cells.jsonl` after one repeat. `load` is None unless it was measured."""

    schema: int
    status: Status
    repeat: int
    block: str  # blocks of the same name in the same repeat were measured together
    started_at: str  # ISO 8601, UTC
    cell: Cell
    cpus: Cpus
    reason: str | None = None
    slice_s: float | None = None
    ramp_s: float | None = None
    server: Server | None = None
    load: LoadResult | None = None
    samples: Samples = Samples()
    warnings: list[Mark] = []


# --- run.json -------------------------------------------------------------------------------------


class ServerPython(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """A Python that servers run under: `CPython 3.11.9`, its system as in `Ready`, whether it has the GIL."""

    interpreter: str
    system: str
    gil: bool


class CallCost(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """What one call took, over batches of calls."""

    p25_ns: float
    p50_ns: float
    p75_ns: float


class ForeignCall(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """One system call of the servers' Python, made from a module in C and through ctypes; it costs both."""

    call: str
    arguments: int
    batches: int
    module: CallCost
    ctypes: CallCost


class Precision(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """How precise ratios are to be, and the rule by which repeats are added: `bench.measure.precision`."""

    target: float  # half of an interval's width: 0.02 is 2 % to either side
    budget_s: float  # of measuring: past it no repeat is added
    looks_from: int  # repeats: with fewer no interval is looked at
    level: float  # of each interval, so that 95 % hold although they are looked at


class Run(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """`run.json`: everything that is true of the whole run."""

    schema: int
    name: str
    status: Literal["running", "finished", "interrupted", "failed"]
    started_at: str
    seed: int
    suite: dict[str, object]  # the suite as resolved: every default filled in, every override applied
    environment: dict[str, object]
    versions: dict[str, str]
    yardstick_sha256: str | None
    server_python: ServerPython | None = None  # None: the one that `environment` describes
    foreign_calls: list[ForeignCall] = []  # empty where it couldn't be measured, and in older runs
    precision: Precision | None = None  # None: as many repeats as the suite says
    command: list[str] = []  # what `iocpbench` was begun with, without places; empty in older runs
    finished_at: str | None = None
    elapsed_s: float | None = None  # of measuring; over several sittings, their sum
    slices_s: float | None = (
        None  # with load on: ramps, the wait for last requests, the warm-up round included
    )
