"""`iocpbench`, which is also `python -m bench`.

Until there is something to end in order, Ctrl+C ends the process as the system does it: a KeyboardInterrupt
in the middle of an import would be shown as a traceback.
"""

import signal
from typing import NoReturn


def main() -> NoReturn:
    """Load the commands and run the one that is asked for."""
    is_interruptible = (
        signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )  # in the background it isn't
    if is_interruptible:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from bench.commands import cli

    if is_interruptible:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    cli.main()


if __name__ == "__main__":
    main()
