"""What a run needs before it begins."""

import msgspec
import pytest

from bench.errors import Exit, UserError
from bench.measure.block import RAMP_S, WARMUP_SLICE_S, Sizes
from bench.measure.estimate import nominal_s
from bench.measure.interpreter import own
from bench.measure.run import Servers, check, plan, servers, yardstick
from bench.plan.suite import Overrides, Suite, load


@pytest.fixture(scope="module")
def found() -> Servers:
    """What there is here."""
    return servers(own())


@pytest.fixture
def suite(found: Servers) -> Suite:
    """The default suite."""
    return load("quick", found.models, Overrides())


def test_the_yardstick_is_the_c_twin(found: Servers) -> None:
    assert found.yardstick.is_yardstick
    assert found.yardstick.implementation == "c"


def test_without_a_yardstick_there_is_a_reason() -> None:
    assert "no implementation in C" in str(yardstick([]).unavailable)


def test_a_suite_of_which_nothing_can_run_is_unavailable(suite: Suite) -> None:
    check(suite)
    contenders = suite.experiment[0].contenders
    absent = [msgspec.structs.replace(one, unavailable="it belongs to Windows") for one in contenders]
    elsewhere = msgspec.structs.replace(
        suite, experiment=[msgspec.structs.replace(suite.experiment[0], contenders=absent)]
    )
    with pytest.raises(UserError, match="it belongs to Windows") as raised:
        check(elsewhere)
    assert raised.value.exit_code == Exit.UNAVAILABLE


def test_the_nominal_time_of_quick_is_about_a_minute(suite: Suite, found: Servers) -> None:
    blocks = plan(suite, found)
    assert len(blocks) == 4
    running = sum(one.unavailable is None for one in blocks[0].contenders)
    assert 6 <= running <= 7  # with the yardstick; io_uring isn't everywhere
    few = WARMUP_SLICE_S + RAMP_S + 5 * (0.04 + RAMP_S)
    many = WARMUP_SLICE_S + RAMP_S + 5 * (0.087 + 0.058)  # 1000 connections, each waits for all others
    assert sum(block.repeats * nominal_s(block) for block in blocks) == pytest.approx(
        5 * running * (3 * few + many)
    )
    longer = Sizes(0.5, 0.1)
    assert nominal_s(blocks[0], longer) == pytest.approx(running * (WARMUP_SLICE_S + RAMP_S + 5 * 0.6))
