"""`python -m servers MODEL [options]`, `python -m servers --list`.

Until there is a server to stop in order, Ctrl+C ends the process as the system does it: a KeyboardInterrupt
in the middle of an import would be shown as a traceback.
"""

import signal
import sys

signal.signal(signal.SIGINT, signal.SIG_DFL)

try:
    import socket  # noqa: F401 - on Windows this starts Winsock
except ImportError as failure:
    import json

    on_windows = (
        " (10091 WSASYSNOTREADY and its kind: see WSAStartup): sockets don't work on this system; "
        "restart it, or repair them with `netsh winsock reset`"
    )
    elsewhere = ": this Python was built without sockets; use another"
    reason = f"{failure}{on_windows if sys.platform == 'win32' else elsewhere}"
    print(json.dumps({"event": "unavailable", "reason": reason}))
    raise SystemExit(3) from None

from servers.process import main  # noqa: E402 - the lines above come before the imports that take time

raise SystemExit(main())
