"""What of runs could not be read, in words: nothing that is left out is left out in silence."""

from collections.abc import Mapping, Sequence

from bench.records.reading import Unread

TITLE = "What could not be read"
LINES_MAX = 5  # numbers of lines that are named; of more the first


def sentences(unread: Mapping[str, Sequence[Unread]], labels: Mapping[str, str]) -> list[str]:
    """A line for each reason; where there are several runs, with the run's label."""
    return [
        f"{labels[run]}: {sentence(one)}" if len(labels) > 1 else sentence(one)
        for run, own in unread.items()
        for one in own
    ]


def sentence(one: Unread) -> str:
    """`cells.jsonl: 2 lines are left out (3, 7): damaged: no JSON`."""
    if not one.lines:
        return f"{one.file}: {one.reason}"
    numbers = ", ".join(map(str, one.lines[:LINES_MAX]))
    more = len(one.lines) - LINES_MAX
    which = f"{numbers} and {more} more" if more > 0 else numbers
    several = len(one.lines) > 1
    return (
        f"{one.file}: {len(one.lines)} line{'s are' if several else ' is'} left out ({which}): {one.reason}"
    )
