"""The contestants of workloads A and B in one interleaved run; what ``training`` and ``simulation`` report of it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.frame import Absent, Finding, Measured
from benchmarks.peers import FRAMEWORKS, Peer, Timing, interleave, interpreter, ratio
from benchmarks.workloads import WORKLOADS, Workload

ROUNDS = 9
PEERS = {"snntorch": "benchmarks.contestants.snntorch_net", "spikingjelly": "benchmarks.contestants.spikingjelly_net"}
OURS, QUANTIZED = "benchmarks.contestants.ours", "benchmarks.contestants.ours_quantized"
NO_PEERS = "the frameworks' venv is absent: run `make frameworks`"
LOGITS_AGREE = 1e-4  # float32 sums in another order; a flipped spike shows as 1e-2 and more


@dataclass(frozen=True)
class Race:
    """Running contestants of a workload, by name."""

    workload: Workload
    peers: dict[str, Peer]

    def ratios(self, do: str, ours: str = "ours") -> dict[str, tuple[float, tuple[float, float], dict[str, Any]]]:
        """How many times longer each other contestant took than ``ours``, with spread and detail."""
        answers = interleave(list(self.peers.values()), do, rounds=ROUNDS)
        found = {}
        for name, theirs in answers.items():
            one, other = Timing.of(theirs), Timing.of(answers[ours])
            detail = {
                "rounds": ROUNDS, "load": os.getloadavg()[0],
                f"{name}_ms": {"median": 1e3 * one.median_s, "min": 1e3 * one.min_s},
                f"{ours}_ms": {"median": 1e3 * other.median_s, "min": 1e3 * other.min_s},
                "ratio_of_minima": one.min_s / other.min_s,
            }  # fmt: skip
            found[name] = (*ratio(theirs, answers[ours]), detail)
        return found

    def values(self) -> dict[str, Any]:
        """Firing rates by layer, and how far snnTorch's logits and gradients are from ours.

        Raises:
            RuntimeError: they differ; then the times compare different computations.
        """
        answers = {name: peer.ask("values") for name, peer in self.peers.items()}
        found: dict[str, Any] = {"firing_rates": {name: answer["rates"] for name, answer in answers.items()}}
        if "snntorch" in answers:
            pairs = zip(answers["ours"]["logits"], answers["snntorch"]["logits"], strict=True)
            worst = max(abs(a - b) for one, two in pairs for a, b in zip(one, two, strict=True))
            found["logits_differ_from_snntorch"] = worst
            norms = zip(answers["ours"]["norms"], answers["snntorch"]["norms"], strict=True)
            found["gradient_norms_differ"] = max(abs(a / b - 1) for a, b in norms)
            if worst > LOGITS_AGREE:
                raise RuntimeError(
                    f"our logits differ from snnTorch's by {worst:.2g}, expected {LOGITS_AGREE:g} at most"
                )
        return found


@contextmanager
def race(name: str, quantized: bool = False) -> Iterator[Race]:
    """Contestants of workload ``A`` or ``B`` with the same briefly trained weights; peers where their venv is."""
    from benchmarks.contestants.ours import train_briefly

    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="spikebit-race-"))
        weights = Path(folder) / "weights.npz"
        train_briefly(WORKLOADS[name], weights)
        peers = {"ours": stack.enter_context(Peer("ours", OURS, name, str(weights)))}
        if quantized:
            peers["quantized"] = stack.enter_context(Peer("quantized", QUANTIZED, name, str(weights)))
        python = interpreter(FRAMEWORKS)
        for peer, module in PEERS.items() if python is not None else ():
            peers[peer] = stack.enter_context(Peer(peer, module, name, str(weights), python=python))
        yield Race(WORKLOADS[name], peers)


def compared(
    rows: dict[str, str], ratios: dict[str, tuple[float, tuple[float, float], dict[str, Any]]], values: dict[str, Any]
) -> Iterator[Finding]:
    """Rows (contestant → row name) of one race; a contestant that did not run is absent."""
    for contestant, row in rows.items():
        if contestant in ratios:
            value, spread, detail = ratios[contestant]
            yield Measured(row, value, spread, {**detail, **values})
        else:
            yield Absent(row, NO_PEERS)
