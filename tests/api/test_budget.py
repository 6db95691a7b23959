"""Sizes that cannot be met and fields that do not exist are refused at submit, in words."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import Api
from tests.api.test_jobs import PLAN, refused


@pytest.mark.parametrize(
    ("fields", "code", "pointer", "words"),
    [
        ({"program_bytes": 8}, "budget_infeasible", "/program_bytes", "weights alone take 10 at 2 bits"),
        ({"gates": {"max_program_bytes": 8}}, "budget_infeasible", "/gates/max_program_bytes", "8 bytes cannot"),
        ({"program_bytes": 20, "plan": PLAN}, "contradictory_gates", "/program_bytes", "weights alone take 21 bytes"),
        (
            {"gates": {"max_mean_weight_bits": 3}, "plan": PLAN},
            "contradictory_gates",
            "/gates/max_mean_weight_bits",
            "has 3.727 mean weight bits, more than the 3",
        ),
    ],
)
def test_a_size_that_cannot_be_met(api: Api, fields: dict[str, Any], code: str, pointer: str, words: str) -> None:
    assert words in refused(api, 422, code, pointer, **fields)["detail"]


def test_a_size_that_can_be_met(api: Api) -> None:
    api.job(recipe="hessian-mixed", program_bytes=2000, plan=PLAN, gates={"max_mean_weight_bits": 3.73})
    wide = {"weights": {"fc1": {"bits": 8}, "fc2": {"bits": 8}}}
    api.job(recipe="hessian-mixed", plan=wide)  # the recipe's default of 4 bits binds what is chosen, not a plan


def test_an_unknown_option_is_told_with_its_step_and_the_known_ones(api: Api) -> None:
    document = refused(api, 422, "invalid_step", "/options/finetune/epoch", options={"finetune": {"epoch": 2}})
    assert "unknown field 'epoch'; known: kind, epochs" in document["detail"]
    document = refused(api, 422, "invalid_step", "/options/finetune/epochs", options={"finetune": {"epochs": "two"}})
    assert "found 'two'" in document["detail"]


def test_an_unknown_dynamics_field_is_told_with_the_known_ones(api: Api) -> None:
    body = {"blob": "sha256:" + "0" * 64, "dynamics": {"preset": "nir-paper", "set": {"dt": 1}}}
    document = api.http.post("/v1/models", json=body).json()
    assert (document["code"], document["pointer"]) == ("invalid_dynamics", "/dynamics/set/dt")
    assert "unknown field 'dt'; known: dt_s, integrator" in document["detail"]
