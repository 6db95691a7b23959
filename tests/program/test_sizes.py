from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from api.rules.estimate import estimate
from engine.network.model import Network
from engine.program.quantized import start_training, to_program
from engine.program.sizes import (
    float_bytes,
    mean_weight_bits,
    payload_bytes,
    program_bytes,
    rest_bytes,
    state_bytes,
)
from engine.program.write import write_program
from engine.specs.job import Job
from engine.specs.steps import AllocateStep
from tests.program.networks import convolutional, plan_of, recurrent


@pytest.mark.parametrize("granularity", ["channel", "layer"])
@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize(
    "network",
    [
        recurrent(),
        recurrent("snntorch-synaptic-zero"),
        recurrent("sinabs", kind="if"),
        recurrent("spikingjelly", kind="lif"),
        convolutional(),
        convolutional("sinabs"),
    ],
    ids=["subtract", "zero", "sinabs", "jelly", "conv", "conv-sinabs"],
)
def test_the_estimate_bounds_the_program(network: Network, bits: int, granularity: str) -> None:
    plan = plan_of(network, bits, granularity)
    form, parameters = start_training(network, plan, (0, 1))
    size = program_bytes(to_program(form, parameters))
    weights = sum(-(-c.weight.size * bits // 8) for c in network.weighted if c.weight is not None)
    assert weights < size <= payload_bytes(network, plan) < weights + 40 + 16 * 13


@pytest.mark.parametrize("granularity", ["channel", "layer"])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(
    "network", [recurrent(), recurrent("snntorch-synaptic-zero"), convolutional()], ids=["subtract", "zero", "conv"]
)
def test_what_a_dry_run_says_is_near_the_program(
    network: Network, bits: int, granularity: Literal["layer", "channel"]
) -> None:
    """An upper bound, a few percent above and a few bytes for each neuron or channel."""
    model = {
        "weight_layers": [[c.name, c.weight.size] for c in network.weighted if c.weight is not None],
        "program_rest_bytes": {granularity: rest_bytes(network, granularity)},
    }
    step = AllocateStep(widths=(bits,), granularity=granularity, mean_weight_bits=bits)
    job = Job.model_validate({"steps": [step.model_dump(mode="json"), {"kind": "integerize"}]})
    told = estimate(job, model, {})["program_bytes"]
    size = program_bytes(to_program(*start_training(network, plan_of(network, bits, granularity), (0, 1))))
    rows = sum(layer.shape[0] for layer in network.layers)  # neurons or channels, which differ in scale
    assert size <= told <= 1.03 * size + 3 * rows


def test_sizes_of_a_written_program(tmp_path: Path) -> None:
    network = recurrent()
    form, parameters = start_training(network, plan_of(network, 4), (0, 1))
    program = to_program(form, parameters)
    written = write_program(program, tmp_path, np.zeros((2, 5, 12), np.uint8), {})
    assert written.program_bytes == program_bytes(program) == (tmp_path / "payload.bin").stat().st_size
    assert mean_weight_bits(program) == 4
    assert float_bytes(network) == 4 * (12 * 9 + 9 * 9 + 9 * 4 + 9 + 9 + 4)
    assert state_bytes(program) == 2 * 2 * (9 + 4) + 2  # v and i of 16 bits; spikes of the recurrent layer
