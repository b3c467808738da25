"""About how long a run will take: for a plan that nobody has measured yet, and for what is left of one."""

from bench.measure.block import RAMP_S, WARMUP_SLICE_S, Sizes, sizes_for
from bench.measure.search import expected_trials
from bench.plan.cells import Block, trial
from bench.plan.suite import Experiment, Suite, loads

START_S, STARTS_S = 0.5, 0.07  # about what a block takes besides its slices: in all, and a contender
SLOWEST_REQUEST_NS = 29_000  # what a request takes the slowest in the warm-up, until one was measured
BUDGET_TIMES, BUDGET_MIN_S = 3, 600.0


def _guessed_sizes(block: Block) -> Sizes:
    """Those that the slowest will need, about: in a closed loop each connection waits for all others."""
    load = block.load
    is_closed = not (load.offered_per_s or load.newcomers_per_s)
    in_flight = load.connections * load.depth if is_closed else 0
    return sizes_for(block.slice_s, in_flight * SLOWEST_REQUEST_NS)


def nominal_s(block: Block, sizes: Sizes | None = None) -> float:
    """The time of one repeat of `block` in slices, ramps and the warm-up round included."""
    slice_s, ramp_s = sizes or _guessed_sizes(block)
    warmup_s = min(WARMUP_SLICE_S, block.slice_s) + RAMP_S
    measured = sum(one.unavailable is None for one in block.contenders)
    return measured * (warmup_s + block.rounds * (slice_s + ramp_s))


def expected_s(block: Block, sizes: Sizes | None = None) -> float:
    """About how long one repeat of `block` takes, with starting and ending its processes."""
    measured = sum(one.unavailable is None for one in block.contenders)
    return nominal_s(block, sizes) + (START_S + STARTS_S * measured if measured else 0)


def offers_s(suite: Suite, planned: list[Block]) -> float:
    """About how long the open loops take whose rates are found while measuring."""
    rates = {one.name: len(one.offered_shares) for one in suite.experiment}
    return sum(rates[block.experiment] * block.repeats * expected_s(block) for block in planned)


def searches_s(experiment: Experiment) -> float:
    """About how long the searches of an experiment take; 0 where it has none."""
    if experiment.search is None:
        return 0.0
    trials = [
        trial(experiment, one, load) for load in loads(experiment.load) for one in experiment.contenders
    ]
    return expected_trials(experiment.search) * sum(map(expected_s, trials))


def own_s(suite: Suite, planned: list[Block]) -> float:
    """About how long the repeats take that `suite` asks for."""
    return sum(block.repeats * expected_s(block) for block in planned) + offers_s(suite, planned)


def default_budget_s(suite: Suite, planned: list[Block]) -> float:
    """How long a run may be measured until it is precise, where nobody says.

    Three times as long as it takes without, so that intervals may get half as wide; ten minutes at least.
    """
    return max(BUDGET_MIN_S, BUDGET_TIMES * own_s(suite, planned))
