"""The one kind of failure that is shown to a user: what is wrong and what to do, with an exit code."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every command."""

    FAILED = 1
    USAGE = 2
    UNAVAILABLE = 3
    THRESHOLD = 4
    INTERRUPTED = 130


class UserError(Exception):
    """One or two lines for stderr. Anything else that reaches the top is a defect of this program."""

    def __init__(self, message: str, exit_code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code
