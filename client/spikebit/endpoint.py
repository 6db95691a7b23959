"""Where the service is: a local one by itself, else ``SPIKEBIT_URL`` and ``SPIKEBIT_API_KEY``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from spikebit.errors import Unreachable, UsageError


@dataclass(frozen=True)
class Endpoint:
    """Address and key of a service, and where they were found."""

    url: str
    key: str | None = field(repr=False)
    source: str


def state_folder(environ: Mapping[str, str]) -> Path:
    """The folder in which a local service keeps its state (``SPIKEBIT_DATA``, else the user's state folder).

    Example:
        >>> state_folder({"SPIKEBIT_DATA": "/srv/spikebit"}).as_posix()
        '/srv/spikebit'
    """
    if environ.get("SPIKEBIT_DATA"):
        return Path(environ["SPIKEBIT_DATA"]).expanduser()
    base = environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path("~/.local/state").expanduser()) / "spikebit"


def find_endpoint(
    environ: Mapping[str, str] | None = None, *, url: str | None = None, key: str | None = None
) -> Endpoint:
    """The service to talk to.

    Args:
        environ: environment variables; None: the process's own.
        url: an address that wins over everything (``--url``).
        key: the key for it; None: ``SPIKEBIT_API_KEY``.

    Returns:
        A running local service, else the one that the environment names.

    Raises:
        Unreachable: neither is there; the message says what was looked at.
        UsageError: the address is none.
    """
    environ = os.environ if environ is None else environ
    if url:
        return Endpoint(_address(url, "--url"), key or environ.get("SPIKEBIT_API_KEY"), "--url")
    folder = state_folder(environ)
    local = _local(folder)
    if local is not None:
        return local
    remote = environ.get("SPIKEBIT_URL")
    if remote:
        return Endpoint(_address(remote, "SPIKEBIT_URL"), environ.get("SPIKEBIT_API_KEY"), "SPIKEBIT_URL")
    raise Unreachable(
        f"no service found: none is running with the state folder {folder}, and SPIKEBIT_URL is not set",
        code="no_service",
        advice="Start one with `make serve`, or set SPIKEBIT_URL and SPIKEBIT_API_KEY.",
    )


def _address(text: str, source: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise UsageError(f"{source}: expected http://host:port or https://host, found {text!r}", code="usage")
    return text.rstrip("/")


def _local(folder: Path) -> Endpoint | None:
    try:
        record = json.loads((folder / "endpoint.json").read_text(encoding="utf-8"))
        url, pid = str(record["url"]), int(record["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not _alive(pid):
        return None
    try:
        key = (folder / "key").read_text(encoding="utf-8").strip()
    except OSError as error:
        raise Unreachable(
            f"a service runs at {url}, but its key {folder / 'key'} cannot be read: {error.strerror}",
            code="key_unreadable",
            advice="Run the command as the user that started the service.",
        ) from error
    return Endpoint(url.rstrip("/"), key, str(folder))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True
