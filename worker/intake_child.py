"""The process that reads one upload: ``python -m worker.intake_child``. No network, no database, no keys, no torch.

One JSON line in (worker.intake writes it), one JSON line out. It gives up the network and takes its limits before any
library that parses is imported, and ends when stdin does: its parent died.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any

from worker.isolation import die_with_parent, forbid_new_privileges, leave_network, set_limits
from worker.landlock import confine

MAX_REQUEST_BYTES = 1 << 20
# Wall time is the supervisor's; these hold where it gives no others.
MODEL_CPU_S = 20  # damage can make the HDF5 library loop for ever; a gigabyte of weights needs 5 s
DEFAULT_LIMITS = {
    "address_space_bytes": 2 << 30,
    "file_bytes": (4 << 30) + (64 << 20),
    "cpu_s": 120,
    "open_files": 64,
    "core_bytes": 0,
}


def main() -> None:
    """Serve one request, then end."""
    parent = os.getppid()
    die_with_parent(parent)
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever prints, natively too, prints into the log
    request = _read_request()
    _isolate(request)
    _keep_to_own_files(request)
    answer = _check(request)
    os.write(answers, json.dumps(answer, allow_nan=False).encode() + b"\n")
    sys.stderr.flush()
    os._exit(0)


def _read_request() -> dict[str, Any]:
    line = sys.stdin.buffer.readline(MAX_REQUEST_BYTES)
    request = json.loads(line)
    if not isinstance(request, dict):
        raise TypeError("expected one JSON object")
    return request


def _isolate(request: dict[str, Any]) -> None:
    """Before any thread starts: a namespace cannot be left with threads running."""
    forbid_new_privileges()
    reason = leave_network()
    if reason is not None:
        print(f"the network could not be left: {reason}", file=sys.stderr)
    given = request.get("limits") or {}
    limits = DEFAULT_LIMITS | {key: int(value) for key, value in given.items() if key in DEFAULT_LIMITS}
    if request.get("kind") == "model":
        limits["cpu_s"] = min(limits["cpu_s"], MODEL_CPU_S)
    for problem in set_limits(limits):
        print(problem, file=sys.stderr)
    # One thread of BLAS: each further one reserves memory for nothing here.
    os.environ.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
    os.environ["HDF5_PLUGIN_PRELOAD"] = "::"  # load no filter from a shared library
    threading.Thread(target=_end_with_stdin, name="stdin", daemon=True).start()


def _keep_to_own_files(request: dict[str, Any]) -> None:
    """From here on: the upload to read, the folder of the canonical file to write."""
    reason = confine([str(request["path"])], [os.path.dirname(os.path.abspath(str(request["out"])))])
    if reason is not None:
        print(f"the other files could not be given up: {reason}", file=sys.stderr)


def _end_with_stdin() -> None:
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(1)


def _check(request: dict[str, Any]) -> dict[str, Any]:
    # Imported here: the limits above must hold for everything that parses.
    from worker.intake_checks import check_upload

    try:
        return check_upload(request)
    except OSError as error:
        detail = f"the file could not be read or re-written: {error.strerror}"
        return {"ok": False, "code": "unreadable", "detail": detail, "pointer": None}


if __name__ == "__main__":
    main()
