"""Targets: what cannot fit is refused by the limits it breaks; what can is planned within them."""

from __future__ import annotations

from typing import Any

import pytest

from api.problems import Problem
from api.rules.target import check_target
from engine.network.summary import target_facts
from engine.specs.job import ContradictoryJob, JobRequest, resolve_job
from engine.specs.steps import AllocateStep
from engine.specs.targets import TARGETS, network_violations
from tests.conftest import ROOT
from tests.program.networks import recurrent


def job(target: str, **more: Any) -> Any:
    return resolve_job(JobRequest(model="m", dataset="d", recipe="hessian-mixed", target=target, **more))


@pytest.mark.parametrize("name", TARGETS)
def test_allocate_stays_within_the_target(name: str) -> None:
    target = TARGETS[name]
    step = next(step for step in job(name).steps if isinstance(step, AllocateStep))
    assert step.widths
    assert max(step.widths) <= target.weight_bits
    assert step.neuron.state_bits <= target.state_bits
    assert step.neuron.leak.kind in target.leaks
    assert target.granularity == "channel" or step.granularity == "layer"
    assert f"`{name}`" in (ROOT / "docs" / "targets.md").read_text()


def test_generic_changes_nothing() -> None:
    assert job("generic").steps == resolve_job(JobRequest(model="m", dataset="d", recipe="hessian-mixed")).steps


def test_a_plan_that_does_not_fit_is_refused_with_every_limit() -> None:
    plan = {"weights": {"fc": {"bits": 9}}, "neurons": {"n": {"state_bits": 24}}}
    with pytest.raises(ContradictoryJob, match=r"fc\.bits: found 9, allowed at most 8") as refused:
        job("xylo", plan=plan)
    assert refused.value.pointer == "/target"
    assert "neurons.n.leak: found mul_shift, allowed shift (nearest: leak shift)" in refused.value.detail
    assert "neurons.n.state_bits: found 24" in refused.value.detail


def test_widths_that_are_all_too_wide_and_unknown_targets_are_refused() -> None:
    with pytest.raises(ContradictoryJob, match="at most 8 bits"):
        job("speck", options={"allocate": {"widths": [12, 16], "mean_weight_bits": 14}})
    with pytest.raises(ContradictoryJob, match="unknown target 'abacus'; known: generic"):
        job("abacus")


def test_a_network_that_cannot_fit_is_refused_before_any_work() -> None:
    facts = target_facts(recurrent("nir-paper", "cubalif", reset="to_value"))
    found = {one.limit: one for one in network_violations(TARGETS["speck"], facts)}
    assert set(found) == {"kinds", "resets"}
    assert found["resets"].nearest == "set the profile's reset to subtract"
    with pytest.raises(Problem, match=r"target 'speck': kinds: found hid \(cubalif\)") as refused:
        check_target(job("speck"), {"target_facts": facts.model_dump(mode="json")})
    assert refused.value.code == "target_violated"
    check_target(job("generic"), {"target_facts": facts.model_dump(mode="json")})
    check_target(job("xylo"), {})  # nothing known yet: the engine checks again


def test_sizes_are_limits_too() -> None:
    facts = target_facts(recurrent()).model_copy(update={"inputs": 20, "max_spikes": 40})
    assert {one.limit for one in network_violations(TARGETS["xylo"], facts)} == {"inputs", "max_spikes"}
