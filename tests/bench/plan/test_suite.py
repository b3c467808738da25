"""What a suite's file means, and what is said about one that is wrong."""

import itertools
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from bench.errors import Exit, UserError
from bench.measure.interpreter import list_models
from bench.plan.contender import Model
from bench.plan.suite import THIS_SYSTEM, Overrides, Suite, from_run, load, names, parse_duration_s

SuiteOf = Callable[..., Suite]
ONE = '[[experiment]]\nname = "a"\n'


@pytest.mark.parametrize("name", names())
def test_every_suite_that_comes_along_resolves(name: str) -> None:
    suite = load(name, list_models(), Overrides())
    assert suite.name == name
    for experiment in suite.experiment:
        assert experiment.reference in {one.name for one in experiment.contenders}


def test_quick_is_as_documented() -> None:
    (experiment,) = load("quick", list_models(), Overrides()).experiment
    assert [one.name for one in experiment.contenders] == [
        "threads",
        "select",
        "poll",
        "epoll",
        "io_uring",
        "iocp",
        "overlapped",
        "wsapoll",
        "asyncio_streams",
    ]
    assert experiment.load.connections == [1, 10, 100, 1000]
    assert (experiment.repeats, experiment.rounds, experiment.slice_s) == (5, 5, 0.04)
    assert experiment.reference == {"linux": "epoll", "windows": "iocp"}[THIS_SYSTEM]


def test_an_experiment_overrides_the_defaults_of_its_suite(suite_of: SuiteOf) -> None:
    suite = suite_of(
        'repeats = 3\ncontenders = ["epoll"]\nslice = "10ms"\n'
        '[[experiment]]\nname = "a"\nrepeats = 7\n'
        '[[experiment]]\nname = "b"\ncontenders = ["threads"]\nslice = "1.5s"\nload = { connections = 5 }\n'
    )
    first, second = suite.experiment
    assert (first.repeats, second.repeats) == (7, 3)
    assert (first.slice_s, second.slice_s) == (0.01, 1.5)
    assert (first.load.connections, second.load.connections) == ([1], [5])
    assert (first.reference, second.reference) == ("epoll", "threads")


def test_a_list_of_options_makes_more_contenders(suite_of: SuiteOf) -> None:
    suite = suite_of(
        '[contender.e]\nmodel = "epoll:c"\noptions = { trigger = ["level", "edge"] }\n'
        + ONE
        + 'contenders = ["e"]\nreference = "e-trigger-edge"\n'
    )
    contenders = suite.experiment[0].contenders
    assert [one.name for one in contenders] == ["e-trigger-level", "e-trigger-edge"]
    assert [one.options for one in contenders] == [{"trigger": "level"}, {"trigger": "edge"}]
    assert {(one.model, one.implementation) for one in contenders} == {("epoll", "c")}


@pytest.mark.parametrize(
    ("values", "default"),
    [("[1, 2, 4]", "epoll-batch-1"), ("[4, 2, 1]", "epoll-batch-1"), ("[2, 4]", "epoll-batch-2")],
)
def test_of_several_settings_one_is_the_default(suite_of: SuiteOf, values: str, default: str) -> None:
    """What the model has by itself, or the first: what the others are compared with."""
    suite = suite_of(
        ONE + f'contenders = ["epoll", "threads"]\noptions = {{ batch = {values}, trigger = "edge" }}\n'
    )
    *epoll, threads = suite.experiment[0].contenders
    assert {one.variant_of for one in epoll} == {"epoll"}
    assert [one.name for one in epoll if one.is_default] == [default]
    assert (threads.variant_of, threads.is_default) == (None, False)


def test_options_of_an_experiment_go_to_those_that_have_them(suite_of: SuiteOf) -> None:
    suite = suite_of(
        ONE + 'contenders = ["epoll", "threads"]\noptions = { accepts-per-wait = [1, 4] }\n'
        'reference = "threads"\n'
    )
    names_ = [one.name for one in suite.experiment[0].contenders]
    assert names_ == ["epoll-accepts_per_wait-1", "epoll-accepts_per_wait-4", "threads"]


def test_a_model_of_another_system_is_a_contender_with_a_reason(suite_of: SuiteOf) -> None:
    (epoll, iocp) = suite_of(ONE + 'contenders = ["epoll", "iocp"]\n').experiment[0].contenders
    assert epoll.unavailable is None
    assert iocp.unavailable == "completion ports belong to Windows: run it there"


def test_twins_in_c_join_those_that_have_one(suite_of: SuiteOf) -> None:
    text = (
        '[contender.e]\nmodel = "epoll"\noptions = { trigger = ["level", "edge"] }\n'
        '[contender.mine]\ncommand = ["./server", "{port}"]\n' + ONE + "twins = true\n"
        'contenders = ["e", "threads", "iocp", "epoll", "epoll:c", "mine"]\n'
    )
    contenders = suite_of(text).experiment[0].contenders
    assert [one.name for one in contenders] == [
        *("e-trigger-level", "e:c-trigger-level", "e-trigger-edge", "e:c-trigger-edge"),
        *("threads", "iocp", "iocp:c", "epoll", "epoll:c", "mine"),
    ]
    for one, twin in itertools.pairwise(contenders):
        if twin.name.replace(":c", "") == one.name:
            assert twin.variant_of == (f"{one.variant_of}:c" if one.variant_of else None)
            assert (one.implementation, twin.implementation) == ("python", "c")
            for same in ("model", "options", "unavailable", "elsewhere", "is_default"):
                assert getattr(one, same) == getattr(twin, same)
    replaced = suite_of(text, contenders=["epoll"]).experiment[0].contenders
    assert [one.name for one in replaced] == ["epoll", "epoll:c"]


def test_a_command_is_a_contender(suite_of: SuiteOf) -> None:
    suite = suite_of(
        '[contender.mine]\ncommand = ["./server", "{host}", "{port}"]\n' + ONE + 'contenders = ["mine"]\n'
    )
    (mine,) = suite.experiment[0].contenders
    assert mine.command == ["./server", "{host}", "{port}"]
    assert mine.model is None


@pytest.mark.parametrize(
    ("text", "overrides", "reference"),
    [
        ('reference = ["iocp", "epoll", "threads"]\n', {}, "epoll"),  # iocp can't run here
        ('reference = ["threads", "epoll"]\n', {}, "threads"),
        ('reference = ["iocp"]\n', {}, "iocp"),  # none can: its ratios will be missing, and so be it
        ("", {}, "epoll"),  # the first contender that can run
        ('reference = ["iocp", "epoll"]\n', {"contenders": ["threads", "epoll"]}, "epoll"),
        ('reference = ["iocp", "epoll"]\n', {"contenders": ["iocp", "threads"]}, "iocp"),
        ('reference = ["epoll"]\n', {"contenders": ["iocp", "threads"]}, "threads"),
        ('reference = ["epoll"]\n', {"reference": "threads"}, "threads"),
    ],
)
def test_of_several_references_the_first_that_runs_here_is_taken(
    suite_of: SuiteOf, text: str, overrides: dict[str, object], reference: str
) -> None:
    suite = suite_of(f'contenders = ["iocp", "epoll", "threads"]\n{text}{ONE}', **overrides)
    assert suite.experiment[0].reference == suite.reference == reference


def test_contenders_of_another_system_are_known_as_such(tmp_path: Path, models: list[Model]) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('schema = 1\ntitle = "t"\ncontenders = ["epoll", "iocp"]\n' + ONE)
    by_system = {
        system: [
            one.elsewhere for one in load(str(file), models, Overrides(), system).experiment[0].contenders
        ]
        for system in ("linux", "windows")
    }
    assert by_system == {"linux": [[], ["windows"]], "windows": [["linux"], []]}


def test_overrides_replace_their_axis_everywhere(suite_of: SuiteOf) -> None:
    suite = suite_of(
        'contenders = ["epoll", "threads"]\n' + ONE + "load = { connections = [1, 2] }\nrepeats = 9\n"
        '[[experiment]]\nname = "b"\n',
        connections=[7],
        repeats=2,
        contenders=["threads"],
        commands={"mine": ["x", "{port}"]},
        slice="20ms",
    )
    for experiment in suite.experiment:
        assert experiment.load.connections == [7]
        assert experiment.repeats == 2
        assert experiment.slice_s == 0.02
        assert [one.name for one in experiment.contenders] == ["threads", "mine"]
        assert experiment.reference == "threads"


def test_a_run_gives_its_suite_back(suite_of: SuiteOf) -> None:
    suite = suite_of('contenders = ["epoll", "iocp"]\n' + ONE)
    stored = msgspec.json.decode(msgspec.json.encode(msgspec.to_builtins(suite)))
    assert from_run(stored) == suite


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("repeets = 3\n" + ONE, ["unknown key repeets", "did you mean repeats?"]),
        (ONE + "raunds = 3\n", ["unknown key experiment[0].raunds", "rounds"]),
        (ONE + "load = { conections = 3 }\n", ["experiment[0].load.conections", "did you mean connections?"]),
        ('[contender.x]\nmodell = "epoll"\n' + ONE, ["contender.x.modell", "did you mean model?"]),
        (ONE + 'contenders = ["epoll"]\njudged_by = "first_echo_time"\n',
         ["needs clients that come", "load.newcomers_per_s"]),
        (ONE + 'judged_by = "rate"\n', ["judged_by", "'rate'"]),
        (ONE + 'contenders = ["epol"]\n', ["epol is unknown", "did you mean epoll?"]),
        (ONE + 'contenders = ["threads:c"]\n', ["threads has no implementation c"]),
        (ONE + 'contenders = ["epoll"]\nreference = "epol"\n', ["reference epol", "did you mean epoll?"]),
        (ONE + 'contenders = ["epoll"]\nreference = ["epoll", "epol"]\n',
         ["reference epol", "did you mean epoll?"]),
        (ONE + 'contenders = ["epoll"]\nreference = 3\n', ["reference", "int"]),
        (ONE + 'contenders = ["epoll", "epoll"]\n', ["epoll"]),
        (ONE, ["experiment a has no contenders"]),
        ('[contender.x]\nmodel = "epoll"\noptions = { triger = "edge" }\n' + ONE + 'contenders = ["x"]\n',
         ["no option triger", "did you mean trigger?"]),
        ('[contender.x]\nmodel = "epoll"\noptions = { trigger = "egde" }\n' + ONE + 'contenders = ["x"]\n',
         ["trigger", "did you mean edge?"]),
        ('[contender.x]\nmodel = "epoll"\noptions = { accepts_per_wait = "many" }\n' + ONE
         + 'contenders = ["x"]\n', ["accepts_per_wait", "'many'", "int"]),
        (ONE + 'contenders = ["threads"]\noptions = { trigger = "edge" }\n', ["none of its", "trigger"]),
        ("[contender.x]\n" + ONE, ["contender x", "a model or a command"]),
        ('[contender.x]\ncommand = []\n' + ONE, ["contender x", "empty"]),
        ('[contender.x]\ncommand = ["./server", "9000"]\n' + ONE, ["contender x", "no {port}"]),
        ('[contender."a#b"]\nmodel = "epoll"\n' + ONE, ["a#b"]),
        ("repeats = 0\n" + ONE, ["repeats", ">= 1"]),
        ("rounds = 0\n" + ONE, ["rounds", ">= 1"]),
        ('repeats = "many"\n' + ONE, ["repeats", "int", "str"]),
        (ONE + "load = { connections = [1, 0] }\n", ["connections[1]", ">= 1"]),
        (ONE + 'load = { connections = "many" }\n', ["connections[0]", "int"]),
        (ONE + "load = { connections = [] }\ncontenders = ['epoll']\n", ["connections is empty"]),
        (ONE + 'load = { wait = "doze" }\n', ["wait[0]", "doze"]),
        (ONE + "load = 3\n", ["experiment[0].load"]),
        ('slice = "fast"\ncontenders = ["epoll"]\n' + ONE, ["slice", "fast", "50ms"]),
        ("experiment = 3\n", ["experiment"]),
        ("", ["experiment"]),
        ('contenders = ["epoll"]\n' + ONE + ONE, ["two experiments are called a"]),
        ("x = [\n", ["not TOML"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(suite_of: SuiteOf, text: str, says: list[str]) -> None:
    with pytest.raises(UserError) as raised:
        suite_of(text)
    assert raised.value.exit_code == Exit.USAGE
    assert "mine.toml" in str(raised.value)
    assert "\n" not in str(raised.value)
    for part in says:
        assert part in str(raised.value)


@pytest.mark.parametrize(("content", "says"), [("", "has no schema"), ("schema = 2\n", "schema = 2")])
def test_a_schema_that_is_not_ours_is_refused(
    tmp_path: Path, models: list[Model], content: str, says: str
) -> None:
    file = tmp_path / "other.toml"
    file.write_text(content)
    with pytest.raises(UserError, match=says):
        load(str(file), models, Overrides())


def test_an_unknown_suite_names_the_nearest(models: list[Model]) -> None:
    with pytest.raises(UserError, match=r"no suite quik; did you mean quick\?"):
        load("quik", models, Overrides())
    with pytest.raises(UserError, match=r"no-such\.toml can't be read"):
        load("no-such.toml", models, Overrides())


@pytest.mark.parametrize(("text", "seconds"), [("50ms", 0.05), ("1.5s", 1.5), ("20us", 2e-5), ("2min", 120)])
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration_s(text, "slice") == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["50", "0ms", "-1s", "1h", "ms", "1e3s", ""])
def test_durations_without_number_or_unit_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="not a duration"):
        parse_duration_s(text, "slice")
