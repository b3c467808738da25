"""The table of models. A new model is a file and a row here.

Nothing is imported by looking at the table: a model's module is loaded when it is asked for, so a server's
start-up time and memory are its own.
"""

import importlib
import sys
from types import ModuleType

SYSTEM = "windows" if sys.platform == "win32" else sys.platform
Value = int | str


class Option:
    """An option on the command line (`--accepts-per-wait`), in suites and in records (`accepts_per_wait`)."""

    __slots__ = ("choices", "default", "help", "maximum", "minimum", "name")

    def __init__(
        self,
        name: str,
        default: Value,
        help: str,  # noqa: A002 - argparse's word
        *,
        choices: tuple[Value, ...] | None = None,
        minimum: int = 0,
        maximum: int = 2**31 - 1,
    ) -> None:
        self.name, self.default, self.help = name, default, help
        self.choices, self.minimum, self.maximum = choices, minimum, maximum

    @property
    def type(self) -> type[int] | type[str]:
        """The type of its values."""
        return type(self.default)


class Model:
    """A way of doing I/O: where its code is, what runs it, and what can be set."""

    __slots__ = ("implementations", "module", "name", "options", "systems")

    def __init__(
        self,
        name: str,
        module: str,
        options: tuple[Option, ...] = (),
        *,
        systems: tuple[str, ...] = ("linux",),
        implementations: tuple[str, ...] = ("python",),
    ) -> None:
        self.name, self.module, self.options = name, module, options
        self.systems, self.implementations = systems, implementations

    def load(self) -> ModuleType:
        """Import the module that has `unavailable_reason`, `connections_max` and `serve`."""
        return importlib.import_module(f"servers.{self.module}")

    def other_system_reason(self) -> str | None:
        """Why it doesn't belong to this system; None where it does."""
        if SYSTEM in self.systems:
            return None
        return f"{self.name} belongs to {' and '.join(self.systems)}: run it there"


COMMON_OPTIONS = (
    # A page: the largest message that the suites send often, and little enough for 10 000 connections.
    Option(
        "buffer_bytes", 4096, "bytes taken in one read, and kept unsent at most", minimum=1, maximum=2**24
    ),
    # With 512, 4000 connections at once waited for their SYNs to be sent again.
    Option("backlog", 4096, "connections that may wait to be accepted", minimum=1),
)

ACCEPTS_PER_WAIT = Option("accepts_per_wait", 0, "connections accepted after one wait; 0: all that are there")
TRIGGER = Option(
    "trigger",
    "level",
    "report a socket while it is ready, or once when it gets so",
    choices=("level", "edge"),
)
LOOP = Option("loop", "selector", "event loop: asyncio's own, or uvloop", choices=("selector", "uvloop"))

MODELS = {
    model.name: model
    for model in (
        Model("threads", "blocking.threads"),
        Model("select", "readiness.select", (ACCEPTS_PER_WAIT,)),
        Model("poll", "readiness.poll", (ACCEPTS_PER_WAIT,)),
        Model("epoll", "readiness.epoll", (ACCEPTS_PER_WAIT, TRIGGER), implementations=("python", "c")),
        Model("selectors", "readiness.selectors", (ACCEPTS_PER_WAIT,)),
        Model("asyncio_streams", "libraries.asyncio_streams", (LOOP,)),
        Model("asyncio_protocol", "libraries.asyncio_protocol", (LOOP,)),
    )
}
