"""The life of a server process: what it is told on the command line, and what it says on stdout.

stdout carries one JSON object a line and nothing else; whoever started the process reads it. It says `ready`
or `unavailable`, then `stopped`.
"""

import contextlib
import errno
import functools
import json
import os
import socket
import sys
from collections.abc import Callable
from types import ModuleType

from servers import arguments, listener
from servers.contract import Counters, Options, error_name
from servers.registry import COMMON_OPTIONS, MODELS, SYSTEM, Model
from servers.stop import Stop

FAILED, USAGE, UNAVAILABLE = 1, 2, 3


def main() -> int:
    """Run one server until it is told to stop; return the exit code."""
    options = arguments.parse(sys.argv[1:])
    if options is None:
        return list_models()
    model = MODELS[options.model]
    if reason := unavailable_reason(model, options):
        say("unavailable", reason=reason)
        return UNAVAILABLE
    if options.cpus and not run_on(options.cpus):
        return complain(f"--cpus: this process may not run on {sorted(options.cpus)}: choose others", USAGE)
    raise_descriptor_limit()
    resolve(options)
    options.backlog = listener.effective_backlog(options.backlog)
    if options.processes > 1:
        return run_several(options, sys.argv[1:])
    return run(model, options)


def run(model: Model, options: Options) -> int:
    """Serve in this process; return the exit code."""
    loops = options.threads if model.has_event_loops else 1
    try:
        listening = listeners(options, loops)
    except (OSError, ValueError) as error:
        return complain(why_not_listening(error, options) if isinstance(error, OSError) else str(error))
    counters = Counters()
    with contextlib.ExitStack() as stack:
        for one in listening:
            stack.enter_context(one)
        stop = stack.enter_context(Stop())
        module = model.load()
        serve = module.serve
        if options.implementation == "c":
            from servers import native  # ctypes costs time and memory: only those who need it pay

            serve = native.bind(model.name)
        elif hasattr(module, "prepare"):
            module.prepare(options)
        host, port = listening[0].getsockname()[:2]
        ready = functools.partial(say_ready, module, options, host, port, [os.getpid()])
        try:
            if loops > 1:
                from servers import event_loops

                event_loops.serve(serve, listening, stop, options, counters, ready=ready)
            else:
                ready()
                serve(listening[0], stop, options, counters)
        except OSError as error:  # not a connection's failure: the way to wait itself
            cure = module.cure(error) if hasattr(module, "cure") else None
            return complain(f"{model.name}: {cure or error.strerror or error}")
    say(
        "stopped",
        connections_accepted=counters.connections_accepted,
        connections_open_max=counters.connections_open_max,
        errors=counters.errors,
    )
    return 0


def listeners(options: Options, loops: int) -> list[socket.socket]:
    """What this process accepts from: one for each event loop, or one for all. Raises OSError, ValueError."""
    several = loops > 1 and options.listeners == "reuseport"
    if options.listener is not None:
        from servers import processes

        given = processes.given(options.listener)
        return [given, *listener.beside(given, options.backlog, loops - 1)] if several else [given]
    if several:
        return listener.create_several(options.host, options.port, options.backlog, loops)
    return [listener.create(options.host, options.port, options.backlog)]


def run_several(options: Options, its_arguments: list[str]) -> int:
    """Serve in as many processes as `options` say; return the exit code."""
    from servers import processes

    try:
        made = processes.listeners(options)
    except OSError as error:
        return complain(why_not_listening(error, options))
    with contextlib.ExitStack() as stack, Stop() as stop:
        host, port = made[0].getsockname()[:2]
        try:
            workers = processes.Workers(its_arguments, made, options.processes)
            stack.callback(workers.end)
            for one in made:  # a listener that nobody accepts from would get its share of the connections
                one.close()
            ready = workers.ready()
            say_ready(MODELS[options.model].load(), options, host, port, [one["pid"] for one in ready])
            stopped = processes.serve(workers, stop)
        except processes.WorkerEndedError as ended:
            return ended.exit_code or FAILED
        except OSError as error:
            return complain(f"{options.processes} processes can't be started: {error.strerror or error}")
        say("stopped", **stopped)
    return 0


def list_models() -> int:
    """Say what models there are, a line each, and why one can't run here."""
    for model in MODELS.values():
        reason = unavailable_reason(model, arguments.defaults(model))
        options = [
            {
                "name": option.name,
                "type": option.type.__name__,
                "default": option.default,
                "choices": option.choices,
                "help": option.help,
            }
            for option in (*COMMON_OPTIONS, *model.options)
        ]
        write(
            {
                "name": model.name,
                "systems": model.systems,
                "implementations": model.implementations,
                "options": options,
                "available": reason is None,
                "reason": reason,
            }
        )
    return 0


def unavailable_reason(model: Model, options: Options) -> str | None:
    """Why `model` can't run here with `options`, and the cure; None where it can."""
    if reason := model.other_system_reason():
        return reason
    if options.implementation == "c":
        from servers import native

        if reason := native.unavailable_reason():
            return reason
    module_reason: str | None = model.load().unavailable_reason(options)
    return module_reason


def resolve(options: Options) -> None:
    """Put the number of CPUs that this process may use where 0 stands for it.

    A completion port would take 0 for all of the system's CPUs, whatever the process is allowed.
    """
    for name in ("threads", "concurrency"):
        if getattr(options, name, None) == 0:
            setattr(options, name, len(cpus_allowed()))


def cpus_allowed() -> frozenset[int]:
    """The CPUs that this process may run on."""
    if sys.platform == "win32":
        from servers.ffi import win32

        return win32.affinity()
    return frozenset(os.sched_getaffinity(0))


def run_on(cpus: frozenset[int]) -> bool:
    """Keep this process, and threads to come, on `cpus`; False where the system doesn't allow all of them."""
    try:
        if sys.platform == "win32":
            from servers.ffi import win32

            win32.set_affinity(cpus)
        else:
            os.sched_setaffinity(0, cpus)
    except OSError:
        return False
    return cpus_allowed() == cpus


def raise_descriptor_limit() -> None:
    """Allow this process as many descriptors as it may have: a connection is one. Windows has no limit."""
    if sys.platform == "win32":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def why_not_listening(error: OSError, options: Options) -> str:
    """One line for a person: what is wrong with the address, and what to do."""
    where = f"{options.host} port {options.port}"
    # Windows' own number and name, which its documentation can be searched for.
    winerror = getattr(error, "winerror", None)
    code = f" ({winerror} {error_name(error)})" if winerror else ""
    if error.errno == errno.EADDRINUSE:
        return f"{where} is taken{code}: choose another with --port, or leave it out for a free one"
    if error.errno == errno.EACCES and sys.platform == "win32":
        return (
            f"{where} is reserved by Windows, or another program's alone{code}: choose another with --port, "
            "or leave it out; `netsh interface ipv4 show excludedportrange protocol=tcp` shows the reserved"
        )
    if error.errno == errno.EACCES:
        return f"{where} needs privileges: choose a port from 1024 up, or leave it out for a free one"
    if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        fact = f"{options.host} is no address of this machine{code}"
        return f"{fact}: choose another with --host, such as 127.0.0.1"
    return f"can't listen at {where}{code}: {error.strerror}"


def say_ready(module: ModuleType, options: Options, host: str, port: int, pids: list[int]) -> None:
    """Tell that connections are accepted from now on, where, by which processes, under what conditions."""
    connections_max = module.connections_max(options)
    declared = (*COMMON_OPTIONS, *MODELS[options.model].options)
    is_gil_enabled: Callable[[], bool] = getattr(sys, "_is_gil_enabled", lambda: True)
    say(
        "ready",
        model=options.model,
        implementation=options.implementation,
        host=host,
        port=port,
        pid=os.getpid(),
        pids=pids,
        options={option.name: getattr(options, option.name) for option in declared},
        system=system(),
        interpreter=interpreter(),
        gil=is_gil_enabled(),
        connections_max=None if connections_max is None else connections_max * options.processes,
    )


def system() -> str:
    """Which system this is: `linux`, `windows`, or `windows-wine`, which passes itself off as Windows."""
    if SYSTEM == "windows":
        from servers.ffi import win32

        return "windows-wine" if win32.wine_version() else SYSTEM
    return SYSTEM


def interpreter() -> str:
    """Which Python this is: `CPython 3.11.7`. What the platform module would say, in 0.1 ms instead of 3."""
    name = {"cpython": "CPython", "pypy": "PyPy"}.get(sys.implementation.name, sys.implementation.name)
    return f"{name} {'.'.join(map(str, sys.version_info[:3]))}"


def say(event: str, **fields: object) -> None:
    """Tell the reader of stdout what happened."""
    write({"event": event, **fields})


def write(line: dict[str, object]) -> None:
    """A JSON object on a line of its own, at once. Where nobody reads any more, it is dropped."""
    try:
        print(json.dumps(line), flush=True)
    except OSError:
        # What is left in the buffer would be written at exit, and fail there with a traceback.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def complain(message: str, exit_code: int = FAILED) -> int:
    """One line on stderr; return the exit code."""
    print(f"servers: {message}", file=sys.stderr)
    return exit_code
