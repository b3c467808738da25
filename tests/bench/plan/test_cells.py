"""Blocks: who is measured with whom, and in which order."""

import sys
from collections.abc import Callable

import msgspec
import pytest

from bench.errors import UserError
from bench.plan.cells import Block, blocks, schedule, set_apart, shuffled
from bench.plan.contender import Contender
from bench.plan.suite import Suite

SuiteOf = Callable[..., Suite]
BEST, OPTION = ("iocp", "threads = 1") if sys.platform == "win32" else ("epoll", 'trigger = "edge"')
YARDSTICK = Contender(name=f"{BEST}:c", model=BEST, implementation="c")
A = '[[experiment]]\nname = "a"\n'
TEXT = f'contenders = ["epoll", "threads", "iocp"]\n{A}load = {{ connections = [1, 100] }}\n'


def _names(block: Block) -> list[str]:
    return [one.name for one in block.contenders]


@pytest.fixture
def planned(suite_of: SuiteOf) -> list[Block]:
    """Two blocks of three contenders and the yardstick."""
    return blocks(suite_of(TEXT), YARDSTICK, 1_000_000)


def test_the_yardstick_joins_every_block(planned: list[Block]) -> None:
    assert [block.load.connections for block in planned] == [1, 100]
    for block in planned:
        assert _names(block) == ["epoll", "threads", "iocp", YARDSTICK.name]
    assert len({block.name for block in planned}) == 2


def test_the_yardstick_joins_once_also_under_another_name(suite_of: SuiteOf) -> None:
    suite = suite_of(
        f'[contender.mine]\nmodel = "{YARDSTICK.name}"\n[[experiment]]\nname = "a"\ncontenders = ["mine"]\n'
    )
    (block,) = blocks(suite, YARDSTICK, 1000)
    assert _names(block) == ["mine"]


def test_the_yardstick_with_an_option_set_is_another_contender(suite_of: SuiteOf) -> None:
    suite = suite_of(
        f'[contender.other]\nmodel = "{YARDSTICK.name}"\noptions = {{ {OPTION} }}\n'
        '[[experiment]]\nname = "a"\ncontenders = ["other", "threads"]\n'
    )
    (block,) = blocks(suite, YARDSTICK, 10_000)
    assert _names(block) == ["other", "threads", YARDSTICK.name]


def test_where_nobody_can_run_the_yardstick_does_not_either(suite_of: SuiteOf) -> None:
    (block,) = blocks(suite_of(f'{A}contenders = ["iocp"]\n'), YARDSTICK, 10_000)
    assert _names(block) == ["iocp"]


def test_the_yardstick_reads_as_much_at_once_as_the_others(suite_of: SuiteOf) -> None:
    def of(options: str) -> Contender:
        text = f'{A}contenders = ["epoll", "threads"]\noptions = {{ {options} }}\n'
        return blocks(suite_of(text), YARDSTICK, 1000)[0].contenders[-1]

    assert of("").options == {}
    large = of("buffer_bytes = 65536")
    assert (large.name, large.options) == (YARDSTICK.name, {"buffer_bytes": 65536})
    assert large.is_yardstick
    assert of("buffer_bytes = [4096, 65536]").options == {}


def test_the_yardstick_runs_as_this_machine_has_it_wherever_the_servers_run(suite_of: SuiteOf) -> None:
    """Under another Python the model may be another system's: the yardstick is run by this one."""
    suite = suite_of(f'contenders = ["threads", "{YARDSTICK.name}"]\n{A}')
    elsewhere = [
        msgspec.structs.replace(one, unavailable="belongs elsewhere")
        for one in suite.experiment[0].contenders
    ]
    suite = msgspec.structs.replace(
        suite, experiment=[msgspec.structs.replace(suite.experiment[0], contenders=elsewhere)]
    )
    (block,) = blocks(suite, YARDSTICK, 1000)
    assert [one.unavailable for one in block.contenders] == ["belongs elsewhere", None]


def test_another_systems_best_is_no_yardstick_here() -> None:
    other = "epoll" if BEST == "iocp" else "iocp"
    assert YARDSTICK.is_yardstick
    assert not Contender(name="x", model=other, implementation="c").is_yardstick


def test_a_block_that_does_not_fit_is_split_and_each_part_has_the_yardstick(suite_of: SuiteOf) -> None:
    small, *parts = blocks(suite_of(TEXT), YARDSTICK, 300)
    assert _names(small) == ["epoll", "threads", "iocp", YARDSTICK.name]
    assert [_names(part) for part in parts] == [
        ["epoll", "threads", YARDSTICK.name],
        ["iocp", YARDSTICK.name],
    ]
    assert len({part.name for part in parts}) == 2


def test_every_load_of_the_axes_is_a_block(suite_of: SuiteOf) -> None:
    suite = suite_of(
        f'contenders = ["epoll"]\n{A}load = {{ connections = [1, 2], message_bytes = [64, 4096], '
        'depth = [1, 8], wait = ["sleep", "spin"] }\n'
    )
    found = blocks(suite, YARDSTICK, 1000)
    assert len({block.load for block in found}) == len({block.name for block in found}) == 16


def test_repeats_are_the_outer_loop_and_the_seed_decides_inside(suite_of: SuiteOf) -> None:
    text = f'contenders = ["epoll"]\nrepeats = 3\n{A}load = {{ connections = [1, 2, 3, 4, 5] }}\n'
    found = blocks(suite_of(text), YARDSTICK, 1000)
    order = list(schedule(found, seed=7))
    assert [repeat for repeat, _ in order] == [1] * 5 + [2] * 5 + [3] * 5
    for repeat in (1, 2, 3):
        assert {block.name for at, block in order if at == repeat} == {block.name for block in found}
    assert order == list(schedule(found, seed=7))
    assert order != list(schedule(found, seed=8))
    assert [block for at, block in order if at == 1] != [block for at, block in order if at == 2]


def test_what_is_left_out_of_a_repeat_leaves_the_order_of_the_others(suite_of: SuiteOf) -> None:
    """So that a run which is resumed in the middle of one goes on as it would have."""
    text = f'contenders = ["epoll"]\n{A}load = {{ connections = [1, 2, 3, 4, 5, 6] }}\n'
    found = blocks(suite_of(text), YARDSTICK, 1000)
    order = shuffled(found, 7, seed=3)
    assert order != found
    assert sorted(block.name for block in order) == sorted(block.name for block in found)
    fewer = [msgspec.structs.replace(block, repeats=6 + number % 2) for number, block in enumerate(found)]
    seventh = [block.name for repeat, block in schedule(fewer, seed=3) if repeat == 7]
    kept = {block.name for block in fewer if block.repeats == 7}
    assert seventh == [block.name for block in order if block.name in kept]


def test_an_experiment_with_fewer_repeats_ends_earlier(suite_of: SuiteOf) -> None:
    suite = suite_of(f'contenders = ["epoll"]\n{A}repeats = 1\n[[experiment]]\nname = "b"\nrepeats = 3\n')
    order = list(schedule(blocks(suite, YARDSTICK, 1000), seed=1))
    assert sorted((block.experiment, repeat) for repeat, block in order) == [
        ("a", 1),
        ("b", 1),
        ("b", 2),
        ("b", 3),
    ]


def test_who_disturbs_the_others_is_measured_beside_the_yardstick_alone(planned: list[Block]) -> None:
    rest, alone = set_apart(planned[0], {"threads"})
    assert _names(rest) == ["epoll", "iocp", YARDSTICK.name]
    assert _names(alone) == ["threads", YARDSTICK.name]
    assert len({planned[0].name, rest.name, alone.name}) == 3
    assert set_apart(planned[0], {YARDSTICK.name}) == [planned[0]]
    assert set_apart(planned[0], set()) == [planned[0]]
    assert set_apart(alone, {"threads"}) == [alone]


def test_the_yardstick_stays_out_of_what_one_process_can_not_hold(suite_of: SuiteOf) -> None:
    """Idle connections are held as well; several processes of a contender share them."""
    suite = suite_of(f'contenders = ["epoll"]\n{A}load = {{ connections = 10, idle = [0, 991] }}\n')
    small, large = blocks(suite, YARDSTICK, 1_000_000, connections_of_a_process=1000)
    assert _names(small) == ["epoll", YARDSTICK.name]
    assert _names(large) == ["epoll"]


def test_each_load_has_a_name_of_its_own(suite_of: SuiteOf) -> None:
    axes = "connections = [10, 20], offered_per_s = [10.5, 100], arrivals = ['constant', 'poisson'], "
    axes += "requests_per_connection = [1, 5], close = ['fin', 'reset'], idle = [0, 5]"
    planned = blocks(suite_of(f'contenders = ["epoll"]\n{A}load = {{ {axes} }}\n'), YARDSTICK, 1000)
    assert len({block.name for block in planned}) == len({block.load for block in planned}) == 64
    assert planned[0].name == "a-c10-b64-r10.5-k1"


@pytest.mark.parametrize(
    ("axes", "says"),
    [
        ("offered_per_s = 10, depth = 2", "depth"),
        ("arrivals = 'poisson'", "offered_per_s"),
        ("close = 'reset'", "requests_per_connection"),
        ("requests_per_connection = 2, depth = 3", "in flight"),
        ("connections = 3, generator_threads = 2, generator_processes = 2", "a connection for each"),
        ("offered_per_s = -1", "offered_per_s"),
        ("idle = 'many'", "idle"),
        ("rate = 5", "unknown key"),
    ],
)
def test_loads_that_can_not_be_made(suite_of: SuiteOf, axes: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        suite_of(f'contenders = ["epoll"]\n{A}load = {{ {axes} }}\n')
