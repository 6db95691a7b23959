"""An engine that speaks the child's protocol and computes nothing: what it does stands in the "dataset", as JSON.

Only for tests of the supervision. It runs inside ``worker.child``, so it stands alone.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from engine.errors import EngineError


@dataclass(frozen=True)
class Inputs:
    model: Path
    dataset: Path
    expected_counts: Path | None = None
    expected_traces: Path | None = None


def run(job: Any, inputs: Inputs, out: Path, events: Any, resume: Path | None) -> Any:
    orders = json.loads(inputs.dataset.read_text())
    begin = _MODES.get(orders.get("mode", "epochs"))
    if begin is not None:
        begin(orders, out)
    state = json.loads(resume.read_text()) if resume is not None else {"epoch": 0, "value": job.seed}
    events.log(f"pid {os.getpid()} begins at epoch {state['epoch']}")
    epochs = orders.get("epochs", 3)
    for epoch in range(state["epoch"], epochs):
        time.sleep(orders.get("epoch_s", 0.0))
        state = {"epoch": epoch + 1, "value": state["value"] * 31 % 1009 + 7}
        events.progress("finetune", epoch + 1, epochs, loss=float("nan") if epoch == 0 else 1.0 / epoch)
        path = out / f"epoch{epoch + 1}.checkpoint"
        path.write_text(json.dumps(state))
        events.checkpoint(path)
    (out / "program").mkdir()
    (out / "program" / "payload.bin").write_bytes(str(state["value"]).encode())
    (out / "report.json").write_text(json.dumps({"value": state["value"]}))
    artifacts = [
        SimpleNamespace(role="report-json", path="report.json", media_type="application/json"),
        SimpleNamespace(role="program-payload", path="program/payload.bin", media_type="application/octet-stream"),
    ]
    if "artifact" in orders:
        artifacts.append(SimpleNamespace(role="plan", path=orders["artifact"], media_type="application/json"))
    return SimpleNamespace(report=None, artifacts=tuple(artifacts), verdict=orders.get("verdict", "none"))


def _refuse(orders: dict[str, Any], out: Path) -> None:
    raise EngineError("expectation_missed", "expected 0.9, found 0.8", "/expect")


def _bug(orders: dict[str, Any], out: Path) -> None:
    raise KeyError("a bug")


def _memory(orders: dict[str, Any], out: Path) -> None:
    bytearray(orders["bytes"])


def _rubbish(orders: dict[str, Any], out: Path) -> None:
    """Write into whatever pipe the protocol uses."""
    for fd in range(3, 64):
        try:
            if stat.S_ISFIFO(os.fstat(fd).st_mode):
                os.write(fd, b"rubbish\n")
        except OSError:
            continue
    time.sleep(60)


def _die(orders: dict[str, Any], out: Path) -> None:
    print("printed before the end", file=sys.stderr, flush=True)
    os._exit(orders.get("status", 5))


def _network(orders: dict[str, Any], out: Path) -> None:
    names = [line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:]]
    secrets = sorted(name for name in os.environ if name.startswith("SPIKEBIT"))
    raise EngineError(
        "seen",
        json.dumps(
            {"interfaces": names, "environment": secrets, "cwd": os.getcwd(), "trace": os.environ.get("TRACEPARENT")}
        ),
    )


def _chatter(orders: dict[str, Any], out: Path) -> None:
    print("to stdout", flush=True)
    os.write(1, b"natively\n")
    (out / "link").symlink_to("/etc/hostname")


_MODES = {
    "refuse": _refuse,
    "bug": _bug,
    "memory": _memory,
    "rubbish": _rubbish,
    "die": _die,
    "network": _network,
    "chatter": _chatter,
}
