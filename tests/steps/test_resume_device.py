"""A checkpoint is read into main memory; training goes on where its device is."""

from __future__ import annotations

import torch

from engine.steps.finetune import _on_device


def test_a_saved_state_moves_to_the_device_of_the_training() -> None:
    value = torch.zeros(2)
    saved = {key: {"weight:fc": value} for key in ("parameters", "average", "best", "start")} | {"epoch": 3}
    moved = _on_device(saved, torch.device("meta"))
    for key in ("parameters", "average", "best", "start"):
        assert moved[key]["weight:fc"].device.type == "meta"
    assert moved["epoch"] == 3
    assert saved["parameters"]["weight:fc"].device.type == "cpu"
