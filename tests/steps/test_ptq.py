"""The recipe ``ptq`` and data without labels: nothing is trained, nothing asks for a label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.errors import InvalidDataset
from engine.run import Inputs
from engine.specs.dynamics import PRESETS
from engine.specs.job import ContradictoryJob, JobRequest, resolve_job
from tests.steps.small_job import go, section, write_inputs


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def bare(inputs: Inputs) -> Inputs:
    """The same samples without labels, but for the test split."""
    return Inputs(inputs.model, inputs.dataset.with_name("bare-data.npz"))


def test_labels_change_nothing_and_no_gradient_is_computed(
    inputs: Inputs, bare: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(*arguments: object, **named: object) -> None:
        raise AssertionError("an optimiser was made")

    monkeypatch.setattr(torch.optim.Adam, "__init__", step)
    plan = {"weights": {"fc1": {"bits": 3}, "rec": {"bits": 3}, "fc2": {"bits": 4}}}
    # as the network's own validation split depends on the labels, only the samples that both train on are used
    options = {"ptq": {"samples": 1000}}
    outcomes = [
        go(given, tmp_path / name, recipe="ptq", options=options, plan=plan)
        for name, given in (("with", inputs), ("without", bare))
    ]
    found = [section(outcome, "ptq") for outcome in outcomes]
    assert [one.samples for one in found] == [68, 68]
    assert [outcome.report.data.labels for outcome in outcomes] == ["given", "the float network's own"]
    for outcome in outcomes:
        assert section(outcome, "integerize").mismatched_spikes == 0
        assert section(outcome, "ptq").agreement >= section(outcome, "ptq").agreement_before
    assert "no label and no gradient step" in (tmp_path / "without" / "report.md").read_text()


@pytest.mark.parametrize("calibration", ["second_order", "mse", "max", "percentile"])
def test_every_calibration_gives_a_program_that_the_runtime_agrees_with(
    bare: Inputs, tmp_path: Path, calibration: str
) -> None:
    options = {"sensitivity": {"max_probes": 8, "max_samples": 32}, "ptq": {"calibration": calibration}}
    outcome = go(bare, tmp_path, recipe="ptq", options=options)
    program = section(outcome, "integerize")
    assert program.mismatched_spikes == 0
    assert program.mean_weight_bits <= 5
    assert section(outcome, "ptq").calibration == calibration
    again = go(bare, tmp_path / "again", recipe="ptq", options=options)
    assert section(again, "integerize").program_digest == program.program_digest


def test_a_job_that_needs_labels_is_refused(bare: Inputs, tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match=r"'finetune'.*needs labels.*y_train, found none") as caught:
        go(bare, tmp_path)
    assert caught.value.code == "unlabelled"
    with pytest.raises(InvalidDataset, match="dynamics auto") as caught:
        go(bare, tmp_path / "auto", recipe="evaluate", options={}, dynamics={"preset": "auto"})
    assert caught.value.code == "unlabelled"


def test_distillation_alone_needs_none(bare: Inputs, tmp_path: Path) -> None:
    plan = {"weights": {name: {"bits": 3} for name in ("fc1", "rec", "fc2")}}
    steps = [
        {"kind": "allocate", "plan": plan},
        {"kind": "finetune", "distillation": 1.0, "epochs": 2},
        {"kind": "integerize"},
    ]
    outcome = go(bare, tmp_path, recipe=None, options={}, steps=steps)
    losses = [epoch.train_loss for epoch in section(outcome, "finetune").quantized.epochs]
    assert np.isfinite(losses).all()
    assert section(outcome, "integerize").mismatched_spikes == 0


def test_ptq_needs_a_plan() -> None:
    with pytest.raises(ContradictoryJob, match="'ptq' needs an earlier step 'allocate'"):
        resolve_job(JobRequest(model="m", dataset="d", steps=({"kind": "ptq"},)), PRESETS["nir-paper"])  # type: ignore[arg-type]
