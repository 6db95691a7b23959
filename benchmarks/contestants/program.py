"""The integer program of a workload at 8 bits: event kernel with events given or extracted, and the dense path."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.contestants.ours import network_of
from benchmarks.peers import serve
from benchmarks.workloads import WORKLOADS, load_weights, samples
from engine.network.simulate import run
from engine.program.event_tables import prepare_events
from engine.program.events import extract_events, run_prepared
from engine.program.quantized import start_training, to_program
from engine.program.simulate import prepare_program
from engine.specs.plan import Plan, WeightPlan

BITS = 8


def main() -> None:
    """Serve ``evaluate`` for one way of running; ``values`` says what came out."""
    parser = argparse.ArgumentParser()
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--way", choices=("given", "extracted", "dense"), default="given")
    parser.add_argument("--level", default=None)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    workload = WORKLOADS[options.workload]
    found, _ = samples(workload)
    network = network_of(workload, load_weights(options.weights))
    plan = Plan(weights={c.name: WeightPlan(bits=BITS) for c in network.weighted})
    program = to_program(*start_training(network, plan, (0, 1)))
    frames = np.ascontiguousarray(np.swapaxes(found, 0, 1), dtype=np.float32)  # [sample, time, ...]
    # torch's products use the whole processor, so the portable rows are by events alone
    prepared = prepare_events(program, options.level, "never" if options.level == "DEFAULT" else "measured")
    events, _ = extract_events(prepared, frames)
    dense, x = prepare_program(program), torch.as_tensor(found).to(torch.float32)
    last: dict[str, Any] = {}

    def evaluate(repeat: int = 1) -> None:
        for _ in range(repeat):
            if options.way == "dense":
                with torch.no_grad():
                    last["counts"] = run(dense, x).counts.numpy()
            else:
                given = events if options.way == "given" else extract_events(prepared, frames)[0]
                ran = run_prepared(prepared, given)
                last["counts"], last["layers"] = ran.counts, ran.layers

    def values() -> dict[str, Any]:
        evaluate()
        spikes = {name: held.count for name, held in last.get("layers", {}).items()}
        return {"counts": np.asarray(last["counts"], dtype=np.int64).tolist(), "spikes": spikes, "events": events.count}

    serve({"evaluate": evaluate, "values": values})


if __name__ == "__main__":
    main()
