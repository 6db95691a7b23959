"""Which presets a file's numbers fit, and why: hints that a user confirms, never a choice.

Exporters leave marks: snnTorch writes ``r = tau/dt``, Norse multiplies tau with its own dt, Sinabs counts in steps,
Rockpool writes ``r = (tau/dt)·exp(−dt/tau)`` (docs/dynamics/, one page each). Marks can coincide, so several presets
may fit; resets and spike tests leave none at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.network.graph import Graph
from engine.network.nodes import IF, LI, LIF, CubaLI, CubaLIF, I, Node
from engine.specs.dynamics import PRESETS, Dynamics

Values = NDArray[np.float64]
CLOSE = 1e-4  # relative: taus and resistances may have been float32
NORSE_TAU_S = 1e-4  # no network has time constants this short; Norse's files hold tau times 1e-3


@dataclass(frozen=True)
class Hint:
    """What a file says about one preset; ``fits`` None: its numbers say nothing for or against."""

    preset: str
    fits: bool | None
    why: str


@dataclass(frozen=True)
class _Cell:
    """A stateful node's numbers; ``tau`` None: an integrator without leak. ``tau_syn`` None: no current."""

    name: str
    r: Values
    tau: Values | None
    tau_syn: Values | None
    w_in: Values
    v_leak: Values
    v_reset: Values


Finding = tuple[bool | None, str]


def preset_hints(graph: Graph, given: Dynamics | None = None) -> tuple[Hint, ...]:
    """One hint per preset, in the order of the catalogue.

    Args:
        graph: the flat graph.
        given: the profile that came with the file. A preset that it alters (another ``dt_s``, say) is judged by it;
            where its exporter's marks are missing then, a program wrote the file in another form (``capture`` does),
            and the marks say nothing.

    Example:
        >>> from engine.network.nodes import make_node
        >>> port, cell = {"shape": [1]}, {"tau": 1e-3, "r": 10.0, "v_leak": 0.0, "v_threshold": 1.0}
        >>> nodes = {name: make_node(name, name, port) for name in ("Input", "Output")}
        >>> nodes["a"] = make_node("a", "LIF", cell)
        >>> hints = preset_hints(Graph(nodes, (("Input", "a"), ("a", "Output"))))
        >>> [hint.preset for hint in hints if hint.fits][0]
        'snntorch-leaky'
    """
    kinds = IF | I | LIF | LI | CubaLIF | CubaLI
    cells = [_cell(name, node) for name, node in graph.nodes.items() if isinstance(node, kinds)]
    hints = []
    altered = _altered(given)
    for preset, rule in RULES.items():
        dynamics = PRESETS[preset] if given is None or preset not in altered else given
        with np.errstate(all="ignore"):  # numbers of any size come in; what overflows fits nothing
            found = _step(cells, dynamics) or rule(cells, dynamics) if cells else (None, "no neurons with parameters")
            if preset in altered and found[0] is False and _step(cells, dynamics) is None:
                changes = f"with {', '.join(altered[preset])}" if altered[preset] else "and leaves r unused"
                why = f"not its exporter's form ({found[1]}); the profile given is this preset {changes}"
                found = (None, why)
        fits, why = found
        hints.append(Hint(preset, fits, why))
    return tuple(hints)


def _altered(given: Dynamics | None) -> dict[str, tuple[str, ...]]:
    """The presets that a profile is closest to, with the fields that it alters.

    One that it does not alter is left to its exporter's marks, unless its equations leave out the ``r`` of those.
    """
    if given is None:
        return {}
    own = given.model_dump()
    changes = {
        name: tuple(f"{field} = {own[field]}" for field, value in preset.model_dump().items() if own[field] != value)
        for name, preset in PRESETS.items()
    }
    least = min(map(len, changes.values()))
    closest = {name: fields for name, fields in changes.items() if len(fields) == least}
    return {name: fields for name, fields in closest.items() if fields or PRESETS[name].membrane_gain != "ode"}


def _step(cells: list[_Cell], dynamics: Dynamics) -> Finding | None:
    """A step longer than a time constant fits no forward Euler."""
    shortest = min((float(tau.min()) for tau in _taus(cells)), default=None)
    if dynamics.integrator == "exponential" or shortest is None or dynamics.dt_s <= shortest * (1 + CLOSE):
        return None
    return False, f"its step of {dynamics.dt_s:g} s is longer than the shortest time constant, {shortest:.3g} s"


def _paper(cells: list[_Cell], dynamics: Dynamics) -> Finding:
    return None, "the equations as they stand; no exporter's mark to look for"


def _snntorch(cells: list[_Cell], dynamics: Dynamics) -> Finding:
    for cell in cells:
        if cell.tau is None:
            return False, f"node {cell.name!r} has no tau; its exporter writes LIF and CubaLIF alone"
        gain = cell.r * dynamics.dt_s / cell.tau
        if not _near(gain, 1.0):
            return False, f"r·dt/tau = {_some(gain)} in node {cell.name!r}; its exporter writes 1"
        if cell.tau_syn is not None and not _near(cell.w_in * dynamics.dt_s / cell.tau_syn, 1.0):
            return False, f"w_in·dt/tau_syn is not 1 in node {cell.name!r}"
        if cell.v_leak.any():
            return False, f"v_leak is not 0 in node {cell.name!r}"
    return True, f"r·dt/tau = 1 with dt {dynamics.dt_s:g} s in every neuron; which reset, no file says"


def _norse(cells: list[_Cell], dynamics: Dynamics) -> Finding:
    longest = max((float(tau.max()) for tau in _taus(cells)), default=None)
    if longest is None:
        return (None, "IF alone: set dt_s = 1 for Norse's IAF") if _all_r(cells, 1.0) else (False, "r is not 1")
    if longest >= NORSE_TAU_S:
        return False, f"tau reaches {longest:.3g} s; its files hold tau times 1e-3, far below 1e-4 s"
    if not _all_r(cells, 1.0) or any(not _near(cell.w_in, 1.0) for cell in cells):
        return False, "r and w_in are not 1"
    return True, f"tau at most {longest:.3g} s and r = 1: its files hold tau times its own dt of 1e-3"


def _spikingjelly(cells: list[_Cell], dynamics: Dynamics) -> Finding:
    for cell in cells:
        gain = cell.r * dynamics.dt_s * (1.0 if cell.tau is None else 1.0 / cell.tau)
        decays = cell.tau is not None and cell.tau_syn is None and _near(cell.r, 1.0)
        if not decays and not _near(gain, 1.0):
            return False, f"node {cell.name!r}: neither r = 1 nor r·dt/tau (IF: r·dt) = 1; found r = {_some(cell.r)}"
        if cell.tau_syn is None and cell.tau is not None and not _near(cell.v_leak - cell.v_reset, 0.0):
            return False, f"node {cell.name!r}: v_leak differs from v_reset"
        if any(value is not None and value.size > 1 for value in (cell.r, cell.tau, cell.v_leak, cell.v_reset)):
            return False, f"node {cell.name!r}: parameters differ by neuron; its neurons share them in a layer"
    return True, f"r = 1, or r·dt/tau = 1 (IF: r·dt = 1) with dt {dynamics.dt_s:g} s, and v_leak = v_reset"


def _sinabs(cells: list[_Cell], dynamics: Dynamics) -> Finding:
    shortest = min((float(tau.min()) for tau in _taus(cells)), default=None)
    if not _all_r(cells, 1.0):
        return False, "r is not 1"
    if shortest is None:
        return True, "IF with r = 1: a step of 1"
    if shortest < 1:
        return False, f"tau is {shortest:.3g}; its files count in time steps, so at least 1"
    return True, f"tau at least {shortest:.3g} and r = 1: time constants in steps"


def _rockpool(cells: list[_Cell], dynamics: Dynamics) -> Finding:
    for cell in cells:
        if cell.tau is None:
            return False, f"node {cell.name!r} has no tau; its exporter writes leaky neurons alone"
        wanted = cell.tau / dynamics.dt_s * np.exp(-dynamics.dt_s / cell.tau)
        if not _near(cell.r / wanted, 1.0):
            found = f"r = {_some(cell.r)} in node {cell.name!r}"
            return False, f"{found}; its exporter writes (tau/dt)·exp(−dt/tau) = {_some(wanted)}"
    return True, f"r = (tau/dt)·exp(−dt/tau) with dt {dynamics.dt_s:g} s"


def _lava(cells: list[_Cell], dynamics: Dynamics) -> Finding:
    return None, "it writes no NIR file; its LIF resets to 0 in the same step"


# The keys are the presets, in the catalogue's order; a test compares them.
RULES: dict[str, Callable[[list[_Cell], Dynamics], Finding]] = {
    "nir-paper": _paper,
    "snntorch-leaky": _snntorch,
    "snntorch-leaky-zero": _snntorch,
    "snntorch-synaptic-zero": _snntorch,
    "snntorch-none": _snntorch,
    "snntorch-undelayed": _snntorch,
    "norse": _norse,
    "spikingjelly": _spikingjelly,
    "sinabs": _sinabs,
    "rockpool": _rockpool,
    "lava": _lava,
}


def _cell(name: str, node: Node) -> _Cell:
    def values(field: str, default: float | None = None) -> Any:
        value = getattr(node, field, None)
        value = default if value is None else value
        return None if value is None else np.asarray(value, dtype=np.float64)

    tau = values("tau")
    return _Cell(
        name,
        values("r"),
        values("tau_mem") if tau is None else tau,
        values("tau_syn"),
        values("w_in", 1.0),
        values("v_leak", 0.0),
        values("v_reset", 0.0),
    )


def _taus(cells: list[_Cell]) -> Iterator[Values]:
    for cell in cells:
        yield from (tau for tau in (cell.tau, cell.tau_syn) if tau is not None)


def _all_r(cells: list[_Cell], value: float) -> bool:
    return all(_near(cell.r, value) for cell in cells)


def _near(values: Values, target: float) -> bool:
    return bool(np.all(np.abs(values - target) <= CLOSE))


def _some(values: Values) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{low:.4g}" if high - low <= CLOSE * abs(high) else f"{low:.4g} to {high:.4g}"
