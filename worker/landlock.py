"""Landlock: a process that gives up every file but the ones it was given (Linux 5.13 or newer).

A child has the user id of the service, so file permissions do not keep it from the service's keys, database and other
tenants' blobs; this does. Best effort, standard library alone: where the kernel lacks it the caller gets the reason.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same number on every architecture
_VERSION_FLAG = 1
_PATH_BENEATH = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REFER, TRUNCATE = 1 << 13, 1 << 14
_FIRST_VERSION = (1 << 13) - 1  # all of the above and removing and making of every kind
_ON_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE
READ = EXECUTE | READ_FILE | READ_DIR
SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/etc", "/nix/store", "/proc", "/sys")
DEVICES = ("null", "zero", "full", "random", "urandom", "nvidia*", "dri", "kfd")
OWN_PACKAGES = ("engine", "runtime", "worker", "jobs")


def version() -> int:
    """The kernel's Landlock version; 0 where there is none."""
    if not sys.platform.startswith("linux"):
        return 0
    return max(0, _syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG)))


def confine(read: Iterable[str | Path], write: Iterable[str | Path]) -> str | None:
    """Leave this thread and what it starts only the system, Python, our packages and the given places; for good.

    ``PR_SET_NO_NEW_PRIVS`` must be set. Threads that run already keep what they had.

    Args:
        read: files and folders to read.
        write: folders in which everything may be done.

    Returns:
        None when it holds, else why not.

    Example:
        >>> reason = confine([], ["/tmp/attempt"])     # doctest: +SKIP
    """
    known = version()
    if known < 1:
        return "the kernel has no Landlock (5.13 or newer, enabled at boot)"
    handled = _FIRST_VERSION | (REFER if known >= 2 else 0) | (TRUNCATE if known >= 3 else 0)
    attributes = ctypes.create_string_buffer(struct.pack("=Q", handled), 8)
    ruleset = _syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(8), ctypes.c_uint32(0))
    if ruleset < 0:
        return _reason("landlock_create_ruleset")
    try:
        for place in (*SYSTEM, *_python(), *read):
            _allow(ruleset, place, READ & handled)
        for place in (*(device for name in DEVICES for device in Path("/dev").glob(name)), *write):
            _allow(ruleset, place, handled)
        if _syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0)) != 0:
            return _reason("landlock_restrict_self")
    except OSError as error:
        return str(error)
    finally:
        os.close(ruleset)
    return None


def _python() -> list[str]:
    """The interpreter, its libraries, and our own packages; not the folder around them, which may hold anything."""
    places = [sys.prefix, sys.base_prefix, sys.exec_prefix]
    for name in OWN_PACKAGES:
        spec = importlib.util.find_spec(name)
        places += list(spec.submodule_search_locations or ()) if spec is not None else []
    return places


def _allow(ruleset: int, place: str | Path, rights: int) -> None:
    """One rule; a place that is not there needs none."""
    try:
        handle = os.open(place, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not os.path.isdir(f"/proc/self/fd/{handle}"):
            rights &= _ON_FILES
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, handle), 12)
        if _syscall(_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_PATH_BENEATH), rule, ctypes.c_uint32(0)) != 0:
            raise OSError(_reason(f"landlock_add_rule {place}"))
    finally:
        os.close(handle)


def _syscall(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return int(libc.syscall(ctypes.c_long(number), *arguments))


def _reason(what: str) -> str:
    return f"{what}: {os.strerror(ctypes.get_errno())}"
