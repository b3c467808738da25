"""`iocpbench run`: measure a suite and draw the answer."""

import random
import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from bench.commands.output import (
    duration,
    parse_budget_s,
    parse_counts,
    parse_list,
    parse_share,
    print_json,
    print_table,
    split_command,
)
from bench.commands.stopping import take_as_ctrl_c
from bench.errors import Exit, UserError

if TYPE_CHECKING:
    from bench.host.placement import Placement
    from bench.host.priority import Priority
    from bench.measure.interpreter import Interpreter
    from bench.measure.precision import Look
    from bench.measure.run import Servers
    from bench.plan.suite import Overrides, Suite
    from bench.records.schema import Precision
    from bench.records.store import RunFolder

Text = str | None


def run(
    suite: Annotated[
        str, typer.Argument(metavar="[SUITE]", help="A suite's name, or a file: mine.toml.")
    ] = "quick",
    *,
    contenders: Annotated[Text, typer.Option(metavar="A,B", help="Measure these instead.")] = None,
    contender: Annotated[
        list[str] | None, typer.Option(metavar="NAME=COMMAND", help="Add anybody's server; may be repeated.")
    ] = None,
    reference: Annotated[Text, typer.Option(metavar="NAME", help="Ratios are against it.")] = None,
    connections: Annotated[Text, typer.Option(metavar="1,10", help="Connection counts.")] = None,
    message_bytes: Annotated[Text, typer.Option(metavar="64", help="Message sizes.")] = None,
    repeats: Annotated[int | None, typer.Option(metavar="N", min=1, help="Fresh processes so often.")] = None,
    rounds: Annotated[int | None, typer.Option(metavar="N", min=1, help="Counted slices a repeat.")] = None,
    slice_: Annotated[Text, typer.Option("--slice", metavar="50ms", help="Length of a slice.")] = None,
    placement: Annotated[Text, typer.Option(help="CPUs: split (default), shared or free.")] = None,
    priority: Annotated[
        Text, typer.Option(help="Of all processes: high (default, where it is permitted) or normal.")
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Of the order; random if not given.")] = None,
    server_python: Annotated[
        Text, typer.Option(metavar="PATH", help="Run the servers under another Python.")
    ] = None,
    precision: Annotated[
        Text, typer.Option(metavar="2%", help="Add repeats until every ratio's interval is +- that or less.")
    ] = None,
    budget: Annotated[
        Text,
        typer.Option(metavar="5m", help="With --precision: add none after that; 10m or more if not given."),
    ] = None,
    fail_if_slower: Annotated[
        Text, typer.Option(metavar="3%", help="Exit 4 where one is surely slower than the reference by that.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of all runs.")] = Path("results"),
    resume: Annotated[Text, typer.Option(metavar="RUN", help="Measure what this run lacks.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Say what would be measured, and end.")] = False,
    open_page: Annotated[bool, typer.Option("--open", help="Show the page in a browser.")] = False,
    quiet: Annotated[bool, typer.Option(help="No progress and no advice.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON.")] = False,
) -> None:
    """Measure a suite: a table, the answer in a sentence, and a page with charts.

    {host} and {port} in a COMMAND stand for where it is to listen.

    Examples: iocpbench run | iocpbench run connections --connections 1,100,10000
    | iocpbench run --contender 'mine=./server {host} {port}'
    | iocpbench run --precision 2% --budget 5m
    """
    from bench.measure.interpreter import chosen
    from bench.plan.suite import Overrides

    overrides = Overrides(
        contenders=parse_list(contenders),
        commands=_commands(contender or []),
        reference=reference,
        connections=parse_counts(connections, "--connections"),
        message_bytes=parse_counts(message_bytes, "--message-bytes"),
        repeats=repeats,
        rounds=rounds,
        slice=slice_,
    )
    ending = Ending(
        quiet=quiet,
        as_json=as_json,
        open_page=open_page,
        server_python=server_python,
        slower=parse_share(fail_if_slower, "--fail-if-slower"),
    )
    if resume is not None:
        given = (placement, priority, seed, precision, budget)
        if overrides != Overrides() or any(one is not None for one in given):
            raise UserError(
                "--resume goes on with the run as it was begun: no other option but --server-python, "
                "where it had that",
                Exit.USAGE,
            )
    else:
        placed = _placement(placement)
        prior = _priority(priority)
        asked = _asked(precision, budget)
    with chosen(server_python) as interpreter:
        if resume is not None:
            _resume(resume, out, interpreter, ending)
        else:
            new = New(suite, overrides, placed, prior, seed, out, asked, dry_run)
            _run(new, interpreter, ending)


class Asked(NamedTuple):
    """How precise ratios are to be, and how long that may take; None where it isn't said."""

    target: float | None
    budget_s: float | None


class New(NamedTuple):
    """A run to begin, as the command line describes it."""

    suite: str
    overrides: "Overrides"
    placement: "Placement"
    priority: "Priority"
    seed: int | None
    results: Path
    asked: Asked
    is_dry: bool


class Ending(NamedTuple):
    """What to show at the end."""

    quiet: bool
    as_json: bool
    open_page: bool
    server_python: str | None
    slower: float | None  # the slowdown against the reference that is a failure


def _run(new: New, interpreter: "Interpreter", ending: Ending) -> None:
    from bench.measure.run import check, create, servers
    from bench.plan import suite as suites
    from bench.report.reproduce import without_places

    found = servers(interpreter)
    suite = suites.load(new.suite, found.models, new.overrides, found.system)
    check(suite)
    precision = _precision(new.asked, suite, found)
    if new.is_dry:
        _show_plan(suite, found, precision)
        return
    _advise(suite, ending)
    if precision is not None and not ending.quiet:
        print(f"note: {_until(precision, suite, found)}", file=sys.stderr, flush=True)
    with create(
        suite,
        seed=random.getrandbits(31) if new.seed is None else new.seed,
        placement=new.placement,
        priority=new.priority,
        results=new.results,
        interpreter=interpreter,
        precision=precision,
        command=without_places(sys.argv[1:]),
    ) as folder:
        _measure(folder, suite, found, ending)


def _resume(name_or_path: str, results: Path, interpreter: "Interpreter", ending: Ending) -> None:
    from bench.measure.run import resume, servers
    from bench.records import store

    folder, suite = resume(store.resolve(name_or_path, results), interpreter.python)
    with folder:
        _measure(folder, suite, servers(interpreter), ending)


def _measure(folder: "RunFolder", suite: "Suite", found: "Servers", ending: Ending) -> None:
    """Measure, then show; on Ctrl+C say how to go on."""
    from bench.commands import progress
    from bench.measure.run import Measurement

    take_as_ctrl_c()
    try:
        with progress.shown(quiet=ending.quiet) as observer:
            failed = Measurement(folder, suite, found, observer, _look(folder)).run()
    except KeyboardInterrupt:
        beside = f" --server-python {ending.server_python}" if ending.server_python else ""
        print(
            f"iocpbench: interrupted; what was measured is in {folder.path}\n"
            f"go on with: iocpbench run --resume {folder.path}{beside}",
            file=sys.stderr,
        )
        raise
    slower = _show(folder, ending)
    if failed:
        raise UserError(
            f"{failed} measurement{'s' if failed > 1 else ''} failed: the table says which", Exit.FAILED
        )
    if slower:
        raise UserError(f"surely slower than the reference: {', '.join(slower)}", Exit.THRESHOLD)


def _show(folder: "RunFolder", ending: Ending) -> list[str]:
    """The table, the answer, the page's place, and what the run's time went into; who is surely slower."""
    from rich.console import Console

    from bench.analysis.findings import find
    from bench.report.page import write
    from bench.report.regression import comparisons, sentence
    from bench.report.summary import of
    from bench.report.terminal import as_json, show

    findings = find([folder])
    found = of(findings)
    written = write([folder], findings=findings, summary=found)
    compared = [] if ending.slower is None else comparisons(findings, ending.slower)
    if ending.as_json:
        about = {"run": str(folder.path), "page": str(written), "comparisons": compared}
        print_json({**about, **as_json(found)})
    else:
        show(found, Console())
        for one in compared:
            print(sentence(one))
        print(f"\npage: {written}\n{_time_spent(folder)}")
    if ending.open_page:
        from bench.measure.process import may_outlive_us

        may_outlive_us()
        webbrowser.open(written.resolve().as_uri())
    return [one.contender for one in compared if one.outcome == "slower"]


def _time_spent(folder: "RunFolder") -> str:
    elapsed_s, slices_s = folder.run.elapsed_s or 0.0, folder.run.slices_s or 0.0
    ratio = f", {elapsed_s / slices_s:.2f} times the time in slices" if slices_s else ""
    return f"measured in {duration(elapsed_s)}{ratio}"


def _show_plan(suite: "Suite", found: "Servers", precision: "Precision | None") -> None:
    from bench.measure.estimate import nominal_s, offers_s, own_s, searches_s
    from bench.measure.run import plan
    from bench.report.terminal import not_of_this_system

    planned = plan(suite, found)
    rows = [
        (
            block.name,
            str(block.repeats),
            str(block.rounds),
            duration(block.repeats * nominal_s(block)),
            ", ".join(one.name for one in block.contenders if one.unavailable is None),
        )
        for block in planned
        if any(one.unavailable is None for one in block.contenders)
    ]
    if rows:
        print_table(("block", "repeats", "rounds", "in slices", "contenders"), rows)
    missing = {one.name: one for block in planned for one in block.contenders if one.unavailable}
    elsewhere = {one.variant_of or name: one.elsewhere for name, one in missing.items() if one.elsewhere}
    for line in not_of_this_system(elsewhere):
        print(line)
    for name, one in missing.items():
        if not one.elsewhere:
            print(f"{name} is unavailable: {one.unavailable}")
    for experiment in suite.experiment:
        if experiment.search is not None:
            most = "highest rate" if experiment.search.maximise == "rate" else "most connections"
            about = duration(searches_s(experiment))
            print(f"{experiment.name}: searches the {most} of each contender, about {about}")
        elif experiment.offered_shares:
            own = [block for block in planned if block.experiment == experiment.name]
            about = duration(offers_s(suite, own))
            print(f"{experiment.name}: then {len(experiment.offered_shares)} offered rates, about {about}")
    slices_s = sum(block.repeats * nominal_s(block) for block in planned)
    whole_s = own_s(suite, planned) + sum(map(searches_s, suite.experiment))
    if precision is not None:
        print(f"then {_until(precision, suite, found)}")
    print(
        f"{duration(slices_s)} in slices, about {duration(whole_s)} in all; "
        "contenders that are slow make slices longer. Nothing was measured."
    )


def _asked(precision: str | None, budget: str | None) -> Asked:
    target = parse_share(precision, "--precision", above_zero=True)
    if budget is not None and target is None:
        raise UserError("--budget is how long --precision may take: give that, too", Exit.USAGE)
    return Asked(target, parse_budget_s(budget, "--budget"))


def _precision(asked: Asked, suite: "Suite", found: "Servers") -> "Precision | None":
    """The rule that repeats are added by, where that is asked for."""
    from bench.measure.estimate import default_budget_s
    from bench.measure.precision import rule
    from bench.measure.run import plan

    if asked.target is None:
        return None
    if all(one.search is not None for one in suite.experiment):
        fact = f"--precision: {suite.name} only searches, which ends by a rule of its own"
        raise UserError(f"{fact}: see search.precision in its file", Exit.USAGE)
    return rule(asked.target, asked.budget_s or default_budget_s(suite, plan(suite, found)))


def _until(precision: "Precision", suite: "Suite", found: "Servers") -> str:
    from bench.measure.estimate import own_s
    from bench.measure.run import plan

    goal = f"repeats are added until every ratio is within +-{100 * precision.target:g} %"
    limit = f"{goal}, for {duration(precision.budget_s)} in all at most (--budget)"
    own = own_s(suite, plan(suite, found))
    is_spent = own >= precision.budget_s
    return f"{limit}; the suite's own take about {duration(own)}, so none may be" if is_spent else limit


def _look(folder: "RunFolder") -> "Look | None":
    """What a run's precision is looked at with; nothing else needs the statistics while it is measured."""
    if folder.run.precision is None:
        return None
    from bench.analysis.precision import look

    return look


def _advise(suite: "Suite", ending: Ending) -> None:
    """Doctor's warnings."""
    if ending.quiet:
        return
    from bench.host.doctor import findings
    from bench.measure.run import connections_of_a_server

    for one in findings(connections_of_a_server(suite)):
        if not one.good:
            print(f"warning: {one.fact}: {one.cause}\n  {one.next_step}", file=sys.stderr, flush=True)


def _commands(contenders: list[str]) -> dict[str, list[str]]:
    """`NAME=COMMAND` -> the command in parts, by name."""
    found = {}
    for text in contenders:
        name, equals, command = text.partition("=")
        try:
            parts = split_command(command)
        except ValueError as error:
            raise UserError(f"--contender {name}: {error}", Exit.USAGE) from error
        if not name or not equals or not parts:
            raise UserError(f"--contender {text!r} is not NAME=COMMAND", Exit.USAGE)
        if name in found:
            raise UserError(f"--contender {name} is given twice", Exit.USAGE)
        found[name] = parts
    return found


def _placement(text: str | None) -> "Placement":
    from bench.host.placement import Placement
    from bench.plan.contender import nearest

    try:
        return Placement(text or Placement.SPLIT)
    except ValueError as error:
        raise UserError(f"--placement {text}: {nearest(str(text), list(Placement))}", Exit.USAGE) from error


def _priority(text: str | None) -> "Priority":
    """The one that is asked for, or the best that there is. Raises UserError where that isn't permitted."""
    from bench.host.priority import Priority, best
    from bench.plan.contender import nearest

    if text is None:
        return best()
    try:
        wanted = Priority(text)
    except ValueError as error:
        raise UserError(f"--priority {text}: {nearest(text, list(Priority))}", Exit.USAGE) from error
    if wanted is Priority.HIGH and best() is not Priority.HIGH:
        raise UserError(
            "--priority high isn't permitted here: it takes the superuser of Linux", Exit.UNAVAILABLE
        )
    return wanted
