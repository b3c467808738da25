"""One block measured once: all its servers and generators up, load in slices that move between them.

The machine's own speed wanders by 10 % for seconds at a time. Contenders that are measured one after the
other are told apart from that only by very long runs; measured in turns of 50 ms, in a fresh random order
each round, they meet the same weather, and their ratio within a round has a fifth to a twentieth of the
spread.

During a slice this process is blocked in a read: it draws nothing, samples nothing, collects no garbage.
Sources: Abedi and Brecht, "Conducting Repeatable Experiments in Highly Variable Cloud Computing
Environments" (ICPE 2017); Bulej et al., "Duet Benchmarking" (ICPE 2020).
"""

import queue
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from bench.garbage import no_garbage_collection
from bench.measure.marks import WAITING_SHARE, marks, wine_mark
from bench.measure.process import Child, Inbox, cpu_tick_ns, next_message
from bench.measure.sampler import ForeignCpu, Shares
from bench.measure.setup import Conditions, Setup
from bench.plan.cells import Block
from bench.records.schema import SCHEMA, LoadResult, Record, Samples, Slice

START_TIMEOUT_S = 30.0
CONNECTS_PER_S_MIN = 1000  # each with its first echo, on a busy machine
ANSWER_TIMEOUT_S = 30.0  # past the slice: load goes on until the last request is back, 5 s at most
RAMP_S = 0.02
WARMUP_SLICE_S = 0.025  # long enough to know the median of what is slow, and nothing else is taken from it
# So many median response times of the slowest contender fit into a slice, and into a ramp. With ten and three
# a round of 1000 connections takes three times as long, and the same time in more slices tells more.
SLICE_RESPONSES, RAMP_RESPONSES = 3, 2
# After a slice load goes on until all that was started in it is back, for so many slices at most. With 1000
# connections the model `threads` starves one or two for a second: of 100 s of the suite `quick` 24 went into
# waiting for them. What is cut short is counted (`censored`).
LINGER_SLICES = 3
SLOWEST_MAX_S = 1.0  # slices of 3 s: enough to see a server that takes as long as the response timeout, 5 s
RESTLESS_MIN_NS = 5_000_000  # of CPU time: in a short run 1 % of the waiting time is a single wake-up

OnRound = Callable[[int], None]


class Sizes(NamedTuple):
    """How long a slice is, and the ramp before it: the same for all of a block."""

    slice_s: float
    ramp_s: float


def sizes_for(slice_s: float, slowest_ns: int) -> Sizes:
    """Long enough that the slowest contender answers so often in a slice and in a ramp."""
    slowest_s = min(slowest_ns / 1e9, SLOWEST_MAX_S)
    return Sizes(max(slice_s, SLICE_RESPONSES * slowest_s), max(RAMP_S, RAMP_RESPONSES * slowest_s))


class Measured(NamedTuple):
    """What a block gave: records, and what the next repeat should know."""

    records: list[Record]
    sizes: Sizes  # after the warm-up
    restless: set[str]  # contenders that used CPU time while others had the load
    slices_s: float  # with load on: ramps, the wait for the last requests and the warm-up round included


def measure(block: Block, repeat: int, conditions: Conditions, on_round: OnRound) -> Measured:
    """Measure `block` once with fresh processes.

    Whatever happens, none of the processes is left when this returns or raises.
    """
    started_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    prefix = f"{block.name}-{repeat}"
    setups = [Setup(contender, block.load, conditions, prefix) for contender in block.contenders]
    conversation = _Conversation(setups)
    with conversation:
        conversation.start()
        rounds = _Rounds(block, repeat, conditions.seed, conversation)
        with no_garbage_collection():
            foreign = ForeignCpu(_own_cpu_ns(setups))
            rounds.run(on_round)
            shares = foreign.shares(_own_cpu_ns(setups))
        conversation.finish()
    records = [
        _record(
            setup,
            block=block,
            repeat=repeat,
            started_at=started_at,
            sizes=rounds.sizes,
            conditions=conditions,
            shares=shares,
        )
        for setup in setups
    ]
    return Measured(records, rounds.sizes, _restless(setups), rounds.slices_s)


class _Conversation:
    """All processes of a block, and the inbox that what they say comes into."""

    def __init__(self, setups: list[Setup]) -> None:
        self.setups = setups
        self._inbox: Inbox = queue.SimpleQueue()
        self._setup_of: dict[Child, Setup] = {}

    def __enter__(self) -> "_Conversation":
        return self

    def __exit__(self, *_: object) -> None:
        children = [child for setup in self.setups for child in setup.children]
        for child in children:
            child.close_stdin()
        for setup in self.setups:
            for child in setup.children:
                if setup.contender.command is not None and child is setup.server:
                    child.terminate()  # it need not know that the end of stdin means the end
                child.end()
            setup.close()

    def start(self) -> None:
        """Start all servers at once, and each generator as soon as its server listens."""
        for setup in self.setups:
            setup.start(self._inbox)
        for setup in self.setups:
            setup.wait_until_listening()
        timeout_s = START_TIMEOUT_S + sum(setup.load.held for setup in self.setups) / CONNECTS_PER_S_MIN
        self._listen(lambda: all(setup.is_settled for setup in self.setups), timeout_s)
        for setup in self.setups:
            if not setup.is_settled:
                setup.give_up("failed", f"not all connections were open after {timeout_s:.0f} s")
            setup.sample_server()

    def ask(self, setup: Setup, size: Sizes, round_number: int) -> Slice | None:
        """One slice of load on one contender, not counted in round 0; None where it failed."""
        assert setup.generator is not None
        setup.slice = None
        is_warmup = round_number == 0
        linger_s = 0.0 if is_warmup else LINGER_SLICES * size.slice_s
        setup.generator.send(
            {**size._asdict(), "linger_s": linger_s, "round": round_number, "warmup": is_warmup}
        )
        self._listen(lambda: setup.slice is not None or setup.is_over, sum(size) + ANSWER_TIMEOUT_S)
        if setup.slice is None:
            setup.give_up("failed", "the generator gave no answer to a slice")
        return setup.slice

    def finish(self) -> None:
        """Collect the results, then the servers' last words."""
        running = [setup for setup in self.setups if not setup.is_over]
        for setup in running:
            assert setup.generator is not None
            setup.generator.close_stdin()
        self._listen(lambda: all(setup.is_over for setup in running), ANSWER_TIMEOUT_S)
        for setup in self.setups:
            setup.give_up("failed", "the generator gave no result")
            if setup.server is not None:
                setup.server.close_stdin()
        stopping = [setup for setup in self.setups if setup.ready is not None]
        self._listen(lambda: all(setup.has_server_ended for setup in stopping), ANSWER_TIMEOUT_S)

    def _listen(self, until: Callable[[], bool], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not until():
            message = next_message(self._inbox, deadline)
            if message is None:
                return
            if message.child not in self._setup_of:
                self._setup_of = {child: setup for setup in self.setups for child in setup.children}
            self._setup_of[message.child].handle(message)


class _Rounds:
    """The measurement proper: a warm-up round, from which the sizes come, then the counted ones."""

    def __init__(self, block: Block, repeat: int, seed: int, conversation: _Conversation) -> None:
        self._block = block
        self._order_seed = f"{seed}/{repeat}/{block.name}"
        self._conversation = conversation
        self.sizes = Sizes(min(WARMUP_SLICE_S, block.slice_s), RAMP_S)
        self.slices_s = 0.0

    def run(self, on_round: OnRound) -> None:
        """Measure all rounds; a contender that fails drops out."""
        for round_number in range(self._block.rounds + 1):
            on_round(round_number)
            order = [setup for setup in self._conversation.setups if not setup.is_over]
            random.Random(f"{self._order_seed}/{round_number}").shuffle(order)
            if round_number == 0:
                medians_ns = {setup: self._median_ns(setup) for setup in order}
                self.sizes = self._needed(medians_ns)
            else:
                for setup in order:
                    self._slice(setup, round_number)

    def _needed(self, medians_ns: dict[Setup, int]) -> Sizes:
        """The sizes that the slowest contender needs.

        A median that would make the slices longer is measured again first: the machine standing still for a
        moment, in one slice of the warm-up, would make the whole block take several times as long.
        """
        confirmed: set[Setup] = set()
        while medians_ns:
            slowest = max(medians_ns, key=medians_ns.__getitem__)
            sizes = sizes_for(self._block.slice_s, medians_ns[slowest])
            if slowest in confirmed or sizes == Sizes(self._block.slice_s, RAMP_S):
                return sizes
            medians_ns[slowest] = min(medians_ns[slowest], self._median_ns(slowest) or medians_ns[slowest])
            confirmed.add(slowest)
        return self.sizes  # nobody is left

    def _median_ns(self, setup: Setup) -> int:
        """The median response time in a slice of the warm-up; 0 where the contender failed."""
        measured = None if setup.is_over else self._slice(setup, 0)
        if measured is None:
            return 0
        # Slower than slice and ramp: no request was started inside, and all that there was took the span.
        return measured.p50_ns or round(measured.span_s * 1e9)

    def _slice(self, setup: Setup, round_number: int) -> Slice | None:
        assert setup.server is not None
        assert setup.generator is not None
        server_before_ns = setup.server.cpu_ns()
        setup.waiting.slice_begins(time.perf_counter_ns(), server_before_ns, setup.generator.cpu_ns())
        measured = self._conversation.ask(setup, self.sizes, round_number)
        server_after_ns = setup.server.cpu_ns()
        setup.waiting.slice_ended(time.perf_counter_ns(), server_after_ns, setup.generator.cpu_ns())
        setup.server_cpu_s[round_number] = (server_after_ns - server_before_ns) / 1e9
        self.slices_s += measured.span_s if measured else sum(self.sizes)
        return measured


def _own_cpu_ns(setups: list[Setup]) -> int:
    return sum(child.cpu_ns() for setup in setups for child in setup.children)


def _restless(setups: list[Setup]) -> set[str]:
    return {
        setup.contender.name
        for setup in setups
        if setup.waiting.share > WAITING_SHARE
        and max(setup.waiting.server_ns, setup.waiting.generator_ns) > RESTLESS_MIN_NS
    }


def _record(
    setup: Setup,
    *,
    block: Block,
    repeat: int,
    started_at: str,
    sizes: Sizes,
    conditions: Conditions,
    shares: Shares,
) -> Record:
    result = setup.result if setup.status == "measured" else None
    samples = _samples(setup, result, shares)
    if cpu_tick_ns() == 0:
        result = _with_server_cpu(result, setup.server_cpu_s)
    figures = marks(block.load, result, samples, conditions.cpu_count) if result else []
    return Record(
        schema=SCHEMA,
        status=setup.status,
        reason=setup.reason,
        repeat=repeat,
        block=block.name,
        started_at=started_at,
        cell=block.cell(setup.contender),
        cpus=conditions.cpus,
        slice_s=sizes.slice_s if result else None,
        ramp_s=sizes.ramp_s if result else None,
        server=setup.server_record(),
        load=result,
        samples=samples if result else Samples(),
        warnings=[*wine_mark(setup.systems), *figures],
    )


def _with_server_cpu(result: LoadResult | None, server_cpu_s: dict[int, float]) -> LoadResult | None:
    """`result` with the server's CPU time put into each slice."""
    if result is None:
        return None
    slices = [msgspec.structs.replace(one, server_cpu_s=server_cpu_s.get(one.round)) for one in result.slices]
    return msgspec.structs.replace(result, slices=slices)


def _samples(setup: Setup, result: LoadResult | None, shares: Shares) -> Samples:
    """CPU times over all slices together: on Windows the difference over one is a few clock ticks or none."""
    if result is None:
        return Samples()
    requests = sum(one.requests_total for one in result.slices)
    is_told = cpu_tick_ns() is not None
    cpu_s = sum(setup.server_cpu_s.get(one.round, 0.0) for one in result.slices) if is_told else None
    cpu_s_per_request = cpu_s / requests if requests and cpu_s is not None else None
    return Samples(
        server_cpu_s=cpu_s,
        server_cpu_ns_per_request=None if cpu_s_per_request is None else cpu_s_per_request * 1e9,
        server_busy=None if cpu_s_per_request is None else cpu_s_per_request * result.rate_per_s,
        server_waiting_cpu_share=setup.waiting.server_share,
        server_memory_bytes=setup.sample.memory_bytes,
        server_memory_before_bytes=setup.sample_before.memory_bytes,
        server_kernel_bytes=setup.sample.kernel_bytes,
        server_kernel_before_bytes=setup.sample_before.kernel_bytes,
        server_threads=setup.sample.threads,
        server_descriptors=setup.sample.descriptors,
        server_private_bytes=setup.sample.private_bytes,
        foreign_cpu_share=shares[0],
        steal_share=shares[1],
    )
