"""Suites: what to measure, read from TOML and resolved.

The file is checked here so thoroughly that nothing later can fail because of it: an unknown key, a wrong type
or a name that nothing answers to is one line that says where and what was probably meant. The result is the
same shape with everything written out (each default, each override, each contender that a list of options
makes); it goes into `run.json`, and a run is resumed from it.
"""

import itertools
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from bench.errors import Exit, UserError
from bench.plan.contender import Contender, ContenderTable, Model, Resolver, nearest
from bench.records.schema import Load, Value

SCHEMA = 1
CONNECTIONS_MAX = 1_000_000
MESSAGE_BYTES_MAX = 16 * 1024 * 1024
DEPTH_MAX = 1024
PARTS_MAX = 64

_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}

THIS_SYSTEM = "windows" if sys.platform == "win32" else sys.platform

# What contenders are judged by: the answer's sentence and the best of each load are about it.
Quantity = Literal["response_time", "request_rate", "first_echo_time"]
Count = Annotated[int, msgspec.Meta(ge=1)]
Rate = Annotated[float, msgspec.Meta(ge=0, le=10_000_000)]


class LoadTable(msgspec.Struct, kw_only=True, frozen=True):
    """`load` of an experiment: each a list of values (in the file a value alone will do).

    What is 0 isn't done: without `offered_per_s` the loop is closed.
    """

    connections: list[Annotated[int, msgspec.Meta(ge=1, le=CONNECTIONS_MAX)]] = msgspec.field(
        default_factory=lambda: [1]
    )
    idle: list[Annotated[int, msgspec.Meta(ge=0, le=CONNECTIONS_MAX)]] = msgspec.field(
        default_factory=lambda: [0]
    )
    message_bytes: list[Annotated[int, msgspec.Meta(ge=1, le=MESSAGE_BYTES_MAX)]] = msgspec.field(
        default_factory=lambda: [64]
    )
    depth: list[Annotated[int, msgspec.Meta(ge=1, le=DEPTH_MAX)]] = msgspec.field(default_factory=lambda: [1])
    offered_per_s: list[Rate] = msgspec.field(default_factory=lambda: [0.0])
    arrivals: list[Literal["constant", "poisson"]] = msgspec.field(default_factory=lambda: ["constant"])
    requests_per_connection: list[Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]] = msgspec.field(
        default_factory=lambda: [0]
    )
    close: list[Literal["fin", "reset"]] = msgspec.field(default_factory=lambda: ["fin"])
    newcomers_per_s: list[Rate] = msgspec.field(default_factory=lambda: [0.0])
    wait: list[Literal["sleep", "spin"]] = msgspec.field(default_factory=lambda: ["sleep"])
    generator_threads: list[Annotated[int, msgspec.Meta(ge=1, le=PARTS_MAX)]] = msgspec.field(
        default_factory=lambda: [1]
    )
    generator_processes: list[Annotated[int, msgspec.Meta(ge=0, le=PARTS_MAX)]] = msgspec.field(
        default_factory=lambda: [0]
    )


class SearchTable(msgspec.Struct, kw_only=True, frozen=True):
    """`search` of an experiment: the highest rate, or the most connections, that keep p99 under a limit."""

    maximise: Literal["rate", "connections"]
    p99_limit: str
    precision: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.05  # how close the two ends are to come
    confirmations: Count = 5  # trials with fresh processes of each end


class Search(msgspec.Struct, kw_only=True, frozen=True):
    """A search with everything written out."""

    maximise: Literal["rate", "connections"]
    p99_limit_ns: int
    precision: float
    confirmations: int


class ExperimentTable(msgspec.Struct, kw_only=True, frozen=True):
    """`[[experiment]]`: what it doesn't say is the suite's default."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
    question: str = ""
    claims: list[str] = []
    judged_by: Quantity = "response_time"
    contenders: list[str] | None = None
    twins: bool = False  # each contender is joined by its twin in C, where it has one on this system
    options: dict[str, Value | list[Value]] = {}
    reference: str | list[str] | None = None  # of a list the first that can run
    repeats: Count | None = None
    rounds: Count | None = None
    slice: str | None = None
    load: LoadTable = LoadTable()
    # Rates of an open loop as shares of what the reference does in a closed one, which is measured first.
    offered_shares: list[Annotated[float, msgspec.Meta(gt=0, le=10)]] = []
    search: SearchTable | None = None


class SuiteTable(msgspec.Struct, kw_only=True, frozen=True):
    """A suite's file."""

    schema: int
    title: str
    experiment: Annotated[list[ExperimentTable], msgspec.Meta(min_length=1)]
    repeats: Count = 5
    rounds: Count = 6
    slice: str = "50ms"
    contenders: list[str] = []
    reference: str | list[str] | None = None
    contender: dict[str, ContenderTable] = {}


class Experiment(msgspec.Struct, kw_only=True, frozen=True):
    """An experiment with everything written out; `contenders` in the order of the file."""

    name: str
    question: str
    claims: list[str]
    judged_by: Quantity = "response_time"
    contenders: list[Contender]
    reference: str
    repeats: int
    rounds: int
    slice_s: float
    load: LoadTable
    offered_shares: list[float] = []
    search: Search | None = None


class Suite(msgspec.Struct, kw_only=True, frozen=True):
    """A suite as resolved: what a run measures."""

    schema: int
    name: str
    title: str
    contenders: list[str]  # of all experiments, each once
    reference: str  # the first experiment's
    experiment: list[Experiment]


class Overrides(msgspec.Struct, kw_only=True, frozen=True):
    """What the command line replaces everywhere in a suite; None leaves it as it is."""

    contenders: list[str] | None = None
    commands: dict[str, list[str]] = {}  # contenders to add
    reference: str | None = None
    connections: list[int] | None = None
    message_bytes: list[int] | None = None
    repeats: int | None = None
    rounds: int | None = None
    slice: str | None = None


def load(
    name_or_path: str, models: Iterable[Model], overrides: Overrides, system: str = THIS_SYSTEM
) -> Suite:
    """Read a suite, one that comes with the program or a file, and resolve it. Raises UserError.

    `system` is what the servers run on, as models call it: `linux` or `windows`.
    """
    where, text = read(name_or_path)
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{where} is not TOML: {error}", Exit.USAGE) from error
    table = _decode(content, where)
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(name_or_path).stem)
    table = _overridden(table, overrides, where)
    return _resolve(table, name, Resolver(table.contender, models, where, system), where)


def read(name_or_path: str) -> tuple[str, str]:
    """What to call a suite in a message, and its text. Raises UserError that names the nearest suite."""
    path = Path(name_or_path)
    if path.suffix == ".toml" or path.parent != Path():
        try:
            return str(path), path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is not a text file: a suite is TOML in UTF-8", Exit.USAGE) from error
        except OSError as error:
            raise UserError(f"suite {path} can't be read: {error.strerror}", Exit.USAGE) from error
    if name_or_path not in names():
        known = nearest(name_or_path, names())
        raise UserError(f"no suite {name_or_path}; {known} (or give a file: NAME.toml)", Exit.USAGE)
    return f"{name_or_path}.toml", _folder().joinpath(f"{name_or_path}.toml").read_text(encoding="utf-8")


def names() -> list[str]:
    """The suites that come with the program."""
    return sorted(
        file.name.removesuffix(".toml") for file in _folder().iterdir() if file.name.endswith(".toml")
    )


def table(name: str) -> SuiteTable:
    """A suite's file as it is, without contenders looked up. Raises UserError."""
    where, text = read(name)
    return _decode(tomllib.loads(text), where)


def parse_duration_s(text: str, where: str) -> float:
    """`50ms` -> 0.05. Raises UserError without a number, a unit, or where it is not above zero."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(us|ms|s|min)", text.strip())
    if match is None or float(match[1]) == 0:
        raise UserError(f"{where}: {text!r} is not a duration; write it like 50ms or 1.5s", Exit.USAGE)
    return float(match[1]) * _UNITS_S[match[2]]


def _folder() -> Any:  # Traversable: importlib.resources.abc moved between Python versions
    return resources.files("bench.plan").joinpath("suites")


def _decode(content: dict[str, Any], where: str) -> SuiteTable:
    _check_keys(content, SuiteTable, where, "")
    if content.get("schema") != SCHEMA:
        found = f"says schema = {content['schema']!r}" if "schema" in content else "has no schema"
        raise UserError(f"{where} {found}; this iocpbench reads `schema = {SCHEMA}`", Exit.USAGE)
    experiments = content.get("experiment", [])
    for index, experiment in enumerate(experiments if isinstance(experiments, list) else []):
        _check_keys(experiment, ExperimentTable, where, f"experiment[{index}].")
        load_table = experiment.get("load", {}) if isinstance(experiment, dict) else {}
        _check_keys(load_table, LoadTable, where, f"experiment[{index}].load.")
        search = experiment.get("search", {}) if isinstance(experiment, dict) else {}
        _check_keys(search, SearchTable, where, f"experiment[{index}].search.")
        if isinstance(load_table, dict):
            for key, value in load_table.items():
                load_table[key] = value if isinstance(value, list) else [value]
    contenders = content.get("contender", {})
    for name, contender in contenders.items() if isinstance(contenders, dict) else ():
        _check_keys(contender, ContenderTable, where, f"contender.{name}.")
    return _convert(content, where)


def _check_keys(found: object, struct: type[msgspec.Struct], where: str, prefix: str) -> None:
    if not isinstance(found, dict):
        return  # a wrong type is what msgspec reports
    for key in found:
        if key not in struct.__struct_fields__:
            known = nearest(key, struct.__struct_fields__)
            raise UserError(f"{where}: unknown key {prefix}{key}; {known}", Exit.USAGE)


def _convert(content: object, where: str) -> SuiteTable:
    try:
        return msgspec.convert(content, SuiteTable)
    except msgspec.ValidationError as error:
        fact, _, place = str(error).partition(" - at `$")
        key = re.sub(r"^\.", "", place.rstrip("`"))
        fact = fact.replace("`", "")
        raise UserError(f"{where}: {key}: {fact}" if key else f"{where}: {fact}", Exit.USAGE) from error


def _overridden(suite: SuiteTable, overrides: Overrides, where: str) -> SuiteTable:
    """Put the overrides in the place of what the file says, and check them like the file."""
    content: dict[str, Any] = msgspec.to_builtins(suite)
    own = {key: getattr(overrides, key) for key in ("repeats", "rounds", "slice", "reference", "contenders")}
    own = {key: value for key, value in own.items() if value is not None}
    axes = {key: getattr(overrides, key) for key in ("connections", "message_bytes")}
    axes = {key: value for key, value in axes.items() if value is not None}
    content |= own
    content["contender"] |= {name: {"command": command} for name, command in overrides.commands.items()}
    added = list(overrides.commands)
    reference = content["reference"]
    for experiment in content["experiment"]:
        experiment.update(own)
        experiment["load"] |= axes
        chosen = experiment["contenders"] or content["contenders"]
        experiment["contenders"] = [*chosen, *(name for name in added if name not in chosen)]
        if overrides.contenders is not None and overrides.reference is None:
            named = _names(experiment["reference"] or reference)
            experiment["reference"] = [one for one in named if one in experiment["contenders"]] or None
            content["reference"] = None
    return _convert(content, "command line" if own or axes or added else where)


def _resolve(suite: SuiteTable, name: str, resolver: Resolver, where: str) -> Suite:
    experiments = [_experiment(table, suite, resolver, where) for table in suite.experiment]
    _check_unique((experiment.name for experiment in experiments), f"{where}: two experiments are called")
    contenders = dict.fromkeys(one.name for experiment in experiments for one in experiment.contenders)
    return Suite(
        schema=SCHEMA,
        name=name,
        title=suite.title,
        contenders=list(contenders),
        reference=experiments[0].reference,
        experiment=experiments,
    )


def _experiment(experiment: ExperimentTable, suite: SuiteTable, resolver: Resolver, where: str) -> Experiment:
    chosen = experiment.contenders or suite.contenders
    at = f"{where}: experiment {experiment.name}"
    if not chosen:
        raise UserError(f'{at} has no contenders; name some: contenders = ["epoll"]', Exit.USAGE)
    _check_unique(chosen, f"{at} names a contender twice:")
    for option in experiment.options:
        if not any(resolver.declares(name, option) for name in chosen):
            raise UserError(f"{at}: none of its contenders has an option {option}", Exit.USAGE)
    contenders = [one for name in chosen for one in resolver.contenders(name, experiment.options)]
    _check_unique((one.name for one in contenders), f"{at}: two contenders are called")
    if experiment.twins:
        contenders = _with_twins(contenders, resolver)
    reference = _reference(experiment.reference or suite.reference, contenders, at)
    for axis in LoadTable.__struct_fields__:
        values = getattr(experiment.load, axis)
        if not values:
            raise UserError(f"{at}: load.{axis} is empty", Exit.USAGE)
        _check_unique(values, f"{at}: load.{axis} has twice:")
    chooses_rate = bool(experiment.offered_shares) or experiment.search is not None
    for load in loads(experiment.load):
        checked = msgspec.structs.replace(load, offered_per_s=1.0) if chooses_rate else load
        if fault := load_fault(checked):
            raise UserError(f"{at}: {fault}", Exit.USAGE)
        if experiment.judged_by == "first_echo_time" and not opens_connections(load):
            fact = "judged_by first_echo_time needs clients that come"
            cure = "give load.newcomers_per_s or load.requests_per_connection, too"
            raise UserError(f"{at}: {fact}: {cure}", Exit.USAGE)
    return Experiment(
        name=experiment.name,
        question=experiment.question,
        claims=experiment.claims,
        judged_by=experiment.judged_by,
        contenders=contenders,
        reference=reference,
        repeats=experiment.repeats or suite.repeats,
        rounds=experiment.rounds or suite.rounds,
        slice_s=parse_duration_s(experiment.slice or suite.slice, f"{at}: slice"),
        load=experiment.load,
        offered_shares=experiment.offered_shares,
        search=_search(experiment, at),
    )


def _with_twins(contenders: list[Contender], resolver: Resolver) -> list[Contender]:
    """Each contender and behind it its twin in C, but for a twin that is there already."""
    named = {one.name for one in contenders}
    return [
        each
        for one in contenders
        for each in (one, resolver.twin(one))
        if each is not None and (each is one or each.name not in named)
    ]


def _search(experiment: ExperimentTable, at: str) -> Search | None:
    """Checked: what it varies, or is chosen from what was measured, isn't given as well."""
    wanted = experiment.search
    chooses_rate = bool(experiment.offered_shares) or (wanted is not None and wanted.maximise == "rate")
    if chooses_rate and any(experiment.load.offered_per_s):
        raise UserError(f"{at}: load.offered_per_s is what it finds out: leave it out", Exit.USAGE)
    if wanted is None:
        return None
    if experiment.offered_shares:
        raise UserError(f"{at}: offered_shares and search are two experiments", Exit.USAGE)
    if wanted.maximise == "connections" and len(experiment.load.connections) > 1:
        raise UserError(f"{at}: load.connections is where its search begins: give one number", Exit.USAGE)
    limit_s = parse_duration_s(wanted.p99_limit, f"{at}: search.p99_limit")
    return Search(
        maximise=wanted.maximise,
        p99_limit_ns=round(limit_s * 1e9),
        precision=wanted.precision,
        confirmations=wanted.confirmations,
    )


def loads(axes: LoadTable) -> Iterator[Load]:
    """Each combination of the axes' values."""
    names = LoadTable.__struct_fields__
    for values in itertools.product(*(getattr(axes, name) for name in names)):
        yield Load(**dict(zip(names, values, strict=True)))


def opens_connections(load: Load) -> bool:
    """Whether clients come while it is measured, so that first-echo time is asked for."""
    return load.newcomers_per_s > 0 or load.requests_per_connection > 0


def load_fault(load: Load) -> str | None:
    """Why the generator can't make such a load; None where it can."""
    if load.offered_per_s and load.depth > 1:
        return "load.depth has no meaning with a rate: there the schedule says when a request starts"
    if load.arrivals != "constant" and not load.offered_per_s:
        return "load.arrivals belongs to an open loop: give load.offered_per_s, too"
    if load.close != "fin" and not load.requests_per_connection:
        return "load.close belongs to churn: give load.requests_per_connection, too"
    if 0 < load.requests_per_connection < load.depth:
        life = load.requests_per_connection
        return f"load.depth {load.depth} can't be in flight where a connection has {life} requests"
    if max(load.generator_processes, 1) * load.generator_threads > min(load.connections, PARTS_MAX):
        parts = "load.generator_processes and generator_threads"
        return f"{parts}: at most {PARTS_MAX} together, and a connection for each"
    return None


def _reference(named: str | list[str] | None, contenders: list[Contender], at: str) -> str:
    """The first of `named`, or of all contenders, that can run; the first of all where none can."""
    by_name = {one.name: one for one in contenders}
    names = _names(named) or list(by_name)
    for name in names:
        if name not in by_name:
            fact = f"{at}: its reference {name} is none of its contenders"
            raise UserError(f"{fact}; {nearest(name, by_name)}", Exit.USAGE)
    return next((name for name in names if by_name[name].unavailable is None), names[0])


def _names(one_or_several: str | list[str] | None) -> list[str]:
    return [one_or_several] if isinstance(one_or_several, str) else one_or_several or []


def _check_unique(values: Iterable[object], fact: str) -> None:
    seen: set[object] = set()
    for value in values:
        if value in seen:
            raise UserError(f"{fact} {value}", Exit.USAGE)
        seen.add(value)


def from_run(resolved: Mapping[str, object]) -> Suite:
    """The suite of a run, as it was resolved then. Raises UserError where another version wrote it."""
    try:
        return msgspec.convert(resolved, Suite)
    except msgspec.ValidationError as error:
        raise UserError(f"this run's suite can't be read ({error}): start a new run", Exit.USAGE) from error
