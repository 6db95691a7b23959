"""All runners, spike for spike and state for state, on every committed network and every shared one that is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import NotRepresentable
from engine.network.discretise import discretise
from engine.network.model import Network
from engine.network.nir_reader import read_nir
from engine.program.program import IntegerProgram
from engine.program.programmable import programmable_network
from engine.program.quantized import start_training, to_program
from engine.specs.dynamics import DynamicsRequest, resolve_dynamics
from engine.specs.plan import MulShiftLeak, NeuronPlan, Plan, WeightPlan
from tests.exports.compiled import CC, compiled, reference
from tests.fixtures.load import NAMES, Fixture, load_fixture
from tests.program.agreement import differences
from tests.program.programs import adversarial_program, random_input, random_program

BITS = (1, 2, 4, 8, 12, 16)  # taken in turn over a network's layers and over the networks
SHARED = {
    "braille_noDelay_noBias_subtract": ("braille7.npz", "nir-paper"),
    "braille_noDelay_bias_zero": ("braille7.npz", "snntorch-synaptic-zero"),
    "cnn_sinabs": ("nmnist_small_frames10ms.npz", "sinabs"),
}


def programs_of(network: Network, x: np.ndarray[Any, Any], turn: int) -> IntegerProgram:
    """A program of mixed widths: what a plan may ask for, layer by layer."""
    rounding = ("floor", "toward_zero", "half_up")
    weights = {c.name: WeightPlan(bits=BITS[(turn + k) % len(BITS)]) for k, c in enumerate(network.weighted)}
    neurons = {
        layer.name: NeuronPlan(
            state_bits=(16, 24, 12)[(turn + k) % 3], fraction_bits=(3, 6, 2)[(turn + k) % 3],
            leak=MulShiftLeak(rounding=rounding[(turn + k) % 3]),
        )
        for k, layer in enumerate(network.layers)
    }  # fmt: skip
    limits = (min(0, int(x.min())), max(1, int(x.max())))
    programmable = programmable_network(network).network
    return to_program(*start_training(programmable, Plan(weights=weights, neurons=neurons), limits))


def network_of(fixture: Fixture) -> Network:
    return discretise(read_nir(fixture.nir), resolve_dynamics(DynamicsRequest.model_validate(fixture.dynamics)))


def program_of(fixture: Fixture) -> IntegerProgram:
    return programs_of(network_of(fixture), fixture.x, NAMES.index(fixture.name))


REFUSED = tuple(name for name in NAMES if network_of(load_fixture(name)).dynamics.residue != "fires")
PROGRAMS = tuple(name for name in NAMES if name not in REFUSED)


@pytest.mark.parametrize("name", REFUSED)
def test_a_residue_that_raises_the_threshold_is_refused_with_its_field(name: str) -> None:
    with pytest.raises(NotRepresentable, match="dynamics field 'residue'") as refused:
        program_of(load_fixture(name))
    assert refused.value.code == "dynamics_not_representable"


@pytest.mark.parametrize("name", PROGRAMS)
def test_committed_networks(name: str) -> None:
    fixture = load_fixture(name)
    program = program_of(fixture)
    steps = fixture.x.shape[1]
    assert list(differences(program, fixture.x[:4], iter((1, 2, steps // 2, steps)))) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_committed_networks_at_every_step(name: str) -> None:
    fixture = load_fixture(name)
    program = program_of(fixture)
    assert list(differences(program, fixture.x[:8], range(1, fixture.x.shape[1] + 1))) == []


@pytest.mark.slow
@pytest.mark.skipif(CC is None, reason="no C compiler on this machine")
@pytest.mark.parametrize("name", PROGRAMS)
def test_committed_networks_in_c(name: str, tmp_path: Path) -> None:
    fixture = load_fixture(name)
    program = program_of(fixture)
    x = fixture.x[0].astype(np.int64)
    assert compiled(program, x, tmp_path) == reference(program, x)


def test_random_programs_at_every_step() -> None:
    """Every runner and level of the processor, every state of every layer after every step."""
    for seed in range(20):
        program = random_program(seed)
        x = random_input(program, seed, samples=2, steps=6)
        assert list(differences(program, x, range(1, 7))) == [], f"seed {seed}"


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_many_random_programs_at_every_step(block: int) -> None:
    for seed in range(1000 + 50 * block, 1050 + 50 * block):
        program = random_program(seed)
        x = random_input(program, seed, samples=3, steps=9)
        assert list(differences(program, x, range(1, 10))) == [], f"seed {seed}"


@pytest.mark.parametrize("kind", ["lif", "cubalif"])
def test_adversarial_programs(kind: str) -> None:
    program = adversarial_program(kind)
    x = np.full((2, 6, *program.input.shape), program.input.hi)
    assert list(differences(program, x, range(1, 7))) == []


@pytest.mark.shared
@pytest.mark.parametrize("model", sorted(SHARED))
def test_shared_networks(model: str, shared_data: Path, tmp_path: Path) -> None:
    data, preset = SHARED[model]
    with np.load(shared_data / "datasets" / data, allow_pickle=False) as file:
        x = file["x_test"][:3]
    dynamics = resolve_dynamics(DynamicsRequest(preset=preset))
    network = discretise(read_nir(shared_data / "models" / f"{model}.nir", repair=True), dynamics)
    program = programs_of(network, x, sorted(SHARED).index(model) + 2)
    steps = x.shape[1]
    assert list(differences(program, x, iter((1, steps // 3, steps)))) == []
    if CC is not None:
        one = x[0].astype(np.int64)
        assert compiled(program, one, tmp_path) == reference(program, one)
