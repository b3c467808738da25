"""Contenders: what competes, by name.

A contender is a model of `servers` with an implementation and options, or a command that starts anybody's
server. What models there are is read from `python -m servers --list` (text, so that another interpreter's
list is as good), never imported.
"""

import difflib
import itertools
import re
import sys
from collections.abc import Iterable, Mapping

import msgspec

from bench.errors import Exit, UserError
from bench.records.schema import Value

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*")


class Option(msgspec.Struct, kw_only=True, frozen=True):
    """An option that a model declares; `default` None where the machine decides."""

    name: str
    type: str = "str"
    default: Value = None
    choices: list[Value] | None = None
    help: str = ""


class Model(msgspec.Struct, kw_only=True, frozen=True):
    """A line of `python -m servers --list`."""

    name: str
    systems: list[str]
    implementations: list[str]
    options: list[Option]
    available: bool
    reason: str | None = None


class ContenderTable(msgspec.Struct, kw_only=True, frozen=True):
    """`[contender.NAME]` of a suite: a model with options, of which a list makes several, or a command."""

    model: str | None = None
    options: dict[str, Value | list[Value]] = {}
    command: list[str] | None = None


class Contender(msgspec.Struct, kw_only=True, frozen=True):
    """What competes. `model` and `implementation` are None where it is a command."""

    name: str
    model: str | None = None
    implementation: str | None = None
    options: dict[str, Value] = {}
    command: list[str] | None = None
    unavailable: str | None = None  # why it can't run here
    elsewhere: list[str] = []  # the systems that its model belongs to, where this isn't among them
    variant_of: str | None = None  # the contender that a list of an option's values made several of
    is_default: bool = False  # of those the one that is as it comes, or the first

    @property
    def processes(self) -> int:
        """How many share its connections; 1 of a command, which doesn't tell."""
        return int(self.options.get("processes") or 1)

    @property
    def is_yardstick(self) -> bool:
        """Whether it is what runs are compared by on this system."""
        return self.is_yardstick_on(sys.platform)

    def is_yardstick_on(self, platform: str) -> bool:
        """Whether it is what runs are compared by: the C twin of that system's best, as it comes.

        `platform` is a system as `sys.platform` calls it.

        Only the size of its reads is as the experiment wants it for all: with small ones it would take a
        large message many calls where the others need one.
        """
        best = YARDSTICK_MODELS.get(platform)
        own = self.options.keys() - {READS}
        return self.implementation == "c" and self.model == best and not own


READS = "buffer_bytes"
YARDSTICK_MODELS = {"linux": "epoll", "win32": "iocp"}


def parse_models(lines: str) -> list[Model]:
    """Decode what `python -m servers --list` printed. Raises msgspec.DecodeError where it isn't that."""
    return [msgspec.json.decode(line, type=Model) for line in lines.splitlines() if line.strip()]


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error message about `name`: the known name that it was meant to be, or all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(names)}"


def option_key(name: str) -> str:
    """Options may be written as on a server's command line, too: `accepts-per-wait` is `accepts_per_wait`."""
    return name.replace("-", "_")


class Resolver:
    """Turns the names in a suite into contenders; errors name the suite's file."""

    def __init__(
        self, tables: Mapping[str, ContenderTable], models: Iterable[Model], where: str, system: str
    ) -> None:
        self._system = system
        self._tables = tables
        self._models = {model.name: model for model in models}
        self._where = where
        for name, table in tables.items():
            self._check_table(name, table)

    def contenders(self, name: str, options: Mapping[str, Value | list[Value]]) -> list[Contender]:
        """The contenders that `name` makes under an experiment's `options`: one for each combination.

        Options that its model doesn't declare are left out: an experiment sets them for those that have them.
        """
        table = self._tables.get(name, ContenderTable(model=name))
        if table.command:
            return [Contender(name=name, command=table.command)]
        assert table.model is not None
        model, implementation = self._model(name, table.model)
        declared = {option_key(option.name): option for option in model.options}
        own = {option_key(key): value for key, value in table.options.items()}
        if unknown := own.keys() - declared.keys():
            key = min(unknown)
            raise self._error(f"contender {name}: {model.name} has no option {key}", key, declared)
        shared = {option_key(key): value for key, value in options.items() if option_key(key) in declared}
        effective = own | shared
        for key, value in effective.items():
            for each in value if isinstance(value, list) else [value]:
                _check_value(declared[key], each, f"{self._where}: contender {name}")
        combinations = _combinations(effective)
        varying = {key: declared[key].default for key, value in effective.items() if isinstance(value, list)}
        settings = [{key: values[key] for key in varying} for _, values in combinations]
        default = settings.index(varying) if varying in settings else 0
        return [
            Contender(
                name="-".join([name, *varied]),
                model=model.name,
                implementation=implementation,
                options=values,
                unavailable=None if model.available else model.reason or "not available here",
                elsewhere=[] if self._system in model.systems else model.systems,
                variant_of=name if len(combinations) > 1 else None,
                is_default=len(combinations) > 1 and number == default,
            )
            for number, (varied, values) in enumerate(combinations)
        ]

    def twin(self, contender: Contender) -> Contender | None:
        """The same model in C, with the same options; None where there is none on this system.

        It is called `NAME:c`, and of several settings of one `NAME:c-SETTING`.
        """
        model = self._models.get(contender.model or "")
        if model is None or contender.implementation == "c" or "c" not in model.implementations:
            return None
        of_all = contender.variant_of or contender.name
        name, setting = f"{of_all}:c", contender.name.removeprefix(of_all)
        variant_of = name if contender.variant_of else None
        return msgspec.structs.replace(
            contender, name=name + setting, implementation="c", variant_of=variant_of
        )

    def declares(self, name: str, option: str) -> bool:
        """Whether the contender called `name` can take `option`."""
        table = self._tables.get(name, ContenderTable(model=name))
        if table.model is None:
            return False
        model, _ = self._model(name, table.model)
        return any(option_key(declared.name) == option_key(option) for declared in model.options)

    def _check_table(self, name: str, table: ContenderTable) -> None:
        if not NAME.fullmatch(name):
            raise UserError(
                f"{self._where}: contender name {name!r}: use letters, digits and - _ . : only", Exit.USAGE
            )
        if (table.model is None) == (table.command is None):
            raise UserError(
                f"{self._where}: contender {name} needs a model or a command, one of them", Exit.USAGE
            )
        if table.command is not None and (not table.command or table.options):
            what = "takes no options" if table.command else "is empty"
            raise UserError(f"{self._where}: contender {name}: its command {what}", Exit.USAGE)
        if table.command is not None and not any("{port}" in part for part in table.command):
            fact = f"{self._where}: contender {name}: its command has no {{port}}"
            raise UserError(f"{fact}: it is told where to listen, each time another port", Exit.USAGE)

    def _model(self, name: str, model_name: str) -> tuple[Model, str]:
        base, _, implementation = model_name.partition(":")
        model = self._models.get(base)
        if model is None:
            twins = (f"{m.name}:{i}" for m in self._models.values() for i in m.implementations)
            what = f"contender {name}" if name == model_name else f"contender {name}: model {model_name}"
            raise self._error(f"{what} is unknown", model_name, {*self._models, *self._tables, *twins})
        implementation = implementation or model.implementations[0]
        if implementation not in model.implementations:
            raise self._error(
                f"contender {name}: {base} has no implementation {implementation}",
                implementation,
                model.implementations,
            )
        return model, implementation

    def _error(self, fact: str, name: str, known: Iterable[str]) -> UserError:
        return UserError(f"{self._where}: {fact}; {nearest(name, known)}", Exit.USAGE)


_TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}


def _check_value(option: Option, value: Value, where: str) -> None:
    expected = _TYPES.get(option.type, (str, int, float, bool))
    if not isinstance(value, expected) or (isinstance(value, bool) and bool not in expected):
        raise UserError(f"{where}: option {option.name} is {value!r}, but takes {option.type}", Exit.USAGE)
    if option.choices and value not in option.choices:
        known = nearest(str(value), map(str, option.choices))
        raise UserError(f"{where}: option {option.name} can't be {value!r}; {known}", Exit.USAGE)


def _combinations(options: Mapping[str, Value | list[Value]]) -> list[tuple[list[str], dict[str, Value]]]:
    """Every choice of one value an option, each with the parts of the name that tell it from the others."""
    axes = [value if isinstance(value, list) else [value] for value in options.values()]
    varied = [key for key, value in options.items() if isinstance(value, list)]
    combinations = (dict(zip(options, values, strict=True)) for values in itertools.product(*axes))
    return [([f"{key}-{values[key]}" for key in varied], values) for values in combinations]
