"""Runs a command that ends with its parent: `python -m app.tied COMMAND...`.

`fettle up` starts everything through this, so that killing it (even with SIGKILL) leaves nobody behind. The wish outlives
the exec. Linux only; elsewhere the command simply runs, and the next `fettle up` ends what it finds.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before we could say so
            sys.exit(1)
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 the command comes from our own supervisor


if __name__ == "__main__":
    main()
