"""``make demo``: the main job on real data, through the real service and the real client.

Starts the embedded service in a folder of its own, quantizes the digits network (and a Braille network where
``../shared/data`` lies beside the checkout), prints what came out, stops the service. Last line: ``RESULT {json}``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.digits.data import build

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"
OUT = ROOT / "out"
START_TIMEOUT_S = 90
STOP_TIMEOUT_S = 30


@dataclass(frozen=True)
class Case:
    """One network of the demo."""

    name: str
    model: Path
    data: Path
    expect: float  # float accuracy on the test split that the service must reproduce before it quantizes


def main() -> int:
    """Run every case; the exit code is 0 when each ended with a verified program."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="spikebit-demo-") as folder:
        digits = Path(folder) / "digits.npz"
        build(digits)
        cases = [Case("digits", ROOT / "examples" / "digits" / "digits.nir", digits, 0.93)]
        if SHARED.is_dir():
            braille = SHARED / "models" / "braille_noDelay_noBias_subtract.nir"
            cases.append(Case("braille_subtract", braille, SHARED / "datasets" / "braille7.npz", 0.9598))
        environment = {**os.environ, "SPIKEBIT_DATA": str(Path(folder) / "service")}
        for name in ("SPIKEBIT_URL", "SPIKEBIT_API_KEY"):  # the demo speaks to its own service alone
            environment.pop(name, None)
        service = start_service(environment)
        try:
            results = {case.name: quantize(case, environment) for case in cases}
        finally:
            stop_service(service)
    for name in results:
        print(f"report of {name}: {OUT / name / 'report.html'}")
    print("RESULT " + json.dumps({"networks": results, "seconds": round(time.monotonic() - began, 1)}))
    return 0


def start_service(environment: dict[str, str]) -> subprocess.Popen[str]:
    """Start ``python -m serve`` and wait for its READY line."""
    print("starting the service (API, workers, private Redis on loopback) ...", flush=True)
    service = subprocess.Popen(
        [sys.executable, "-m", "serve"], stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
    )
    timer = threading.Timer(START_TIMEOUT_S, service.terminate)
    timer.start()
    for line in service.stdout or ():
        print(line.rstrip(), flush=True)
        if line.startswith("READY"):
            timer.cancel()
            return service
    timer.cancel()
    raise SystemExit(f"the service ended before it was ready (exit code {service.wait()})")


def stop_service(service: subprocess.Popen[str]) -> None:
    """End the service as Ctrl-C would."""
    service.send_signal(signal.SIGINT)
    try:
        service.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        service.kill()
        raise SystemExit(f"the service did not stop within {STOP_TIMEOUT_S} s") from None


def quantize(case: Case, environment: dict[str, str]) -> dict[str, Any]:
    """``spikebit quantize`` and ``spikebit verify`` as a user would run them; the numbers of the RESULT line."""
    began = time.monotonic()
    out = OUT / case.name
    print(f"\n== {case.name}: {case.model.name} on {case.data.name}", flush=True)
    command = [str(Path(sys.executable).with_name("spikebit"))]
    run = [
        *command, "quantize", str(case.model), str(case.data), "--dynamics", "nir-paper", "--avg-bits", "4",
        "--expect", str(case.expect), "--out", str(out),
    ]  # fmt: skip
    subprocess.run(run, env=environment, cwd=ROOT, check=True)
    seconds = time.monotonic() - began
    report = json.loads((out / "report.json").read_text())
    program = next(section for section in report["sections"] if section["kind"] == "integerize")
    digest = program["program_digest"]
    subprocess.run([*command, "verify", str(out), "--digest", digest], env=environment, cwd=ROOT, check=True)
    comparison = report["comparison"]
    return {
        "float_accuracy": comparison["float_accuracy"]["value"],
        "program_accuracy": comparison["program_accuracy"]["value"],
        "drop_points": comparison["drop_points"],
        "float_bytes": program["float_bytes"],
        "program_bytes": program["program_bytes"],
        "reduction": program["reduction"],
        "mean_weight_bits": program["mean_weight_bits"],
        "mismatched_spikes": program["mismatched_spikes"],
        "seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"demo failed: {' '.join(error.cmd[:2])} ended with exit code {error.returncode}")
