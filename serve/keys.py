"""Files of the embedded service that only its owner may read: the API key, and where the service answers."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from jobs.database import Database
from jobs.store import Tenant, add_key, generate_key

KEY_NAME = "key"
ENDPOINT_NAME = "endpoint.json"


def ensure_key(folder: Path, database: Database, tenant_id: str) -> Path:
    """Make the API key of this data folder once (``O_EXCL``, mode 0600); its hash goes into the records each time.

    Returns:
        The key's file.

    Raises:
        ValueError: the file does not hold a key of ours.
    """
    path = folder / KEY_NAME
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        path.chmod(0o600)
    else:
        with os.fdopen(fd, "w") as file:
            file.write(generate_key() + "\n")
            file.flush()
            os.fsync(file.fileno())
    try:
        add_key(Tenant(database, tenant_id), path.read_text().strip(), "embedded")
    except ValueError as error:
        raise ValueError(f"{path}: {error}; remove the file to get a new key") from None
    return path


def write_endpoint(folder: Path, url: str) -> None:
    """Say where the service answers, in one rename, mode 0600."""
    fd, name = tempfile.mkstemp(prefix=ENDPOINT_NAME, dir=folder)  # mkstemp: mode 0600
    with os.fdopen(fd, "w") as file:
        json.dump({"url": url, "pid": os.getpid()}, file)
    Path(name).replace(folder / ENDPOINT_NAME)


def remove_endpoint(folder: Path) -> None:
    """The service answers no more."""
    (folder / ENDPOINT_NAME).unlink(missing_ok=True)
