"""Hints name the exporter that wrote a file, and never choose."""

from __future__ import annotations

import pytest

from engine.network.discretise import discretise
from engine.network.graph import Graph
from engine.network.hints import RULES, Hint, preset_hints
from engine.network.nir_reader import read_nir
from engine.network.nodes import make_node
from engine.network.summary import summarise
from engine.specs.dynamics import PRESETS, DynamicsRequest, resolve_dynamics
from tests.fixtures.load import NAMES, load_fixture

# Two exporters leave the same marks where decays are equal: SpikingJelly without decay_input writes r = tau/dt too.
WRITTEN = [name for name in NAMES if load_fixture(name).about["nir_written_by"] == "exporter"]


def hints_of(name: str) -> dict[str, Hint]:
    return {hint.preset: hint for hint in preset_hints(read_nir(load_fixture(name).nir))}


def test_every_preset_has_a_rule() -> None:
    assert list(RULES) == list(PRESETS)


@pytest.mark.parametrize("name", WRITTEN)
def test_the_exporters_own_preset_fits(name: str) -> None:
    fixture = load_fixture(name)
    hints = hints_of(name)
    own = fixture.dynamics["preset"]
    expected = None if name == "norse-iaf-mlp" else True  # IF alone with r = 1 is Sinabs' mark
    assert hints[own].fits is expected or name == "sinabs-lif-unnormed-mlp", hints[own]
    framework = fixture.about["framework"]
    fitting = {preset.partition("-")[0] for preset, hint in hints.items() if hint.fits}
    allowed = {"snntorch": {"snntorch"}, "spikingjelly": {"spikingjelly", "snntorch"}, "norse": {"norse", "sinabs"}}
    assert fitting <= allowed.get(framework, {framework}), fitting


def test_reasons_give_the_numbers() -> None:
    assert hints_of("snntorch-leaky-mlp")["snntorch-leaky"].why.startswith("r·dt/tau = 1 with dt 0.0001 s")
    assert "tau times 1e-3" in hints_of("snntorch-leaky-mlp")["norse"].why
    assert hints_of("norse-lifbox-mlp")["nir-paper"] == Hint(
        "nir-paper", False, "its step of 0.0001 s is longer than the shortest time constant, 4.03e-06 s"
    )
    assert "time constants in steps" in hints_of("sinabs-lif-mlp")["sinabs"].why
    assert "(tau/dt)·exp(−dt/tau)" in hints_of("rockpool-lif-mlp")["rockpool"].why
    assert hints_of("snntorch-leaky-mlp")["lava"].fits is None


def test_the_models_answer_holds_them() -> None:
    facts = summarise(read_nir(load_fixture("sinabs-conv").nir), None)
    assert [hint["preset"] for hint in facts["preset_hints"]] == list(PRESETS)
    assert {"preset": "sinabs", "fits": True, "why": "IF with r = 1: a step of 1"} in facts["preset_hints"]


def test_a_file_in_another_form_than_its_exporters_is_judged_by_its_profile() -> None:
    """What ``capture`` writes of a Norse network: plain time constants, and the profile's own step."""
    port = {"shape": [1]}
    nodes = {name: make_node(name, name, port) for name in ("Input", "Output")}
    leaky = nodes | {"a": make_node("a", "LIF", {"tau": 0.01, "r": 1.0, "v_leak": 0.0, "v_threshold": 1.0})}
    integrator = nodes | {"a": make_node("a", "IF", {"r": 1000.0, "v_threshold": 1.0})}
    edges = (("Input", "a"), ("a", "Output"))
    given = resolve_dynamics(DynamicsRequest(preset="norse", set={"dt_s": 1e-3}))
    for cells in (leaky, integrator):
        graph = Graph(cells, edges)
        plain = {hint.preset: hint for hint in preset_hints(graph, PRESETS["norse"])}
        assert plain["norse"].fits is False  # the preset as it stands: the exporter's marks are asked for
        hints = {hint.preset: hint for hint in preset_hints(graph, given)}
        assert hints["norse"].fits is None
        assert hints["norse"].why.startswith("not its exporter's form")
        assert hints["norse"].why.endswith("the profile given is this preset with dt_s = 0.001")
        assert {name: hint for name, hint in hints.items() if name != "norse"} == {
            name: hint for name, hint in plain.items() if name != "norse"
        }
    facts = summarise(Graph(leaky, edges), discretise(Graph(leaky, edges), given))
    assert next(hint for hint in facts["preset_hints"] if hint["preset"] == "norse")["fits"] is None
    slow = resolve_dynamics(DynamicsRequest(preset="norse", set={"dt_s": 0.1}))
    hint = next(hint for hint in preset_hints(Graph(leaky, edges), slow) if hint.preset == "norse")
    assert hint.fits is False
    assert "longer than the shortest time constant" in hint.why
    unused = {hint.preset: hint for hint in preset_hints(Graph(leaky, edges), PRESETS["rockpool"])}["rockpool"]
    assert unused.fits is None
    assert unused.why.endswith("the profile given is this preset and leaves r unused")
