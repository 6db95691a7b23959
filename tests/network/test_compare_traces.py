"""Expected spikes inside a network: the first difference is the one to look at; wrong files are refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.data.batches import Split
from engine.data.traces import Traces, read_traces
from engine.errors import InvalidDataset
from engine.network import measure as measuring
from engine.network.compare_traces import compare_traces
from engine.network.prepare import prepare
from engine.network.simulate import Prepared, run
from tests.program.networks import recurrent

ROWS = np.array([6, 1, 4])


@pytest.fixture
def prepared() -> Prepared:
    return prepare(recurrent("nir-paper", "lif"))


@pytest.fixture
def test(prepared: Prepared) -> Split:
    shape = recurrent("nir-paper", "lif").input_shape
    x = (np.random.default_rng(1).random((8, 12, *shape)) < 0.5).astype(np.uint8)
    return Split(x, np.zeros(8, np.int64))


def spikes(prepared: Prepared, test: Split) -> dict[str, Any]:
    trace = run(prepared, torch.as_tensor(np.moveaxis(test.x[ROWS], 0, 1)), record="*")
    return {name: value.numpy().swapaxes(0, 1).astype(np.uint8) for name, value in trace.spikes.items()}


def test_equal_spikes_agree_in_any_batch(prepared: Prepared, test: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "LARGEST_BATCH", 2)  # three samples: two batches
    expected = spikes(prepared, test)
    agreement = compare_traces(prepared, test, Traces(ROWS, expected))
    assert [layer.layer for layer in agreement.layers] == ["hid", "out"]
    assert [layer.differing for layer in agreement.layers] == [0, 0]
    assert [layer.compared for layer in agreement.layers] == [value.size for value in expected.values()]
    assert agreement.first_difference is None
    assert agreement.samples == 3


def test_the_first_difference_is_by_sample_then_step_then_layer(
    prepared: Prepared, test: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "LARGEST_BATCH", 1)
    expected = spikes(prepared, test)
    expected["hid"][1, 9, 2] ^= 1
    expected["out"][1, 4, 3] ^= 1  # the same sample, an earlier step, a later layer
    expected["out"][2, 0, 0] ^= 1  # an earlier step of a later sample
    agreement = compare_traces(prepared, test, Traces(ROWS, expected))
    first = agreement.first_difference
    assert first is not None
    assert (first.sample, first.sample_row, first.layer, first.step, first.neuron) == (1, 1, "out", 4, 3)
    assert {first.expected, first.got} == {0, 1}
    assert first.expected == expected["out"][1, 4, 3]
    assert {layer.layer: (layer.differing, layer.first_step) for layer in agreement.layers} == {
        "hid": (1, 9),
        "out": (2, 0),
    }
    expected["hid"][1, 4, 5] ^= 1  # the same sample and step in the layer before
    first = compare_traces(prepared, test, Traces(ROWS, expected)).first_difference
    assert first is not None
    assert (first.layer, first.neuron) == ("hid", 5)


GOOD: dict[str, Any] = {
    "samples": np.array([0, 2]),
    "layers": np.array(["hid"]),
    "spikes_0": np.zeros((2, 5, 3), np.uint8),
}


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"samples": None}, "missing_array", "'samples', found layers, spikes_0"),
        ({"layers": None}, "missing_array", "'layers', found samples, spikes_0"),
        ({"spikes_0": None}, "missing_array", "'spikes_0', found layers, samples"),
        ({"samples": np.array([0.0, 2.0])}, "traces_type", "whole numbers in one axis, found float64"),
        ({"samples": np.zeros((0,), int)}, "traces_type", "found int64"),
        ({"samples": np.array([0, 4])}, "samples_out_of_range", "rows from 0 to 3, found 0 to 4"),
        ({"samples": np.array([2, 2])}, "samples_out_of_range", "different rows"),
        ({"layers": np.array([3])}, "traces_type", "expected names in one axis, found int64"),
        ({"layers": np.array(["out"])}, "unknown_layer", "'out', but the network has hid"),
        ({"layers": np.array(["hid", "hid"])}, "unknown_layer", "'hid', twice"),
        ({"spikes_0": np.zeros((2, 5, 3))}, "traces_type", "expected whole numbers, found float64"),
        ({"spikes_0": np.zeros((2, 6, 3), int)}, "traces_shape", r"expected shape \(2, 5, 3\), found \(2, 6, 3\)"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, change: dict[str, Any], code: str, message: str) -> None:
    arrays = {name: value for name, value in (GOOD | change).items() if value is not None}
    np.savez(tmp_path / "traces.npz", **arrays)
    with pytest.raises(InvalidDataset, match=message) as caught:
        read_traces(tmp_path / "traces.npz", samples=4, steps=5, layers={"hid": (3,)})
    assert caught.value.code == code


def test_a_good_file_is_read_and_a_bad_one_says_whose_it_is(tmp_path: Path) -> None:
    np.savez(tmp_path / "traces.npz", **GOOD)
    traces = read_traces(tmp_path / "traces.npz", samples=4, steps=5, layers={"hid": (3,)})
    assert traces.rows.tolist() == [0, 2]
    assert traces.spikes["hid"].shape == (2, 5, 3)
    (tmp_path / "no.npz").write_bytes(b"no")
    with pytest.raises(InvalidDataset, match="expected traces: ") as caught:
        read_traces(tmp_path / "no.npz", samples=4, steps=5, layers={"hid": (3,)})
    assert caught.value.code == "not_npz"
