"""The whole engine on a small network: sections, artifacts, gates, resume, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import runtime
from engine.data.load import load
from engine.errors import EngineError, ExpectationMissed, InvalidDataset
from engine.network.canonical import read_canonical
from engine.network.discretise import discretise
from engine.network.prepare import prepare
from engine.network.simulate import run as simulate
from engine.run import Inputs, Outcome
from engine.run import run as run_job
from engine.specs.dynamics import PRESETS
from engine.specs.job import JobRequest, resolve_job
from tests.steps.small_job import Listener, go, section, write_inputs


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def finished(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Path, list[Path]]:
    out = tmp_path_factory.mktemp("finished")
    listener = Listener(tmp_path_factory.mktemp("checkpoints"))
    return (
        go(inputs, out, listener, gates={"max_accuracy_drop_points": 100, "max_mean_weight_bits": 4}),
        out,
        listener.checkpoints,
    )


def test_report_is_complete_and_agrees_with_the_files(finished: tuple[Outcome, Path, list[Path]]) -> None:
    outcome, out, _ = finished
    kinds = [s.kind for s in outcome.report.sections]
    assert kinds == ["evaluate", "sensitivity", "allocate", "finetune", "integerize", "evaluate"]
    program = section(outcome, "integerize")
    assert program.mismatched_spikes == 0
    assert program.compared_spikes == 40 * 15 * 20
    assert program.program_bytes == (out / "program" / "payload.bin").stat().st_size
    assert program.mean_weight_bits <= 4
    assert runtime.verify_folder(out, program.program_digest).ok
    evaluated = next(s for s in reversed(outcome.report.sections) if s.kind == "evaluate" and s.of == "program")
    assert program.cost is not None
    assert program.cost.samples == evaluated.accuracy.samples == 40
    assert evaluated.cost == program.cost
    assert evaluated.operations_per_sample == pytest.approx(program.cost.synaptic_operations, rel=0.2)
    assert evaluated.saturations == program.saturations
    comparison = outcome.report.comparison
    assert comparison is not None
    assert comparison.drop_points == pytest.approx(
        100 * (comparison.float_accuracy.value - comparison.program_accuracy.value)
    )
    assert comparison.drop_interval.low <= comparison.drop_points <= comparison.drop_interval.high
    assert outcome.verdict == "pass"
    written = json.loads((out / "report.json").read_text())
    assert written == json.loads(outcome.report.model_dump_json())
    for artifact in outcome.artifacts:
        assert (out / artifact.path).is_file(), artifact


def test_resumed_job_has_the_same_digest(
    inputs: Inputs, finished: tuple[Outcome, Path, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome, _, checkpoints = finished
    for number in (1, 5):  # within the quantized training, and within the float control
        with monkeypatch.context() as patched:  # the start is in the checkpoint
            patched.setattr("engine.steps.finetune.second_order_start", None)
            again = go(inputs, tmp_path / str(number), resume=checkpoints[number])
        assert section(again, "integerize").program_digest == section(outcome, "integerize").program_digest
        assert section(again, "finetune").resumed_from_epoch == number + 1
        assert [s.kind for s in again.report.sections] == [s.kind for s in outcome.report.sections]
        assert section(again, "finetune").control_accuracy == section(outcome, "finetune").control_accuracy


def test_same_seed_same_digest_other_seed_other_digest(
    inputs: Inputs, finished: tuple[Outcome, Path, list[Path]], tmp_path: Path
) -> None:
    first = section(finished[0], "integerize").program_digest
    assert section(go(inputs, tmp_path / "same"), "integerize").program_digest == first
    assert section(go(inputs, tmp_path / "other", seed=1), "integerize").program_digest != first


def test_users_plan_is_obeyed(inputs: Inputs, tmp_path: Path) -> None:
    plan = {"weights": {"fc1": {"bits": 3}, "rec": {"bits": 2}, "fc2": {"bits": 8}}}
    outcome = go(inputs, tmp_path, plan=plan, gates={"max_program_bytes": 10})
    assert {layer.layer: layer.bits for layer in section(outcome, "integerize").layers} == {
        "fc1": 3,
        "rec": 2,
        "fc2": 8,
    }
    assert outcome.verdict == "fail"
    assert outcome.report.gates[0].passed is False


def test_byte_budget_is_kept(inputs: Inputs, tmp_path: Path) -> None:
    outcome = go(inputs, tmp_path, program_bytes=300)
    assert section(outcome, "integerize").program_bytes <= 300


@pytest.mark.parametrize("bytes_", [3])
def test_impossible_budget_is_refused(inputs: Inputs, tmp_path: Path, bytes_: int) -> None:
    with pytest.raises(EngineError, match="least") as caught:
        go(inputs, tmp_path, program_bytes=bytes_)
    assert caught.value.code == "budget_infeasible"


def test_missed_expectation_fails_before_anything_else(inputs: Inputs, tmp_path: Path) -> None:
    with pytest.raises(ExpectationMissed, match=r"at least 1\.0000 on the test split, found 0\.\d+"):
        go(inputs, tmp_path, expect=1.0)


def test_expected_counts_are_compared(inputs: Inputs, tmp_path: Path) -> None:
    first = go(inputs, tmp_path / "a", recipe="evaluate", options={})
    with np.load(tmp_path / "a" / "counts-network.npz") as arrays:
        counts = arrays["counts"]
    same = Inputs(inputs.model, inputs.dataset, tmp_path / "a" / "counts-network.npz")
    agreement = section(go(same, tmp_path / "b", recipe="evaluate", options={}), "evaluate").agreement
    assert (agreement.rows_equal, agreement.rows_total, agreement.first_difference) == (40, 40, None)
    counts[7, 2] += 1
    np.savez(tmp_path / "wrong.npz", counts=counts)
    wrong = Inputs(inputs.model, inputs.dataset, tmp_path / "wrong.npz")
    agreement = section(go(wrong, tmp_path / "c", recipe="evaluate", options={}), "evaluate").agreement
    assert agreement.rows_equal == 39
    difference = agreement.first_difference
    assert (difference.sample, difference.output, difference.expected - difference.got) == (7, 2, 1)
    assert first.verdict == "none"


def test_auto_dynamics_are_chosen_by_counts_and_told(inputs: Inputs, tmp_path: Path) -> None:
    first = go(inputs, tmp_path / "a", recipe="evaluate", options={})
    given = Inputs(inputs.model, inputs.dataset, tmp_path / "a" / "counts-network.npz")
    outcome = go(given, tmp_path / "b", recipe="evaluate", options={}, dynamics={"preset": "auto"})
    choice = outcome.report.dynamics_choice
    assert choice is not None
    assert (choice.chosen, choice.criterion, choice.samples) == ("nir-paper", "expected counts", 40)
    assert outcome.report.job.dynamics == outcome.report.network.dynamics == PRESETS["nir-paper"]
    assert section(outcome, "evaluate").agreement.rows_equal == 40
    assert "Dynamics presets tried" in (tmp_path / "b" / "report.md").read_text()
    assert first.report.dynamics_choice is None


def test_expected_spikes_are_compared_layer_by_layer(inputs: Inputs, tmp_path: Path) -> None:
    network = discretise(read_canonical(inputs.model), PRESETS["nir-paper"])
    rows, data = np.array([3, 11]), load(inputs.dataset)
    x = torch.as_tensor(np.moveaxis(data.test.x[rows], 0, 1))
    hid = simulate(prepare(network), x, record="*").spikes["hid"].numpy().swapaxes(0, 1).astype(np.uint8)
    hid[1, 5, 2] ^= 1
    np.savez(tmp_path / "traces.npz", samples=rows, layers=np.array(["hid"]), spikes_0=hid)
    given = Inputs(inputs.model, inputs.dataset, expected_traces=tmp_path / "traces.npz")
    found = section(go(given, tmp_path / "a", recipe="evaluate", options={}), "evaluate")
    first = found.traces.first_difference
    assert (first.sample, first.layer, first.step, first.neuron) == (11, "hid", 5, 2)
    assert first.expected - first.got in (-1, 1)
    assert "layer hid, step 5, neuron 2" in (tmp_path / "a" / "report.md").read_text()
    assert found.operations_per_sample == pytest.approx(sum(one.per_sample for one in found.operations))
    assert [one.connection for one in found.operations] == ["fc1", "rec", "fc2"]


def test_test_split_alone_is_for_evaluate(inputs: Inputs, tmp_path: Path) -> None:
    alone = Inputs(inputs.model, inputs.dataset.with_name("test-data.npz"))
    assert section(go(alone, tmp_path / "a", recipe="evaluate", options={}), "evaluate").accuracy.samples == 40
    with pytest.raises(InvalidDataset, match="test split alone") as caught:
        go(alone, tmp_path / "b")
    assert caught.value.code == "only_test_split"


def test_fractions_become_integers_of_a_declared_width(inputs: Inputs, tmp_path: Path) -> None:
    """The program scales analogue inputs itself: the runtime gets the fractions and counts what the job counted."""
    given = Inputs(inputs.model, inputs.dataset.with_name("fractions-data.npz"))
    go(given, tmp_path)
    program = runtime.read_program(tmp_path / "program")
    assert program.input.scale is not None
    assert np.log2(float(program.input.scale)) % 1 == 0
    x = load(given.dataset).test.x
    assert x.dtype.kind == "f"
    train = load(given.dataset).train
    assert train is not None
    assert 64 <= np.abs(program.input.integers(train.x)).max() <= 127  # 8 bits, the default, in full use
    counts = runtime.run(program, program.input.integers(x)).counts
    with np.load(tmp_path / "counts-program.npz") as file:
        np.testing.assert_array_equal(file["counts"], counts)


def test_the_caller_keeps_its_floating_point_mode(inputs: Inputs, tmp_path: Path) -> None:
    go(inputs, tmp_path, recipe="evaluate", options={})
    assert np.float64(5e-324) * 1.0 > 0  # a denormal survives: flushing was for the run alone


def test_exports_are_written_and_told(inputs: Inputs, tmp_path: Path) -> None:
    plan = {"weights": {name: {"bits": 4} for name in ("fc1", "rec", "fc2")}}
    steps = [
        {"kind": "allocate", "plan": plan},
        {"kind": "integerize"},
        {"kind": "export", "formats": ["c99", "safetensors"]},
    ]
    outcome = go(inputs, tmp_path, recipe=None, options={}, steps=steps)
    told = section(outcome, "export")
    assert [file.path for file in told.files] == [
        "exports/c99/spikebit_program.h",
        "exports/c99/spikebit_program.c",
        "exports/safetensors/program.safetensors",
        "exports/safetensors/program.json",
    ]
    assert all(file.bytes == (tmp_path / file.path).stat().st_size for file in told.files)
    assert {file.path for file in told.files} < {artifact.path for artifact in outcome.artifacts}
    assert int(told.facts["c99"]["constants, bytes of flash"]) > 0
    assert "exports/c99/spikebit_program.c" in (tmp_path / "report.md").read_text().replace("\\", "")


def test_the_microcontroller_recipe_ends_in_an_export() -> None:
    job = resolve_job(JobRequest(model="m", dataset="d", recipe="microcontroller"), PRESETS["nir-paper"])
    assert job.steps[-1].kind == "export"


def test_several_seeds_keep_the_best_on_validation_and_resume(inputs: Inputs, tmp_path: Path) -> None:
    options = {"finetune": {"seeds": 2, "descend_from": 1, "epochs": 3, "batch_size": 16, "float_control": False}}
    (tmp_path / "checkpoints").mkdir()
    listener = Listener(tmp_path / "checkpoints")
    outcome = go(inputs, tmp_path / "a", listener, options=options)
    found = section(outcome, "finetune")
    assert len(found.wider) == 1
    assert len(found.wider[0].epochs) == 1  # a third of the schedule
    assert len(found.other_seeds) == 1

    def reached(curve: Any) -> tuple[float, float]:
        kept = next(epoch for epoch in curve.epochs if epoch.epoch == curve.best_epoch)
        return kept.validation_accuracy, -kept.validation_loss

    assert reached(found.quantized) >= reached(found.other_seeds[0])
    assert found.seed in (0, 7_919)
    assert [e.train_loss for e in found.quantized.epochs] != [e.train_loss for e in found.other_seeds[0].epochs]
    assert "Trained by 2 seeds" in (tmp_path / "a" / "report.md").read_text()
    for number in (0, 2, 5):  # after the wider training, within the first seed's, within the second's
        again = go(inputs, tmp_path / str(number), resume=listener.checkpoints[number], options=options)
        assert section(again, "integerize").program_digest == section(outcome, "integerize").program_digest


def test_a_rule_that_no_program_knows_is_refused_before_any_step(inputs: Inputs, tmp_path: Path) -> None:
    listener = Listener(tmp_path)
    job = resolve_job(JobRequest(model="m", dataset="d", recipe="hessian-mixed"), PRESETS["snntorch-undelayed"])
    with pytest.raises(EngineError, match="dynamics field 'residue'") as refused:
        run_job(job, inputs, tmp_path, listener, None)
    assert refused.value.code == "dynamics_not_representable"
    assert listener.stages == []
