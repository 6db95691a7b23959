"""The integer programs that ``make bench NAME=exports`` writes: every fixture and every network with data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.networks import NETWORKS, Case
from engine.errors import NotRepresentable
from engine.network.model import Network
from engine.program.program import IntegerProgram
from engine.specs.dynamics import Dynamics, DynamicsRequest, resolve_dynamics
from engine.specs.plan import NeuronPlan, Plan, WeightPlan
from engine.specs.targets import TARGETS
from tests.fixtures.load import NAMES, load_fixture

BITS = 4
STEPS, SAMPLES = 24, 2  # of the samples that are run


@dataclass(frozen=True)
class Made:
    """A program with a few samples ``[sample, time, ...]``, or why there is none."""

    name: str
    program: IntegerProgram | None
    x: NDArray[Any]
    reason: str = ""


def uniform_plan(network: Network) -> Plan:
    """The same widths everywhere, a scale a channel, the defaults for neurons."""
    return _plan(network, NeuronPlan(), "channel")


def loihi_plan(network: Network) -> Plan:
    """As a job for ``loihi2`` plans it, with the same widths everywhere."""
    target = TARGETS["loihi2"]
    state = NeuronPlan(
        state_bits=target.state_bits,
        fraction_bits=target.fraction_bits or 0,
        level_bits=target.level_bits,
        shared_scale=target.shared_scale,
        leak=target.leak,
    )
    return _plan(network, state, target.granularity)


def _plan(network: Network, state: NeuronPlan, granularity: Literal["layer", "channel"]) -> Plan:
    return Plan(
        weights={c.name: WeightPlan(bits=BITS, granularity=granularity) for c in network.weighted},
        neurons={layer.name: state for layer in network.layers},
    )


PlanOf = Callable[[Network], Plan]


def programs(plan_of: PlanOf = uniform_plan) -> Iterator[Made]:
    """Every network's program, weights rounded without training (sizes and arithmetic do not depend on it)."""
    for name in NAMES:
        fixture = load_fixture(name)
        dynamics = resolve_dynamics(DynamicsRequest.model_validate(fixture.dynamics))
        yield _made(name, fixture.nir, dynamics, fixture.x, plan_of)
    for case in NETWORKS:
        if case.present:
            yield _made(case.name, case.model, case.dynamics, samples_of(case), plan_of)


def samples_of(case: Case) -> NDArray[Any]:
    """The first test samples of a network with data."""
    with TemporaryDirectory() as folder:
        path = case.data if isinstance(case.data, Path) else case.data(Path(folder) / "frames.npz")
        with np.load(path, allow_pickle=False) as arrays:
            x: NDArray[Any] = arrays["x_test"][:SAMPLES]
    return x


def _made(name: str, nir: Path, dynamics: Dynamics, x: NDArray[Any], plan_of: PlanOf) -> Made:
    from engine.network.discretise import discretise
    from engine.network.nir_reader import read_nir
    from engine.program.quantized import start_training, to_program

    network = discretise(read_nir(nir), dynamics)
    part = x[:SAMPLES, :STEPS].astype(np.int64)
    try:
        program = to_program(*start_training(network, plan_of(network), (0, max(1, int(x.max())))))
    except NotRepresentable as error:
        return Made(name, None, part, f"{error.code}: {error.detail}")
    return Made(name, program, part)
