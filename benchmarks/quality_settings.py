"""What ``NAME=quality`` runs: settings of jobs, each one configuration for all of its networks, and the rows they give.

The budgets stand here before anything runs: a bound on the loss (0.2, 0.5, 1.0 points) has one budget in mean weight
bits, the same for every network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.frame import Row
from benchmarks.networks import NAMED, ZOO, Case

SEEDS = (0, 1, 2)
NO_CONTROL: Mapping[str, Any] = {"finetune": {"float_control": False}}
TRACE_ALONE = {"sensitivity": {"measure": "off"}}  # plans are chosen by the trace; measuring too takes time alone
DIGITS, BRAILLE, BRAILLE_ZERO, CONVOLUTIONAL = NAMED
# Of the zoo those with a dense layer on one channel, a current, many neurons, and convolutions: two frameworks more.
NETWORKS = (*NAMED, *ZOO[:4])
SMALL = tuple(case for case in NETWORKS if case is not CONVOLUTIONAL)
LEAKY = tuple(case for case in SMALL if case.name != "motion_spikingjelly")
SHOWN = (DIGITS, BRAILLE)  # of the recipes' pages


@dataclass(frozen=True)
class Setting:
    """Fields of a job request, and the networks they are run on, with every seed."""

    name: str
    fields: Mapping[str, Any]
    cases: tuple[Case, ...]


def narrow_states(bits: int) -> dict[str, Any]:
    """Options of ``allocate.neuron``: states that hold ±1.25 thresholds, as fine as their width allows."""
    return {"state_bits": bits, "fraction_bits": bits - 1, "range_thresholds": 1.25}


def mixed(bits: float, cases: tuple[Case, ...], name: str, *, control: bool = False, **allocate: Any) -> Setting:
    """``hessian-mixed`` at so many mean bits; ``allocate``: further options of that step."""
    options: dict[str, Any] = {**TRACE_ALONE} | ({} if control else {**NO_CONTROL})
    if allocate:
        options["allocate"] = allocate
    return Setting(name, {"recipe": "hessian-mixed", "mean_weight_bits": bits, "options": options}, cases)


def _recipe(name: str, cases: tuple[Case, ...], **fields: Any) -> Setting:
    return Setting(name, {"recipe": name, **fields}, cases)


BASE = mixed(4.0, NETWORKS, "at_0.2", control=True)
# Bound on the mean drop in points → setting, reductions that must and should be reached.
LEVELS = (
    (0.2, BASE, 0.86, 0.91),
    (0.5, mixed(3.6, NETWORKS, "at_0.5"), 0.88, 0.92),
    (1.0, mixed(3.0, NETWORKS, "at_1.0"), 0.90, 0.93),
)
PTQ = _recipe("ptq", NETWORKS)
STATE_BITS = 8
STATE = mixed(4.0, SMALL, "state8", neuron=narrow_states(STATE_BITS))
LEAK = mixed(4.0, LEAKY, "shift_leak", neuron={"leak": {"kind": "shift"}})
PAPER = _recipe("hessian-paper", (DIGITS, CONVOLUTIONAL), options=NO_CONTROL)
RECIPES = (
    *(_recipe(name, SHOWN, options=NO_CONTROL) for name in ("lsq", "soft-sigmoid", "loihi-qat", "squat", "mint")),
    _recipe("sweep", SHOWN),
)
SETTINGS = (*(setting for _, setting, _, _ in LEVELS), PTQ, STATE, LEAK, PAPER, *RECIPES)
# The main recipe's promise for single networks, at up to 4 mean bits.
ALONE = (DIGITS, BRAILLE, BRAILLE_ZERO)
ALONE_BOUNDS = (
    ("mean_drop", "points", "lower", 1.2),
    ("worst_drop", "points", "lower", 2.5),
    ("mean_weight_bits", "bits", "lower", 4.0),
    ("reduction", "", "higher", 0.85),
    ("mismatched_spikes", "spikes", "lower", 0.0),
)


def rows() -> tuple[Row, ...]:
    """All rows of the jobs, in order."""
    found = []
    for bound, setting, must, stretch in LEVELS:
        found += [
            Row(f"{setting.name}.reduction", "", "higher", must, stretch),
            Row(f"{setting.name}.mean_drop", "points", "lower", bound),
            Row(f"{setting.name}.worst_network", "points", "lower", *((1.5, 0.7) if setting is BASE else ())),
        ]
    found += [
        Row("at_0.2.float_fine_tuned_drop", "points", "lower"),
        Row("finetune.seconds", "s", "lower", 120.0, 30.0),
        Row("finetune.cpu_seconds", "s", "lower"),
        Row("ptq.mean_drop", "points", "lower", 0.5),
        Row("ptq.worst_network", "points", "lower"),
        Row("ptq.reduction", "", "higher", 0.78, 0.84),
        Row("ptq.cpu_seconds", "s", "lower", 60.0),
        Row("state8.extra_drop", "points", "lower", 0.5),
        Row("state8.saving", "", "higher", 0.75),
        Row("shift_leak.extra_drop", "points", "lower", 0.5, 0.1),
    ]
    for case in PAPER.cases:
        found += [
            Row(f"paper.{case.name}.drop", "points", "lower", 0.2),
            Row(f"paper.{case.name}.reduction", "", "higher", 0.58),
        ]
    for setting in (BASE, PTQ, PAPER, *RECIPES):
        name = "hessian-mixed" if setting is BASE else setting.name
        found += [
            Row(f"recipe.{name}.mismatched_spikes", "spikes", "lower", 0.0),
            Row(f"recipe.{name}.mean_drop", "points", "lower"),
            Row(f"recipe.{name}.reduction", "", "higher"),
        ]
    for case in ALONE:
        found += [Row(f"{case.name}.{name}", unit, better, must) for name, unit, better, must in ALONE_BOUNDS]  # type: ignore[arg-type]
    return tuple(found)
