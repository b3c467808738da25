"""What ends a command in order: Ctrl+C, and what else means the same."""

import signal


def take_as_ctrl_c() -> None:
    """A polite kill, and Ctrl+Break at a Windows console, raise KeyboardInterrupt as Ctrl+C does."""
    for name in ("SIGTERM", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)
