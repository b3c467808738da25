"""`iocpbench load`: the generator by hand."""

import os
import queue
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.commands.output import parse_target, print_table
from bench.commands.stopping import take_as_ctrl_c
from bench.errors import Exit, UserError

if TYPE_CHECKING:
    from bench.measure.process import Child, Inbox


def load(
    target: Annotated[str, typer.Argument(metavar="HOST:PORT", help="An echo server.")],
    *,
    connections: Annotated[int, typer.Option(metavar="N", help="Connections, all open at once.")] = 1,
    message_bytes: Annotated[int, typer.Option(metavar="N", help="Bytes of a message.")] = 64,
    depth: Annotated[int, typer.Option(metavar="N", help="Requests in flight on a connection.")] = 1,
    rate: Annotated[float | None, typer.Option(metavar="R", help="Open loop: requests a second.")] = None,
    arrivals: Annotated[
        str | None, typer.Option(help="Of an open loop: constant, the default, or poisson.")
    ] = None,
    idle: Annotated[int, typer.Option(metavar="N", help="More connections, which are silent.")] = 0,
    requests_per_connection: Annotated[
        int | None, typer.Option(metavar="K", help="Close a connection after so many, and open it again.")
    ] = None,
    close: Annotated[str | None, typer.Option(help="How: fin, the default, or reset.")] = None,
    newcomers_per_s: Annotated[
        float | None, typer.Option(metavar="R", help="Other clients beside the load, each with one echo.")
    ] = None,
    threads: Annotated[int, typer.Option(metavar="N", help="Of the generator.")] = 1,
    processes: Annotated[
        int | None, typer.Option(metavar="N", help="Of the generator; otherwise as many as needed.")
    ] = None,
    duration: Annotated[str, typer.Option(help="How long to measure, such as 3s.")] = "3s",
    warmup: Annotated[str, typer.Option(help="Load before that.")] = "500ms",
    wait: Annotated[str, typer.Option(help="Between echoes: sleep or spin.")] = "sleep",
    cpus: Annotated[str | None, typer.Option(metavar="0,1", help="Run on these CPUs alone.")] = None,
    sources: Annotated[str | None, typer.Option(metavar="A,B", help="Source addresses.")] = None,
    response_timeout: Annotated[str, typer.Option(help="To connect, and for an echo.")] = "5s",
    seed: Annotated[int, typer.Option(help="Of the random bytes that are sent.")] = 1,
    allow_remote: Annotated[bool, typer.Option(help="The server may be another machine.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The result as the generator prints it.")] = False,
) -> None:
    """Put load on an echo server, verify every echo, and show the response times.

    Example: iocpbench load 127.0.0.1:9000 --connections 100 --duration 5s
    """
    from bench.measure.interpreter import own
    from bench.measure.process import Child
    from bench.plan.suite import parse_duration_s

    parse_target(target)
    options: dict[str, object] = {
        "--connections": connections,
        "--message-bytes": message_bytes,
        "--depth": depth,
        "--rate": rate,
        "--arrivals": arrivals,
        "--idle": idle,
        "--requests-per-connection": requests_per_connection,
        "--close": close,
        "--newcomers-per-s": newcomers_per_s,
        "--threads": threads,
        "--processes": processes,
        "--duration-s": parse_duration_s(duration, "--duration"),
        "--warmup-s": parse_duration_s(warmup, "--warmup"),
        "--wait": wait,
        "--cpus": cpus,
        "--sources": sources,
        "--response-timeout-s": parse_duration_s(response_timeout, "--response-timeout"),
        "--seed": seed,
    }
    take_as_ctrl_c()
    python = own()
    command = [*python.command, "-P", "-m", "loadgen", target]
    command += [part for key, value in options.items() if value is not None for part in (key, str(value))]
    command += ["--allow-remote"] if allow_remote else []
    inbox: Inbox = queue.SimpleQueue()
    child = Child(command, inbox, Path(os.devnull), environment=python.environment)
    try:
        result, was_interrupted = _result(child, inbox)
    finally:
        child.end()
    _show(result, as_json=as_json)
    if was_interrupted:
        raise typer.Exit(Exit.INTERRUPTED)


def _result(child: "Child", inbox: "Inbox") -> tuple[dict[str, Any], bool]:
    """Wait for the result; Ctrl+C asks for what was measured until then. Raises UserError for none."""
    from bench.measure.process import any_message

    was_interrupted = False
    while True:
        try:
            message = any_message(inbox)
        except KeyboardInterrupt:
            if was_interrupted:
                raise
            was_interrupted = True
            child.interrupt()
            continue
        if message.line is not None:
            return message.event(), was_interrupted
        code = child.wait(1.0)
        reason = child.last_complaint.rpartition("error: ")[2].removeprefix("loadgen: ") or child.ending()
        raise UserError(reason, Exit.USAGE if code == Exit.USAGE else Exit.FAILED)


def _show(event: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        from bench.commands.output import print_json

        del event["event"]
        print_json(event)
        return
    from bench.report import units

    times = event["response_time"]
    quantiles = ("p50_ns", "p90_ns", "p99_ns", "p99_9_ns", "max_ns")
    rows = [
        (
            "requests",
            f"{event['requests']} in {event['duration_s']:.2f} s, {units.rate(event['rate_per_s'])}/s",
        ),
        ("connections", f"{event['connections_opened']} opened, {event['connections_open_min']} to the end"),
        *_schedule(event.get("open_loop")),
        *((f"response time {_quantile(key)}", units.time(times.get(key))) for key in quantiles),
        ("first echo p50", units.time(event["first_echo_time"].get("p50_ns"))),
        ("bandwidth", f"{units.size(round(event['bandwidth_bytes_per_s']))}/s each way"),
        *_crowd(event.get("idle")),
        ("generator", f"{event['client']['busy']:.0%} of its CPU"),
        ("errors", ", ".join(f"{count} {name}" for name, count in event["errors"].items()) or "none"),
    ]
    print_table(("what", "measured"), rows)


def _schedule(loop: dict[str, Any] | None) -> list[tuple[str, str]]:
    if loop is None:
        return []
    from bench.report import units

    reached, late = units.share(loop["reached"]), units.time(loop["lateness_p99_ns"])
    asked_for = f"{units.rate(loop['rate_per_s'])}/s, {loop['arrivals']}"
    return [("asked for", f"{asked_for}; {reached} reached"), ("lateness p99", late)]


def _crowd(idle: dict[str, int] | None) -> list[tuple[str, str]]:
    if idle is None:
        return []
    return [("idle", f"{idle['opened']} opened, {idle['echoed_again']} echoed again at the end")]


def _quantile(key: str) -> str:
    """`p99_9_ns` -> `p99.9`."""
    return key.removesuffix("_ns").replace("_", ".")
