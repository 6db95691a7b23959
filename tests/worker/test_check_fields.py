"""The limited child tells a wrong profile or transform by its fields, not in pydantic's words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.errors import InvalidDataset, InvalidModel
from engine.specs.dynamics import PRESETS
from worker.checks.dataset import check
from worker.checks.profile import read_profile

FULL = PRESETS["norse"].model_dump(mode="json")


@pytest.mark.parametrize(
    ("value", "pointer", "words"),
    [
        ({"preset": "norse", "set": {"dt_s": -1}}, "/dynamics/set/dt_s", "greater than 0, found '-1'"),
        (FULL | {"reset": "later"}, "/dynamics/reset", "found 'later'"),
        (FULL | {"no/such": 1}, "/dynamics/no~1such", "/dynamics/no~1such: unknown field"),
        ({"preset": 5}, "/dynamics/preset", "valid string, found '5'"),
        (FULL | {f"x{k}": 1 for k in range(9)}, "/dynamics/x0", "and 4 more"),
    ],
)
def test_a_wrong_profile(value: dict[str, Any], pointer: str, words: str) -> None:
    with pytest.raises(InvalidModel) as found:
        read_profile(value)
    assert (found.value.code, found.value.pointer) == ("invalid_dynamics", pointer)
    assert words in found.value.detail
    assert "validation error" not in found.value.detail
    assert "pydantic" not in found.value.detail


def test_a_wrong_transform(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset) as found:
        check({"transform": {"downsample": "x"}}, tmp_path / "a", tmp_path / "b")
    assert (found.value.code, found.value.pointer) == ("invalid_transform", "/transform/downsample")
    assert "valid integer" in found.value.detail
    assert "found 'x'" in found.value.detail
