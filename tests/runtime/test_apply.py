"""``spikebit run``: a program on a file, its accuracy and what it cost, counted."""

from __future__ import annotations

import importlib
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from engine.kernels.event import event_library
from engine.program.program import IntegerProgram
from engine.program.write import write_program
from runtime import read_program, run
from runtime.apply import apply_program, read_samples
from runtime.cost import count_operations
from runtime.errors import ProgramError
from runtime.runners import GROUP, choose
from tests.conftest import ROOT
from tests.program.programs import random_input, random_program


def slow_count(program: IntegerProgram, x: np.ndarray, spikes: dict[str, np.ndarray]) -> int:  # type: ignore[type-arg]
    """Synaptic operations by asking which weights meet a value that is not 0, one by one."""
    total = 0
    for connection in program.connections:
        values = (x if connection.source == "@input" else spikes[connection.source]).astype(int)
        values = values.reshape(-1, *values.shape[2:])
        assert not connection.before, "the oracle knows no pools"
        if connection.kind == "identity":
            total += int((values != 0).sum())
        elif connection.kind == "linear":
            total += int((values != 0).sum()) * len(connection.weight)
        else:
            (s,), (p,), (d,) = connection.stride, connection.padding, connection.dilation
            out, inner, kernel = connection.weight.shape
            places = (values.shape[-1] + 2 * p - d * (kernel - 1) - 1) // s + 1
            for o, q, m, a in np.ndindex(out, places, inner, kernel):
                place = q * s + a * d - p
                if 0 <= place < values.shape[-1]:
                    total += int((values[:, o // (out // connection.groups) * inner + m, place] != 0).sum())
    return total


def test_operations_are_those_that_happen() -> None:
    seen = set()
    for seed in range(60):
        program = random_program(seed)
        if any(c.before or c.kind == "conv2d" for c in program.connections if c.kind != "linear") or any(
            c.before for c in program.connections
        ):
            continue
        x = np.clip(random_input(program, seed), program.input.lo, program.input.hi)
        trace = _trace(program, x)
        counted = count_operations(trace[0], x, trace[1].spikes)
        assert counted.synaptic == slow_count(program, x, trace[1].spikes)
        assert counted.synaptic <= counted.dense
        assert counted.updates == x.shape[0] * x.shape[1] * sum(layer.size for layer in program.layers)
        seen |= {c.kind for c in program.connections}
    assert seen >= {"linear", "identity"}


def _trace(program: IntegerProgram, x: np.ndarray):  # type: ignore[type-arg,no-untyped-def]
    from engine.program.manifest import build_manifest
    from engine.program.pack import payload
    from runtime import parse_program

    held = parse_program(build_manifest(program, {}), payload(program))
    return held, run(held, x)


def test_a_program_on_a_file(tmp_path: Path) -> None:
    program = random_program(5)
    x = random_input(program, 5, samples=40)
    write_program(program, tmp_path / "out" / "program", x[:2], {})
    trace = run(read_program(tmp_path / "out" / "program"), x)
    y = trace.counts.argmax(axis=1)
    y[:10] = (y[:10] + 1) % max(2, trace.counts.shape[1])
    worth = 1 if program.input.scale is None else float(program.input.scale)
    assert worth == 0.25, "an analogue input is what this test is about"
    np.savez(tmp_path / "data.npz", x_test=x * worth, y_test=y)
    result = apply_program(tmp_path / "out", *read_samples(tmp_path / "data.npz"))
    np.testing.assert_array_equal(result.counts, trace.counts)
    assert result.accuracy == pytest.approx(float((trace.counts.argmax(axis=1) == y).mean()))
    assert (result.clamped, result.saturated) == (trace.clamped, trace.saturated)
    result.write(tmp_path / "counts.npz")
    with np.load(tmp_path / "counts.npz") as held:
        np.testing.assert_array_equal(held["counts"], trace.counts)


@pytest.mark.parametrize(
    ("name", "arrays", "message"),
    [
        ("a.npz", {"z": np.zeros(3)}, "expected an array x or x_test, found z"),
        ("b.npz", {"x": np.zeros((2, 3, 99))}, "expected samples"),
        ("c.npz", {"x": None, "y": np.zeros(7)}, "labels"),
    ],
)
def test_files_that_do_not_fit_are_refused(name: str, arrays: dict[str, object], message: str, tmp_path: Path) -> None:
    program = random_program(5)
    x = random_input(program, 5)
    write_program(program, tmp_path / "program", x, {})
    np.savez(tmp_path / name, **{key: x if value is None else value for key, value in arrays.items()})  # type: ignore[arg-type]
    with pytest.raises(ProgramError, match=message):
        apply_program(tmp_path, *read_samples(tmp_path / name))


def test_a_file_of_junk_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"junk")
    with pytest.raises(ProgramError, match="cannot be read"):
        read_samples(tmp_path / "x.npz")


def test_every_runner_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine's runner by its entry point, as an installed package offers it."""
    entry = EntryPoint("native", "engine.program.plugin:native", GROUP)
    monkeypatch.setattr("runtime.runners.entry_points", lambda group: [entry] if group == GROUP else [])
    monkeypatch.setattr("runtime.runners.WORTH", 0)
    ran = 0
    for seed in range(12):
        program = random_program(seed)
        x = random_input(program, seed, samples=40)
        write_program(program, tmp_path / str(seed), x[:1], {})
        worth = 1 if program.input.scale is None else float(program.input.scale)
        expected = apply_program(tmp_path / str(seed), x * worth, runner="numpy")
        found = apply_program(tmp_path / str(seed), x * worth, runner="auto")
        assert found.runner == "native" or found.runner.startswith("numpy (native: ")
        ran += found.runner == "native"
        np.testing.assert_array_equal(found.counts, expected.counts)
        for name in ("clamped", "saturated", "operations", "energy"):
            assert getattr(found, name) == getattr(expected, name)
    assert ran > 3 or event_library()[0] is None
    quick = apply_program(tmp_path / "11", x * worth, runner="numpy", cost=False)  # the last one
    assert (quick.operations, quick.energy) == (None, None)


def test_auto_loads_another_runner_only_for_much_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    program = _trace(random_program(5), random_input(random_program(5), 5))[0]
    assert choose(program, "auto", 10)[1] == "numpy (quicker than loading another for so little)"
    monkeypatch.setattr("runtime.runners.entry_points", lambda group: [])
    assert choose(program, "auto", 10**12)[1] == "numpy (no other is installed)"
    with pytest.raises(ProgramError, match="no runner 'native' is installed; there are: numpy"):
        choose(program, "native")
    broken = EntryPoint("native", "engine.nowhere:native", GROUP)
    monkeypatch.setattr("runtime.runners.entry_points", lambda group: [broken])
    assert choose(program, "auto", 10**12)[1].startswith("numpy (native: No module named")
    with pytest.raises(ProgramError, match="runner native: No module named"):
        choose(program, "native")


def test_the_package_offers_the_native_runner() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][GROUP]
    module, _, function = declared["native"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))
