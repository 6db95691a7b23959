"""What a child process gives up before it touches anything of a user: network, memory, files, its parent's death.

Standard library alone, and everything best effort: where a platform lacks a part, the child says so and goes on.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000

_LIMITS = {
    "address_space_bytes": resource.RLIMIT_AS,
    "open_files": resource.RLIMIT_NOFILE,
    "file_bytes": resource.RLIMIT_FSIZE,
    "core_bytes": resource.RLIMIT_CORE,
    "cpu_s": resource.RLIMIT_CPU,
}


def die_with_parent(parent_pid: int, sig: int = signal.SIGKILL) -> bool:
    """Ask the kernel to send ``sig`` when the thread that started this process ends (Linux ``PR_SET_PDEATHSIG``).

    The setting survives ``exec`` and is cleared by a change of credentials, so call it after those.

    Args:
        parent_pid: who the parent must be; if it is gone already this process ends at once.
        sig: signal to get.

    Returns:
        False where the platform has no such call; the end of file on stdin is the second line of defence.

    Example:
        >>> die_with_parent(os.getppid(), 0)     # 0 clears the setting
        True
    """
    if not _prctl(PR_SET_PDEATHSIG, sig):
        return False
    if os.getppid() != parent_pid:
        os._exit(1)
    return True


def forbid_new_privileges() -> bool:
    """Make every later ``exec`` unable to gain privileges (``PR_SET_NO_NEW_PRIVS``)."""
    return _prctl(PR_SET_NO_NEW_PRIVS, 1)


def leave_network() -> str | None:
    """Move this process into an empty network namespace; must run before any thread starts.

    First with a user namespace of its own (works for ordinary users and drops root's powers over the host), then,
    as root, with a network namespace alone.

    Returns:
        None when the network is gone, else why it is not.

    Example:
        >>> reason = leave_network()     # doctest: +SKIP
    """
    if not sys.platform.startswith("linux"):
        return f"network namespaces need Linux, this is {sys.platform}"
    uid, gid = os.getuid(), os.getgid()
    reason = _unshare(CLONE_NEWUSER | CLONE_NEWNET)
    if reason is None:
        _map_ids(uid, gid)
        return None
    return _unshare(CLONE_NEWNET) if uid == 0 else reason


def yield_cpu(niceness: int) -> None:
    """Take the CPU only where the service itself does not want it: the API answers in milliseconds beside a fine-tune.

    Args:
        niceness: at least this much (0 to 19); a process that is nicer already stays so.

    Example:
        >>> yield_cpu(0)     # nothing changes
    """
    more = max(0, niceness - os.nice(0))
    if not more:
        return
    with contextlib.suppress(OSError):
        os.nice(more)
    with contextlib.suppress(OSError):  # with autogroups Linux weighs sessions, and a child has one of its own
        Path("/proc/self/autogroup").write_text(str(os.nice(0)))


def set_limits(limits: Mapping[str, int]) -> list[str]:
    """Lower this process's resource limits; a limit above the hard one is cut down to it.

    Args:
        limits: name → value; names ``address_space_bytes open_files file_bytes core_bytes cpu_s``; others are ignored.

    Returns:
        One sentence for each limit that could not be set.

    Example:
        >>> set_limits({"core_bytes": 0})
        []
    """
    refused = []
    for name, value in limits.items():
        if name not in _LIMITS:
            continue
        kind = _LIMITS[name]
        hard = resource.getrlimit(kind)[1]
        least = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(kind, (least, least))
        except (OSError, ValueError) as error:
            refused.append(f"limit {name} = {value} could not be set: {error}")
    return refused


def _prctl(option: int, value: int) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) == 0)


def _unshare(flags: int) -> str | None:
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(flags) == 0:
            return None
    except (OSError, AttributeError) as error:
        return str(error)
    return f"unshare: {os.strerror(ctypes.get_errno())}"


def _map_ids(uid: int, gid: int) -> None:
    """Keep the same numbers inside the user namespace; without a map the process is ``nobody`` and still works."""
    with contextlib.suppress(OSError):
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
