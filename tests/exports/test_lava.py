"""The Lava export: structure of a file of lava-dl's, numbers of Loihi's neuron, spikes of Lava's own simulation."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from engine.errors import NotRepresentable
from engine.exports.lava import export_lava
from engine.network.model import Flatten, Network
from engine.program.manifest import build_manifest
from engine.program.pack import payload
from engine.program.program import IntegerProgram
from engine.program.quantized import start_training, to_program
from engine.specs.plan import MulShiftLeak
from engine.specs.targets import TARGETS
from runtime import parse_program, run
from tests.conftest import ROOT
from tests.exports.lava_run import ABSENT, PYTHON, expected_spikes, lava_spikes
from tests.program.networks import convolutional, plan_of, recurrent

EXAMPLE = ROOT.parent / "shared" / "data" / "models" / "lava_format_examples" / "oxford_network.net"


def unbiased(network: Network) -> Network:
    """Loihi's current has no bias."""
    return replace(network, connections=tuple(replace(c, bias=None) for c in network.connections))


def feedforward(kind: str) -> Network:
    network = unbiased(recurrent("lava", kind))
    return replace(network, connections=tuple(c for c in network.connections if not c.delayed))


def images() -> Network:
    """A convolution and a linear layer, without the pools of the common test network."""
    network = unbiased(convolutional("lava"))
    maps, out = network.layers
    numbers = {name: np.full((4, 8, 8), getattr(maps, name).flat[0]) for name in ("decay_v", "gain", "drive")}
    levels = {name: np.full((4, 8, 8), getattr(maps, name).flat[0]) for name in ("v_leak", "v_reset", "threshold")}
    conv, fc = network.connections
    weight = np.random.default_rng(0).normal(size=(4, 256))
    return replace(
        network,
        layers=(replace(maps, shape=(4, 8, 8), **numbers, **levels), out),
        connections=(
            replace(conv, target_shape=(4, 8, 8), after=()),
            replace(fc, source_shape=(4, 8, 8), weight=weight, before=(Flatten(0, 2),)),
        ),
    )


def program_of(network: Network, bits: int = 4, **neuron: Any) -> IntegerProgram:
    """As ``target: loihi2`` plans it."""
    target = TARGETS["loihi2"]
    state = {"state_bits": target.state_bits, "fraction_bits": target.fraction_bits, "level_bits": target.level_bits}
    state |= {"shared_scale": target.shared_scale}
    plan = plan_of(network, bits, "layer", **{**state, "leak": target.leak, **neuron})
    return to_program(*start_training(network, plan, (0, 1)))


def structure(data: bytes | Path) -> dict[str, tuple[str, int, tuple[str, ...]]]:
    """Path → dtype, rank, attribute names."""
    found = {}
    with h5py.File(io.BytesIO(data) if isinstance(data, bytes) else data) as file:

        def visit(name: str, part: h5py.Dataset | h5py.Group) -> None:
            if isinstance(part, h5py.Dataset):
                found[name] = (str(part.dtype), part.ndim, tuple(part.attrs))
            else:
                found[name] = ("group", 0, tuple(part.attrs))

        file.visititems(visit)
    return found


def test_structure_is_that_of_a_file_of_lava_dl() -> None:
    if not EXAMPLE.exists():
        pytest.skip("../shared/data is absent")
    made, theirs = structure(export_lava(program_of(feedforward("lif"))).network), structure(EXAMPLE)
    assert made == theirs
    with h5py.File(EXAMPLE) as file, h5py.File(io.BytesIO(export_lava(program_of(feedforward("lif"))).network)) as ours:
        for one in (file, ours):
            assert one["layer/0/type"][0] == b"dense"
            assert one["layer/0/neuron/type"][()] == b"CUBA"
            assert one["layer/0/neuron/iDecay"][()] == 4096  # no current
            assert one["layer/0/neuron/refDelay"][()] == 1
            assert not one["layer/0/neuron/gradedSpike"][()]
            weight = one["layer/0/weight"][()]
            assert np.array_equal(weight, 2 * np.round(weight / 2)), "SLAYER's weights step by 2"


def test_numbers_are_loihis() -> None:
    """The file's numbers, put into Loihi's equations, give the program's."""
    program = program_of(feedforward("cubalif"))
    with h5py.File(io.BytesIO(export_lava(program).network)) as file:
        for k, layer in enumerate(program.layers):
            group, connection = file[f"layer/{k}"], program.connections[k]
            assert layer.leak_i is not None
            assert connection.weight is not None
            assert layer.fire_at is not None
            assert layer.leak_i.values is not None
            assert layer.leak_v.values is not None
            entering = connection.weight << (connection.exponents + layer.fraction_bits)
            assert np.array_equal(group["weight"][()].astype(int) << 6, entering)
            assert np.all(4096 - group["neuron/iDecay"][()] == layer.leak_i.values)
            assert np.all(4096 - group["neuron/vDecay"][()] == layer.leak_v.values)
            assert np.all((group["neuron/vThMant"][()] << 6) + 1 == layer.fire_at)


CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"leak": MulShiftLeak()}, r"layer 'hid': leak: expected one mul_shift .* toward zero"),
    ({"level_bits": 0}, r"threshold: expected one multiple of 64"),
    ({"fraction_bits": 3}, r"weights: expected even integers from -256 to 254"),
]


@pytest.mark.parametrize(("neuron", "words"), CHANGES)
def test_what_loihi_lacks_is_refused(neuron: dict[str, Any], words: str) -> None:
    with pytest.raises(NotRepresentable, match=words) as refused:
        export_lava(program_of(feedforward("lif"), **neuron))
    assert refused.value.code == "export_not_representable"


def test_every_reason_is_told_at_once() -> None:
    network = convolutional("nir-paper")
    program = to_program(*start_training(network, plan_of(network), (-1, 3)))
    with pytest.raises(NotRepresentable) as refused:
        export_lava(program)
    for words in ("input range", "reset: expected to 0, found subtract", "without pools", "leak", "threshold"):
        assert words in refused.value.detail


def test_two_connections_of_eight_bits_share_a_scale() -> None:
    """Without it a loop of large weights would need an exponent, and leave Loihi's range."""
    network = unbiased(recurrent("lava", "cubalif"))
    loop = network.connections[1]
    assert loop.weight is not None
    scaled = replace(loop, weight=8 * loop.weight)
    network = replace(network, connections=(network.connections[0], scaled, network.connections[2]))
    export_lava(program_of(network, bits=8))
    with pytest.raises(NotRepresentable, match="weights: expected even integers"):
        export_lava(program_of(network, bits=8, shared_scale=False))


@pytest.mark.frameworks
@pytest.mark.parametrize("name", ["lif", "cubalif", "recurrent", "images", "biased"])
def test_lava_s_simulation_gives_every_spike(name: str, tmp_path: Path) -> None:
    if not PYTHON.exists():
        pytest.skip(ABSENT)
    networks = {
        "recurrent": unbiased(recurrent("lava", "cubalif")),
        "images": images(),
        "biased": recurrent("lava", "lif"),
    }
    program = program_of(networks.get(name) or feedforward(name))
    x = (np.random.default_rng(1).random((3, 30, *program.input.shape)) < 0.3).astype(np.int64)
    theirs = lava_spikes(program, x, tmp_path)
    assert theirs.sum() > 20
    np.testing.assert_array_equal(theirs, expected_spikes(program, x))
    if name != "biased":  # without biases nothing happens before the input comes
        ours = run(parse_program(build_manifest(program, {}), payload(program)), x).spikes[program.output]
        np.testing.assert_array_equal(theirs, ours)
