"""The command line of a server process. Each model has a parser of its own, with the options it declares."""

import argparse
import functools
import os
from collections.abc import Callable, Sequence

from servers.contract import Options
from servers.registry import COMMON_OPTIONS, MODELS, Model, Option

# Without a width argparse asks for the terminal's, in shutil, which takes 5 ms to import.
_PARSER = functools.partial(
    argparse.ArgumentParser,
    allow_abbrev=False,
    formatter_class=functools.partial(argparse.HelpFormatter, width=100),
)


def parse(arguments: Sequence[str]) -> Options | None:
    """Options with defaults; None for `--list`. Raises SystemExit(2), with usage, where one is wrong."""
    if arguments and arguments[0] in MODELS:
        return _parse_model(MODELS[arguments[0]], arguments[1:])
    parser = _PARSER(
        "python -m servers",
        description="Echo on every connection, with one way of doing socket I/O, until stdin closes.",
        epilog="'python -m servers MODEL --help' shows a model's options.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("model", metavar="MODEL", nargs="?", choices=MODELS, help=f"one of {', '.join(MODELS)}")
    what.add_argument(
        "--list", action="store_true", help="print each model as a line of JSON, and start none"
    )
    if not parser.parse_args(arguments).list:
        parser.error("MODEL comes before its options")
    return None


def defaults(model: Model) -> Options:
    """The options of `model` when none is given."""
    return _parse_model(model, ())


def _parse_model(model: Model, arguments: Sequence[str]) -> Options:
    parser = _PARSER(f"python -m servers {model.name}")
    parser.add_argument("--implementation", choices=model.implementations, default="python", help="language")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; default %(default)s")
    parser.add_argument(
        "--port", type=_integer(0, 65535), default=0, help="0, the default: the system chooses"
    )
    parser.add_argument("--listener", help=argparse.SUPPRESS)  # of one of several processes
    parser.add_argument("--cpus", type=_cpus, help="CPUs to run on, such as 0,1; default all")
    for option in (*COMMON_OPTIONS, *model.options):
        _add(parser, option)
    return Options(model=model.name, **vars(parser.parse_args(arguments)))


def _add(parser: argparse.ArgumentParser, option: Option) -> None:
    flag, text = f"--{option.name.replace('_', '-')}", f"{option.help}; default {option.default}"
    if option.type is bool:  # the name alone says yes
        parser.add_argument(flag, type=_yes_or_no, nargs="?", const=True, default=option.default, help=text)
        return
    parser.add_argument(
        flag,
        type=_integer(option.minimum, option.maximum) if option.type is int else str,
        default=option.default,
        choices=option.choices,
        help=text,
    )


def _yes_or_no(text: str) -> bool:
    words = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"{text!r} is neither yes nor no")
    return words[text.lower()]


def _integer(minimum: int, maximum: int) -> Callable[[str], int]:
    def integer(text: str) -> int:
        value = int(text)
        if not minimum <= value <= maximum:
            raise argparse.ArgumentTypeError(f"{value} is not between {minimum} and {maximum}")
        return value

    return integer


def _cpus(text: str) -> frozenset[int]:
    cpus = frozenset(int(cpu) for cpu in text.split(","))
    there = os.cpu_count() or 1
    if missing := [cpu for cpu in cpus if not 0 <= cpu < there]:
        raise argparse.ArgumentTypeError(f"there is no CPU {missing[0]} here, only 0 to {there - 1}")
    return cpus
