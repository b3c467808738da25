"""What an experiment's contenders are judged by: words for it, and which way is better."""

from typing import NamedTuple

from bench.analysis.ratios import HIGHER_IS_BETTER, JUDGED_COLUMNS, Compared
from bench.plan.suite import Quantity
from bench.report import units


class Judging(NamedTuple):
    """A quantity in words. `does`, `do` and `did` are what the best of a load are said to do."""

    column: Compared
    header: str
    long: str
    quantity: str
    does: str
    do: str
    did: str
    worst: str  # with {name} and {factor}

    @property
    def higher_is_better(self) -> bool:
        """Otherwise less is."""
        return HIGHER_IS_BETTER[self.column]

    def figure(self, value: float) -> str:
        """A value of this quantity: `median 3.86 ms`."""
        if self.column == "rate_per_s":
            return f"{units.rate(value)} a second"
        return f"median {units.time(value)}"

    def figures(self, lowest: float, highest: float) -> str:
        """Several values."""
        if self.column == "rate_per_s":
            return f"{units.rate(lowest)} to {units.rate(highest)} a second"
        return f"medians {units.time(lowest)} to {units.time(highest)}"


JUDGINGS: dict[Quantity, Judging] = {
    "response_time": Judging(
        JUDGED_COLUMNS["response_time"],
        header="median",
        long="median",
        quantity="median response time",
        does="answers fastest",
        do="answer fastest",
        did="had the shortest median response time",
        worst="{name} takes {factor} times as long",
    ),
    "request_rate": Judging(
        JUDGED_COLUMNS["request_rate"],
        header="req/s",
        long="requests/s",
        quantity="requests a second",
        does="answers most requests",
        do="answer most requests",
        did="answered most requests",
        worst="{name} answers {factor} times as many",
    ),
    "first_echo_time": Judging(
        JUDGED_COLUMNS["first_echo_time"],
        header="first echo",
        long="first echo",
        quantity="first-echo time",
        does="gives a new client its first echo soonest",
        do="give a new client its first echo soonest",
        did="gave a new client its first echo soonest",
        worst="with {name} it takes {factor} times as long",
    ),
}
