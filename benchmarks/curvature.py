"""``make bench NAME=curvature``: layer traces against PyHessian on snnTorch and against our own double backward.

Workloads A and B, one thread, process CPU time, contestants interleaved. A peer's cost is its setup plus the
probes that its slowest layer needs for a standard error of 5 % (from the spread of ``PROBES`` whole-batch probes)
times its median probe; ours is the median of whole analyses from nothing until every layer has that error.
``A-nmnist`` and ``B-braille`` are the same on recordings of third parties, reported beside; ``allocation`` says how
many times fewer sweeps would do at equal error if samples had numbers of their own, a pilot included. How well
predictions hold on networks and what plans are worth is measured by ``prediction`` and ``plans``, whose rows are named
here too.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import numpy as np

from benchmarks.frame import Absent, Finding, Measured, Row
from benchmarks.peers import FRAMEWORKS, Peer, interleave, interpreter, ratio
from benchmarks.recorded import findings_of, rows_of
from benchmarks.workloads import ALL_WORKLOADS, REAL_WORKLOADS, WORKLOADS, Workload, recordings_path

ERROR = 0.05
PROBES = 50
ANALYSES = 3
_BOUNDS = {
    "hessian_detached": {"A": (15.0, 50.0), "B": (40.0, 130.0)},
    "ggn_through": {"A": (60.0, 130.0), "B": (100.0, 250.0)},
    "hessian_through": {"A": (20.0, 75.0), "B": (40.0, 160.0)},
    "one_probe": {"A": (6.0, 13.0), "B": (8.0, 13.0)},
}
ROWS = (
    *(
        Row(f"{name}.{workload}", "x", "higher", *bounds)
        for name, each in _BOUNDS.items()
        for workload, bounds in each.items()
    ),
    *(Row(f"{name}.{workload}", "x", "higher") for name in _BOUNDS for workload in REAL_WORKLOADS),
    *(Row(f"value_float32.{workload}", "relative", "lower", 1e-4) for workload in WORKLOADS),
    Row("value_float64", "relative", "lower", 1e-9),
    *(Row(f"peak_memory.{workload}", "of PyHessian's", "lower", 1.0, 0.5) for workload in WORKLOADS),
    *(Row(f"allocation.{workload}", "times fewer sweeps", "higher") for workload in WORKLOADS),
    *(Row(f"growth.{what}", "exponent", "lower", 1.3) for what in ("steps", "parameters", "samples")),
    Row("large.peak_bytes", "bytes", "lower", 8 * 2**30),
    *rows_of("prediction"),
    *rows_of("plans"),
)


def run() -> Iterator[Finding]:
    """Both workloads, then what needs no peer."""
    yield from _growth()
    yield from _large()
    yield _double_precision()
    yield from findings_of("prediction")
    yield from findings_of("plans")
    python = interpreter(FRAMEWORKS)
    with tempfile.TemporaryDirectory(prefix="spikebit-curvature-") as folder:
        for workload in ALL_WORKLOADS.values():
            reason = None if python is not None else "make frameworks was not run"
            if workload.recordings is not None and not recordings_path(workload).exists():
                reason = "../shared/data is absent"
            if reason is not None or python is None:
                for row in ROWS:
                    if row.name.endswith(f".{workload.name}"):
                        yield Absent(row.name, str(reason))
                continue
            yield from _contest(workload, Path(folder), python)


def _contest(workload: Workload, folder: Path, python: Path) -> Iterator[Finding]:
    from benchmarks.contestants.ours import train_briefly

    weights = folder / f"{workload.name}.npz"
    train_briefly(workload, weights)
    given = (workload.name, str(weights))
    with (
        Peer("ours", "benchmarks.contestants.curvature_ours", *given) as ours,
        Peer("pyhessian", "benchmarks.contestants.pyhessian_net", *given, python=python) as theirs,
        Peer("double", "benchmarks.contestants.double_backward", *given) as double,
    ):
        setups = {peer.name: [peer.ask("setup")["cpu_s"] for _ in range(2)][-1] for peer in (theirs, double)}
        ours.ask("setup", reset="detached")
        rounds = interleave((ours, theirs, double), "probe", rounds=9, warm_up=1)
        value, spread = ratio(rounds["pyhessian"], rounds["ours"])
        yield Measured(f"one_probe.{workload.name}", value, spread, {"medians_s": _medians(rounds), "setup_s": setups})
        if workload.recordings is None:
            yield _agreement(workload, folder, ours, theirs)
            ours.ask("setup", reset="through")
            found = ours.ask("allocation")
            value = found["alike"]["equal"] / found["pilot"]["equal"]
            yield Measured(f"allocation.{workload.name}", value, detail=found)
        first, second = (_probes(peer) for peer in (theirs, double))
        detached = _cost(setups["pyhessian"], rounds["pyhessian"], _needed(first))
        runs = [
            ours.ask("analysis", quantity="hessian", reset="detached", seed=seed, min_probes=4)
            for seed in range(ANALYSES)
        ]
        yield _against(f"hessian_detached.{workload.name}", detached, first, runs)
        runs = [ours.ask("analysis", quantity="ggn", reset="through", seed=seed) for seed in range(ANALYSES)]
        yield _against(f"ggn_through.{workload.name}", detached, first, runs)
        runs = [
            ours.ask("analysis", quantity="hessian", reset="through", seed=seed, min_probes=4)
            for seed in range(ANALYSES)
        ]
        floor = [layer["gauss_newton"] for layer in runs[0]["layers"]]
        own = _cost(setups["double"], rounds["double"], _needed(second, floor))
        yield _against(f"hessian_through.{workload.name}", own, second, runs)
    if workload.recordings is None:
        yield _memory(workload, given, python)


def _medians(rounds: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    return {name: median(answer["cpu_s"] for answer in answers) for name, answers in rounds.items()}


def _probes(peer: Peer) -> list[list[float]]:
    """``[probe][layer]``."""
    return [peer.ask("probe", seed=1000 + seed)["values"] for seed in range(PROBES)]


def _needed(probes: Sequence[Sequence[float]], floor: Sequence[float] | None = None) -> list[int]:
    """Probes to a standard error of 5 % per layer, of the trace (or of ``floor`` where that is larger)."""
    needed = []
    for layer, values in enumerate(zip(*probes, strict=True)):
        size = max(abs(mean(values)), 0.0 if floor is None else floor[layer])
        needed.append(math.ceil((stdev(values) / size / ERROR) ** 2))
    return needed


def _cost(setup: float, timed: Sequence[dict[str, Any]], needed: Sequence[int]) -> float:
    return float(setup + max(needed) * median(answer["cpu_s"] for answer in timed))


def _against(name: str, theirs: float, probes: list[list[float]], runs: list[dict[str, Any]]) -> Finding:
    seconds = [answer["cpu_s"] for answer in runs]
    if not all(layer["converged"] for answer in runs for layer in answer["layers"]):
        return Absent(name, "a layer did not reach the asked error")
    detail = {
        "peer_s": theirs,
        "peer_means": [mean(values) for values in zip(*probes, strict=True)],
        "peer_probes_needed": _needed(probes),
        "ours_s": seconds,
        "ours": runs[0]["layers"],
    }
    return Measured(name, theirs / median(seconds), (theirs / max(seconds), theirs / min(seconds)), detail)


def _agreement(workload: Workload, folder: Path, ours: Peer, theirs: Peer) -> Finding:
    draw, path = np.random.default_rng(5), folder / f"directions-{workload.name}.npz"
    directions = {n: draw.standard_normal(shape).astype(np.float32) for n, shape in workload.layers.items()}
    np.savez(path, **directions)  # type: ignore[arg-type]
    mine, other = (peer.ask("value", directions=str(path))["values"] for peer in (ours, theirs))
    worst = max(abs(mine[name] - other[name]) / abs(other[name]) for name in directions)
    return Measured(f"value_float32.{workload.name}", worst, detail={"ours": mine, "pyhessian": other})


def _memory(workload: Workload, given: tuple[str, str], python: Path) -> Finding:
    """Growth of the peak from a process that has loaded network and data, by a whole analysis or by one probe."""
    grown = {}
    for name, module, venv, work in (
        ("ours", "curvature_ours", None, ("analysis", {"quantity": "hessian", "reset": "detached"})),
        ("pyhessian", "pyhessian_net", python, ("probe", {})),
    ):
        with Peer(name, f"benchmarks.contestants.{module}", *given, python=venv) as peer:
            before = peer.ask("memory")["now"]
            if name == "pyhessian":
                peer.ask("setup")
            peer.ask(work[0], **work[1])
            grown[name] = peer.ask("memory")["peak"] - before
    return Measured(f"peak_memory.{workload.name}", grown["ours"] / grown["pyhessian"], detail={"grown_bytes": grown})


def _double_precision() -> Finding:
    from benchmarks.curvature_sizes import worst_in_double

    return Measured("value_float64", worst_in_double())


def _growth() -> Iterator[Finding]:
    from benchmarks.curvature_sizes import growth

    for what, (exponent, table) in growth().items():
        yield Measured(f"growth.{what}", exponent, detail={"size and CPU seconds": table})


def _large() -> Iterator[Finding]:
    from benchmarks.curvature_sizes import large

    found = large()
    yield Measured("large.peak_bytes", found["peak_bytes"], detail=found)
