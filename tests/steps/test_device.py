"""``make test DEVICE=cuda``: the whole job on the GPU, with the same guarantee as on the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.run import Inputs
from tests.steps.small_job import go, section
from tests.steps.test_run import inputs as inputs  # the fixture


@pytest.mark.cuda
def test_a_job_on_the_gpu_equals_the_reference_runner(inputs: Inputs, tmp_path: Path, device: str) -> None:
    if device == "cpu":
        pytest.skip("runs with --device cuda (make test DEVICE=cuda)")
    outcome = go(inputs, tmp_path, device=device)
    assert section(outcome, "integerize").mismatched_spikes == 0
    assert outcome.report.environment.device.startswith(device)
