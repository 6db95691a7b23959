"""Targets: what cannot fit is refused by the limits it breaks; what can is planned within them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from api.problems import Problem
from api.rules.target import check_target
from engine.network.model import Network
from engine.network.summary import target_facts
from engine.specs.job import ContradictoryJob, JobRequest, resolve_job
from engine.specs.steps import AllocateStep, ExportStep
from engine.specs.target_check import network_violations
from engine.specs.target_memory import Block, Memory, needs
from engine.specs.targets import TARGETS, NetworkFacts
from tests.api.conftest import MODEL_SUMMARY, Api
from tests.conftest import ROOT
from tests.program.networks import convolutional, memoryless, recurrent


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
    assert set(found) == {"kinds", "resets", "recurrent"}
    assert found["resets"].nearest == "set the profile's reset to subtract"
    with pytest.raises(Problem, match=r"target 'speck': kinds: found hid \(cubalif\)") as refused:
        check_target(job("speck"), {"target_facts": facts.model_dump(mode="json")})
    assert refused.value.code == "target_violated"
    check_target(job("generic"), {"target_facts": facts.model_dump(mode="json")})
    check_target(job("xylo"), {})  # nothing known yet: the engine checks again


def test_sizes_are_limits_too() -> None:
    facts = target_facts(recurrent()).model_copy(update={"inputs": 20, "max_spikes": 40})
    changes = {one.limit: one.nearest for one in network_violations(TARGETS["xylo"], facts)}
    assert changes == {"inputs": "reduce inputs by 4", "max_spikes": "set the profile's max_spikes to 31"}


def found(target: str, network: Network) -> dict[str, str]:
    """Limit → nearest change."""
    return {one.limit: one.nearest for one in network_violations(TARGETS[target], target_facts(network))}


def test_what_an_export_cannot_say_is_refused_before_any_work() -> None:
    loihi = found("loihi2", recurrent("snntorch-leaky", "cubalif"))
    assert set(loihi) == {"resets", "reset_timing", "current_bias"}
    assert loihi["reset_timing"] == "set the profile's reset_timing to same_step"
    assert set(found("loihi2", convolutional("lava"))) == {"pools"}
    assert set(found("fpga", convolutional("lava"))) == {"connections", "pools"}
    assert found("fpga", recurrent("snntorch-leaky", "lif")) == {}
    network = recurrent("lava", "lif")
    assert found("loihi2", network) == {}
    from_rest = replace(network, dynamics=network.dynamics.model_copy(update={"start": "v_leak"}))
    assert found("loihi2", from_rest) == {}, "v_leak is 0 here"
    resting = replace(network.layers[0], v_leak=np.full(9, 0.1))
    assert set(found("loihi2", replace(from_rest, layers=(resting, network.layers[1])))) == {"start"}
    uneven = replace(network.layers[0], threshold=np.linspace(0.5, 1.0, 9), v_reset=np.full(9, 0.1))
    layers = (uneven, network.layers[1])
    assert set(found("loihi2", replace(network, layers=layers))) == {"one_level", "zero_reset"}


def test_a_network_with_a_memoryless_threshold_has_facts() -> None:
    assert target_facts(memoryless(recurrent("snntorch-leaky", "lif", gain=1.0))).kinds["hid"] == "lif"


def test_needs_are_those_of_sinabs() -> None:
    """Two layers of the NIR paper's N-MNIST network: kernels and maps rounded up to powers of two."""
    first = needs(Block(kernel=(16, 2, 5, 5), maps=(16, 16)))
    assert (first.kernel, first.neurons, first.biases) == (2 * 32 * 16, 16 * 256, 0)
    dense = needs(Block(kernel=(256, 8, 4, 4), maps=(1, 1), biased=True))
    assert (dense.kernel, dense.neurons, dense.biases) == (8 * 16 * 256, 256, 256)


def test_a_layer_that_fits_no_core_is_refused_with_the_most_that_would() -> None:
    network = convolutional("sinabs")
    assert set(found("speck", network)) == {"kinds"}  # its hidden neurons leak, its memories fit
    facts = target_facts(network)
    assert facts.blocks["conv"] == Block(kernel=(4, 2, 3, 3), maps=(8, 8), biased=True)
    assert facts.blocks["fc"].kernel == (4, 4, 2, 2), "a linear layer is as large as the image that it reads"
    wide = facts.model_copy(update={"blocks": {"big": Block(kernel=(512, 16, 3, 3), maps=(4, 4))}})
    (violation,) = [one for one in network_violations(TARGETS["speck"], wide) if one.limit.startswith("memory")]
    assert violation.limit == "memory.big"
    assert violation.found == "kernel 131072, neurons 8192, biases 0"
    assert violation.nearest == "at most 256 outputs"
    fits = Block(kernel=(256, 16, 3, 3), maps=(4, 4))
    three = facts.model_copy(update={"blocks": {"a": fits, "b": fits, "c": fits}})  # two cores hold 64 Ki of kernel
    (violation,) = [one for one in network_violations(TARGETS["speck"], three) if one.limit == "memory"]
    assert violation.found == "c"


def test_a_target_with_an_export_gets_it() -> None:
    for name, target in TARGETS.items():
        exports = [step for step in job(name).steps if isinstance(step, ExportStep)]
        assert [step.formats for step in exports] == ([] if target.export is None else [(target.export,)])
    more = resolve_job(
        JobRequest(model="m", dataset="d", recipe="microcontroller", target="loihi2", exports=("verilog", "c99"))
    )
    assert [step.formats for step in more.steps if isinstance(step, ExportStep)] == [("c99",), ("verilog",), ("lava",)]
    with pytest.raises(ContradictoryJob, match="step 'export' needs an earlier step 'integerize'"):
        resolve_job(JobRequest(model="m", dataset="d", recipe="evaluate", exports=("c99",)))
    again = resolve_job(JobRequest(model="m", dataset="d", recipe="microcontroller", target="c99"))
    assert [step.kind for step in again.steps].count("export") == 1


def test_every_limit_of_the_data_is_on_the_page() -> None:
    page = (ROOT / "docs" / "targets.md").read_text()
    for target in TARGETS.values():
        assert target.source in page
        assert target.title in page
        for field in target.unconfirmed:
            assert field in page
        for limit, source in target.sources.items():
            assert getattr(target, limit) is not None
            assert f"{source}" in page
        for what, why in target.unknown.items():
            assert f"| `{target.name}` | {what} | {why} |" in page


def big(facts: NetworkFacts, rows: int, columns: int) -> NetworkFacts:
    return facts.model_copy(update={"blocks": {"fc": Block(kernel=(rows, columns, 1, 1))}})


def test_whole_chips_hold_so_many_weights_and_neurons() -> None:
    facts = target_facts(recurrent("lava", "lif"))
    for name, rows, columns, limit in (
        ("loihi2", 120_000, 1001, "weights"),
        ("spinnaker2", 20_000, 1000, "memory_bytes"),
    ):
        (violation,) = network_violations(TARGETS[name], big(facts, rows, columns))
        assert violation.limit == limit
        assert violation.nearest == f"reduce {limit} by {rows * columns - int(violation.allowed.split()[-1])}"
        assert network_violations(TARGETS[name], big(facts, 1000, 1000)) == ()
    many = facts.model_copy(update={"neurons": 1_000_001})
    assert [one.limit for one in network_violations(TARGETS["loihi2"], many)] == ["neurons"]


def test_the_memory_of_a_microcontroller_is_the_users() -> None:
    facts = {"target_facts": target_facts(recurrent("snntorch-leaky", "lif")).model_dump(mode="json")}
    weights, neurons = 12 * 9 + 9 * 9 + 9 * 4, 13
    fits = Memory(flash_bytes=weights, ram_bytes=3 * neurons)
    check_target(job("c99", memory=fits), facts)
    for field, less in (("flash_bytes", weights - 1), ("ram_bytes", 3 * neurons - 1)):
        tight = job("c99", memory=fits.model_copy(update={field: less}))
        with pytest.raises(
            Problem, match=rf"{field}: found at least {less + 1}, allowed at most {less} \(nearest"
        ) as refused:
            check_target(tight, facts)
        assert refused.value.code == "target_violated"
    with pytest.raises(ContradictoryJob, match="memory belongs to targets that take it: c99") as misplaced:
        job("xylo", memory=fits)
    assert misplaced.value.pointer == "/memory"


BREAKS: dict[str, tuple[dict[str, Any], str]] = {
    "generic": ({"max_spikes": 1 << 20}, "max_spikes"),
    "c99": ({"max_spikes": 1 << 20}, "max_spikes"),
    "loihi2": ({"pooled": ("fc1",)}, "pools"),
    "speck": ({"kinds": {"a": "lif"}}, "kinds"),
    "xylo": ({"outputs": 9}, "outputs"),
    "spinnaker2": ({"kinds": {"a": "cubali"}}, "kinds"),
    "fpga": ({"connections": {"fc1": "conv2d"}}, "connections"),
}


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_refuses_over_http_before_anything_is_queued(name: str, api: Api) -> None:
    changed, limit = BREAKS[name]
    facts = target_facts(recurrent("lava", "lif")).model_copy(update=changed).model_dump(mode="json")
    body = {"model": api.model(MODEL_SUMMARY | {"target_facts": facts}), "dataset": api.dataset(), "target": name}
    body |= {"recipe": "hessian-mixed"}
    for query in ({}, {"dry_run": "true"}):
        answer = api.http.post("/v1/jobs", params=query, json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "target_violated"), answer.text
        assert f"{limit}: found" in answer.json()["detail"]
        assert "(nearest: " in answer.json()["detail"]
    assert api.http.get("/v1/jobs").json()["items"] == []


def test_memory_over_http(api: Api) -> None:
    facts = target_facts(recurrent("snntorch-leaky", "lif")).model_dump(mode="json")
    body = {
        "model": api.model(MODEL_SUMMARY | {"target_facts": facts}),
        "dataset": api.dataset(),
        "recipe": "hessian-mixed",
        "target": "c99",
    }
    small = api.http.post("/v1/jobs", json=body | {"memory": {"flash_bytes": 100}})
    assert (small.status_code, small.json()["code"]) == (422, "target_violated")
    assert "flash_bytes: found at least 225, allowed at most 100" in small.json()["detail"]
    wrong = api.http.post("/v1/jobs", json=body | {"target": "generic", "memory": {"ram_bytes": 100}})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "target_violated")
    enough = api.http.post("/v1/jobs", params={"dry_run": "true"}, json=body | {"memory": {"flash_bytes": 32768}})
    assert enough.status_code == 200


def test_a_rule_that_no_program_knows_is_refused_when_a_program_is_asked_for(api: Api) -> None:
    body = {"blob": api.put(b"nir"), "dynamics": {"preset": "snntorch-undelayed"}}
    model = api.http.post("/v1/models", json=body).json()["id"]
    api.check(MODEL_SUMMARY)
    request = {"model": model, "dataset": api.dataset()}
    refused = api.http.post("/v1/jobs", json=request | {"recipe": "hessian-mixed"})
    assert (refused.status_code, refused.json()["code"]) == (422, "dynamics_not_representable")
    assert "train with a delayed reset, or set residue=fires" in refused.json()["detail"]
    assert api.http.post("/v1/jobs", json=request | {"recipe": "evaluate"}).status_code == 202
