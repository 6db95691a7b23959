"""Start one part of the service so that it cannot outlive its supervisor: ``python -m serve.part PARENT -- COMMAND``.

Sets the parent-death signal in the new process and then becomes the command. ``subprocess`` has ``preexec_fn`` for
this, which is not safe in a program with threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
USAGE = "usage: python -m serve.part PARENT_PID -- COMMAND [ARGUMENT ...]"


def main(arguments: list[str]) -> None:
    """Tie this process to ``PARENT_PID`` and exec the command."""
    if len(arguments) < 3 or arguments[1] != "--" or not arguments[0].isdigit():
        raise SystemExit(USAGE)
    if sys.platform.startswith("linux"):
        # SIGKILL: the only signal that no part can survive. An orderly end is the supervisor's SIGTERM.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != int(arguments[0]):
            raise SystemExit("the supervisor is gone")
    command = arguments[2:]
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
