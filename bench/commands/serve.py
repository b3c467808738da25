"""`iocpbench serve`: one server by hand."""

import os
import queue
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.commands.stopping import take_as_ctrl_c
from bench.errors import Exit, UserError

if TYPE_CHECKING:
    from bench.measure.process import Child, Inbox


def serve(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="One of `iocpbench models`, such as epoll or epoll:c.")],
) -> None:
    """Start one server and say where it listens; Ctrl+C stops it.

    The server's own options follow: --host, --port, --cpus, --backlog and what `iocpbench models` lists.

    Example: iocpbench serve epoll --port 9000
    """
    from bench.measure.interpreter import own
    from bench.measure.process import Child

    take_as_ctrl_c()
    python = own()
    name, _, implementation = model.partition(":")
    command = [*python.command, "-P", "-m", "servers", name, *context.args]
    command += ["--implementation", implementation] if implementation else []
    inbox: Inbox = queue.SimpleQueue()
    child = Child(command, inbox, Path(os.devnull), environment=python.environment)
    try:
        while _told(child, inbox):
            pass
    except KeyboardInterrupt:
        child.close_stdin()
        while _told(child, inbox):
            pass
    finally:
        child.end()


def _told(child: "Child", inbox: "Inbox") -> bool:
    """Print the next thing that the server says; False once it ended. Raises UserError where it failed."""
    from bench.measure.process import any_message

    message = any_message(inbox)
    if message.line is None:
        if code := child.wait(1.0):
            raise UserError(child.last_complaint.rpartition("error: ")[2] or child.ending(), _exit(code))
        return False
    event = message.event()
    if event["event"] == "ready":
        language = event["implementation"]
        print(
            f"{event['model']} ({language}) listens on {event['host']}:{event['port']}; Ctrl+C stops it",
            flush=True,
        )
    elif event["event"] == "unavailable":
        raise UserError(str(event["reason"]), Exit.UNAVAILABLE)
    elif event["event"] == "stopped":
        errors = ", ".join(f"{count} {name}" for name, count in event["errors"].items()) or "no errors"
        print(
            f"{event['connections_accepted']} connections accepted, "
            f"at most {event['connections_open_max']} at once, {errors}"
        )
    return True


def _exit(code: int) -> Exit:
    return Exit(code) if code in (Exit.USAGE, Exit.UNAVAILABLE) else Exit.FAILED
