"""The table of models. A new model is a file and a row here.

Nothing is imported by looking at the table: a model's module is loaded when it is asked for, so a server's
start-up time and memory are its own.
"""

import importlib
import sys
from types import ModuleType

SYSTEM = "windows" if sys.platform == "win32" else sys.platform
Value = int | str | bool


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
        if isinstance(default, bool):
            self.choices = (False, True)

    @property
    def type(self) -> type[int] | type[str] | type[bool]:
        """The type of its values."""
        return type(self.default)


class Model:
    """A way of doing I/O: where its code is, what runs it, and what can be set.

    `in_c` names the systems on which it has a twin in C.
    """

    __slots__ = ("implementations", "module", "name", "options", "systems")

    def __init__(
        self,
        name: str,
        module: str,
        options: tuple[Option, ...] = (),
        *,
        systems: tuple[str, ...] = ("linux",),
        in_c: tuple[str, ...] = (),
    ) -> None:
        self.name, self.module, self.options, self.systems = name, module, options, systems
        has_twin = SYSTEM in in_c if SYSTEM in systems else bool(in_c)
        self.implementations = ("python", "c") if has_twin else ("python",)

    @property
    def has_event_loops(self) -> bool:
        """Whether its threads are event loops, each of which is the whole model (`servers.event_loops`)."""
        return EVENT_LOOPS in self.options

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
    Option("processes", 1, "processes that share the port", minimum=1, maximum=256),
    Option(
        "listeners",
        "shared" if SYSTEM == "windows" else "reuseport",
        "several processes or event loops accept from one listener, or each from its own at the same port",
        choices=("shared",) if SYSTEM == "windows" else ("reuseport", "shared"),
    ),
)

ACCEPTS_PER_WAIT = Option("accepts_per_wait", 0, "connections accepted after one wait; 0: all that are there")
TRIGGER = Option(
    "trigger",
    "level",
    "report a socket while it is ready, or once when it gets so",
    choices=("level", "edge"),
)
EVENT_LOOPS = Option("threads", 1, "threads with an event loop each; 0: one for each CPU that it may use")
EXCLUSIVE = Option(
    "exclusive", False, "watch a shared listener with EPOLLEXCLUSIVE: a connection wakes one loop, not all"
)
LOOP = Option(
    "loop",
    "proactor" if SYSTEM == "windows" else "selector",
    "event loop: asyncio's own (on Windows there are two), uvloop or winloop",
    choices=("selector", "proactor", "uvloop", "winloop"),
)
REACTOR = Option(
    "reactor",
    "iocp" if SYSTEM == "windows" else "epoll",
    "how Twisted waits: by epoll or poll (Linux), select, asyncio, a completion port (Windows)",
    choices=("epoll", "poll", "select", "asyncio", "iocp"),
)
BACKEND = Option("backend", "asyncio", "what it runs on", choices=("asyncio", "trio"))
FD_SET = Option(
    "fd_set",
    "python",
    "the set of sockets as Python's select module has it, or the system's own with room for all (Windows)",
    choices=("python", "raw"),
)
THREADS = Option("threads", 0, "threads that take completions; 0: one for each CPU that it may use")
CONCURRENCY = Option(
    "concurrency", 0, "NumberOfConcurrentThreads: threads that may run at once; 0: one for each CPU"
)
ACCEPT_POLL_MS = Option(
    "accept_poll_ms",
    100,  # the chapter's
    "with accept=alternating: wait for completions at most so long before looking for connections",
)
ROUTINES_PER_WAIT = Option(
    # Looking for a connection costs a call for every 64 requests, and nobody waits longer than those take.
    "routines_per_wait",
    64,
    "completion routines that start I/O in one wait; 0: no limit, so a busy server may never accept",
)
BATCH = Option(
    "batch", 1, "completions taken at once, by GetQueuedCompletionStatusEx if over 1", minimum=1, maximum=4096
)
SKIP_ON_SUCCESS = Option("skip_on_success", False, "I/O that is done at once queues no completion")
ZERO_BYTE_RECEIVE = Option(
    "zero_byte_receive",
    False,
    "wait with an empty receive, so that no buffer is locked for an idle connection",
)

MULTISHOT = Option(
    "multishot", False, "one accept, and one receive for each connection, that go on; buffers from a ring"
)
SETUP = Option(
    "setup",
    "defer_taskrun",
    "how the ring is set up: work is done when asked for, or at once, or a thread of the kernel polls for it",
    choices=("defer_taskrun", "plain", "sqpoll"),
)


def _accept(default: str, *others: str) -> Option:
    text = "accept in a thread of its own, or between waits for completions"
    return Option("accept", default, text, choices=(default, *others))


LINUX, WINDOWS, EVERYWHERE = ("linux",), ("windows",), ("linux", "windows")

MODELS = {
    model.name: model
    for model in (
        Model("threads", "blocking.threads", systems=EVERYWHERE, in_c=EVERYWHERE),
        Model(
            "select",
            "readiness.select",
            (EVENT_LOOPS, ACCEPTS_PER_WAIT, FD_SET),
            systems=EVERYWHERE,
            in_c=EVERYWHERE,
        ),
        Model("poll", "readiness.poll", (EVENT_LOOPS, ACCEPTS_PER_WAIT), in_c=LINUX),
        Model("epoll", "readiness.epoll", (EVENT_LOOPS, ACCEPTS_PER_WAIT, TRIGGER, EXCLUSIVE), in_c=LINUX),
        Model("io_uring", "completion.io_uring", (EVENT_LOOPS, SETUP, MULTISHOT), in_c=LINUX),
        Model(
            "wsapoll",
            "readiness.wsapoll",
            (EVENT_LOOPS, ACCEPTS_PER_WAIT),
            systems=WINDOWS,
            in_c=WINDOWS,
        ),
        Model("wsaeventselect", "readiness.wsaeventselect", (ACCEPTS_PER_WAIT,), systems=WINDOWS),
        Model(
            "selectors",
            "readiness.selectors",
            (EVENT_LOOPS, ACCEPTS_PER_WAIT),
            systems=EVERYWHERE,
        ),
        Model(
            "iocp",
            "completion.iocp",
            (
                *(THREADS, CONCURRENCY, _accept("thread", "alternating", "acceptex"), ACCEPT_POLL_MS),
                *(ACCEPTS_PER_WAIT, BATCH, SKIP_ON_SUCCESS, ZERO_BYTE_RECEIVE),
            ),
            systems=WINDOWS,
            in_c=WINDOWS,
        ),
        Model(
            "overlapped",
            "completion.overlapped",
            (_accept("alternating", "thread"), ACCEPT_POLL_MS, ACCEPTS_PER_WAIT, ROUTINES_PER_WAIT),
            systems=WINDOWS,
            in_c=WINDOWS,
        ),
        Model("asyncio_streams", "libraries.asyncio_streams", (LOOP,), systems=EVERYWHERE),
        Model("asyncio_sockets", "libraries.asyncio_sockets", (LOOP,), systems=EVERYWHERE),
        Model("asyncio_protocol", "libraries.asyncio_protocol", (LOOP,), systems=EVERYWHERE),
        Model("trio", "libraries.trio", systems=EVERYWHERE),
        Model("anyio", "libraries.anyio", (BACKEND,), systems=EVERYWHERE),
        Model("gevent", "libraries.gevent", systems=EVERYWHERE),
        Model("tornado", "libraries.tornado", systems=EVERYWHERE),
        Model("twisted", "libraries.twisted", (REACTOR,), systems=EVERYWHERE),
    )
}
