"""From a suite to blocks: all contenders of an experiment under one load, measured together.

The yardstick joins every block, so that runs of other days and machines can be compared through it. A block
that this machine can't hold at once is split, and each part has the yardstick. Repeats are the outer loop and
blocks are shuffled inside, so that what changes slowly on the machine meets all of them alike.
"""

import random
from collections.abc import Iterator, Sequence

import msgspec

from bench.plan.contender import READS, Contender
from bench.plan.suite import Experiment, Suite, loads
from bench.records.schema import Arrivals, Cell, Load


class Block(msgspec.Struct, kw_only=True, frozen=True):
    """Contenders that are up together."""

    name: str
    experiment: str
    load: Load
    contenders: list[Contender]
    repeats: int
    rounds: int
    slice_s: float

    def cell(self, contender: Contender) -> Cell:
        """What a record of `contender` in this block calls itself."""
        return Cell(
            experiment=self.experiment,
            contender=contender.name,
            model=contender.model,
            implementation=contender.implementation,
            options=contender.options,
            load=self.load,
        )

    def part(self, suffix: str, contenders: list[Contender]) -> "Block":
        """The same block with other contenders, under a name of its own."""
        return msgspec.structs.replace(self, name=f"{self.name}-{suffix}", contenders=contenders)


def blocks(
    suite: Suite, yardstick: Contender, connections_at_once: int, connections_of_a_process: int | None = None
) -> list[Block]:
    """All blocks of `suite`, none with more connections than `connections_at_once` where it can be helped.

    The yardstick, which is one process, stays out of a block that takes more than `connections_of_a_process`.
    """
    most = connections_of_a_process
    whole = (
        _block(experiment, load)
        for experiment in suite.experiment
        if experiment.search is None  # which finds its blocks one by one
        for load in _first_loads(experiment)
    )
    return [part for block in whole for part in _parts(block, yardstick, connections_at_once, most)]


def _first_loads(experiment: Experiment) -> Iterator[Load]:
    """Where rates are shares of what a closed loop does, the closed loop."""
    for load in loads(experiment.load):
        yield msgspec.structs.replace(load, arrivals="constant") if experiment.offered_shares else load


def offered(block: Block, rates_per_s: Sequence[float], arrivals: Arrivals) -> list[Block]:
    """The blocks of an open loop beside `block`, which is a closed one: the same contenders, each rate."""
    letter = _ABBREVIATED["offered_per_s"]
    return [
        msgspec.structs.replace(
            block,
            name=f"{block.name}-{letter}{rate:.10g}",
            load=msgspec.structs.replace(block.load, offered_per_s=rate, arrivals=arrivals),
        )
        for rate in rates_per_s
    ]


def trial(experiment: Experiment, contender: Contender, load: Load) -> Block:
    """A block of a search: one contender alone."""
    block = _block(experiment, load)
    name = f"{block.name}-{contender.name.replace(':', '.')}"
    return msgspec.structs.replace(block, name=name, contenders=[contender], repeats=1)


def schedule(planned: list[Block], seed: int) -> Iterator[tuple[int, Block]]:
    """Every (repeat, block) in the order to measure: repeats from 1, blocks shuffled inside by `seed`."""
    for repeat in range(1, max((block.repeats for block in planned), default=0) + 1):
        order = shuffled(planned, repeat, seed)
        yield from ((repeat, block) for block in order if block.repeats >= repeat)


def shuffled(planned: list[Block], repeat: int, seed: int) -> list[Block]:
    """The order of `planned` in a repeat; that of some of them doesn't depend on the others."""
    order = list(planned)
    random.Random(f"{seed}/{repeat}").shuffle(order)
    return order


def set_apart(block: Block, restless: set[str]) -> list[Block]:
    """Take the contenders called `restless` out of `block`, each into a block with the yardstick alone."""
    yardstick = [one for one in block.contenders if one.is_yardstick]
    apart = [one for one in block.contenders if one.name in restless and not one.is_yardstick]
    rest = [one for one in block.contenders if one not in apart]
    if not apart or (len(apart) == 1 and rest == yardstick):
        return [block]
    parts = [block.part(f"alone-{one.name.replace(':', '.')}", [one, *yardstick]) for one in apart]
    return parts if rest == yardstick else [block.part("rest", rest), *parts]


# What a block's name calls the fields of its load; those at their default are left out but for the first two.
_ABBREVIATED = {
    "connections": "c",
    "message_bytes": "b",
    "depth": "d",
    "idle": "i",
    "offered_per_s": "r",
    "arrivals": "",
    "requests_per_connection": "k",
    "close": "",
    "newcomers_per_s": "n",
    "wait": "",
    "generator_threads": "t",
    "generator_processes": "p",
}


def _name(experiment: Experiment, load: Load) -> str:
    parts = [experiment.name]
    for field, letter in _ABBREVIATED.items():
        value = getattr(load, field)
        if field in ("connections", "message_bytes") or value != getattr(Load(), field):
            parts.append(f"{letter}{value:.10g}" if isinstance(value, float) else f"{letter}{value}")
    return "-".join(parts)


def _block(experiment: Experiment, load: Load) -> Block:
    return Block(
        name=_name(experiment, load),
        experiment=experiment.name,
        load=load,
        contenders=experiment.contenders,
        repeats=experiment.repeats,
        rounds=experiment.rounds,
        slice_s=experiment.slice_s,
    )


def _parts(
    block: Block, yardstick: Contender, connections_at_once: int, connections_of_a_process: int | None
) -> list[Block]:
    """`block` with the yardstick, in as many parts as the machine needs.

    Where it is a contender it is available as the yardstick is: it runs under this Python in any case.
    """
    everybody = [
        msgspec.structs.replace(one, unavailable=yardstick.unavailable) if one.is_yardstick else one
        for one in block.contenders
    ]
    block = msgspec.structs.replace(block, contenders=everybody)
    own = [one for one in block.contenders if one.is_yardstick]
    others = [one for one in block.contenders if not one.is_yardstick]
    is_too_much = connections_of_a_process is not None and block.load.held > connections_of_a_process
    # Where nobody can run, there is nothing to compare it with.
    is_needless = bool(own) or is_too_much or all(one.unavailable is not None for one in others)
    joining = [] if is_needless else [_reading_as(others, yardstick)]
    beside_yardstick = max(1, connections_at_once // block.load.held - 1)
    if len(others) <= beside_yardstick:
        return [msgspec.structs.replace(block, contenders=[*block.contenders, *joining])]
    groups = [others[i : i + beside_yardstick] for i in range(0, len(others), beside_yardstick)]
    yardsticks = own or joining
    return [block.part(f"part{number}", [*group, *yardsticks]) for number, group in enumerate(groups, 1)]


def _reading_as(others: list[Contender], yardstick: Contender) -> Contender:
    """The yardstick with reads as large as those of all `others`, where they are told how large."""
    sizes = {one.options.get(READS) for one in others if one.model is not None}
    if len(sizes) != 1 or None in sizes:
        return yardstick
    (size,) = sizes
    assert size is not None
    return msgspec.structs.replace(yardstick, options={**yardstick.options, READS: size})
