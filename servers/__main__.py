"""`python -m servers MODEL [options]`, `python -m servers --list`.

Until there is a server to stop in order, Ctrl+C ends the process as the system does it: a KeyboardInterrupt
in the middle of an import would be shown as a traceback.
"""

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)

from servers.process import main  # noqa: E402 - the line above comes before the imports that take time

raise SystemExit(main())
