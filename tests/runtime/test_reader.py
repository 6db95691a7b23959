"""The reader is strict: a changed manifest is either the same program or a ProgramError, never anything else."""

from __future__ import annotations

import contextlib
import copy
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.program.long_form import long_form
from engine.program.manifest import build_manifest, canonical_json, seal
from engine.program.pack import payload
from runtime import ProgramError, parse_program, read_program, run, verify_folder
from runtime.program import InputFormat
from runtime.reader import load_manifest
from tests.program.programs import random_input, random_program

VALUES = st.sampled_from([None, True, -1, 0, 1, 7, 70000, 1 << 70, 0.5, "", "x", "lif", [], [1, 1], [0], {}, "@input"])


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, child in inner for place in ((*path, key), *_places(child, (*path, key)))]


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 30), st.data())
def test_no_manifest_makes_the_reader_crash(seed: int, data: st.DataObject) -> None:
    program = random_program(seed)
    manifest = json.loads(canonical_json(build_manifest(program, {"engine": "test"})))
    *path, last = data.draw(st.sampled_from(_places(manifest)))
    parent: Any = manifest
    for key in path:
        parent = parent[key]
    if data.draw(st.booleans()) and isinstance(parent, dict):
        del parent[last]
    else:
        parent[last] = data.draw(VALUES)
    with contextlib.suppress(ProgramError):
        changed = parse_program(manifest, payload(program))
        run(changed, np.zeros((1, 2, *changed.input.shape), np.int64))


def test_round_trip_keeps_every_array() -> None:
    for seed in range(40):
        program = random_program(seed)
        held = parse_program(build_manifest(program, {}), payload(program))
        for mine, theirs in zip(program.layers, held.layers, strict=True):
            for field in ("bias", "bias_i", "fire_at", "reset_sub", "reset_to", "floor", "start", "scale"):
                a, b = getattr(mine, field), getattr(theirs, field)
                assert (a is None) == (b is None), field
                assert a is None or (np.array_equal(a, b) and a.shape == b.shape), field
        for one, other in zip(program.connections, held.connections, strict=True):
            assert (one.weight is None) == (other.weight is None)
            assert one.weight is None or np.array_equal(one.weight, other.weight)
            assert np.array_equal(*np.broadcast_arrays(one.exponents, other.exponent))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 4}, "version 4; this reader knows 1 to 3"),
        ({"version": True}, "version True; this reader knows 1 to 3"),
        ({"format": "other"}, "not of format"),
        ({"digests": None}, "digests"),
        ({"output": "other"}, "expected digest"),
    ],
)
def test_headers_are_checked_first(change: dict[str, Any], message: str) -> None:
    program = random_program(1)
    manifest = json.loads(seal(build_manifest(program, {}), payload(program), b""))
    with pytest.raises(ProgramError, match=message):
        load_manifest(canonical_json({**manifest, **change}))


def test_only_the_canonical_form_is_read() -> None:
    manifest = seal(build_manifest(random_program(1), {}), b"", b"")
    with pytest.raises(ProgramError, match="canonical"):
        load_manifest(json.dumps(json.loads(manifest), indent=1).encode())
    with pytest.raises(ProgramError, match="not JSON"):
        load_manifest(b"\xff")


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match=r"manifest\.json cannot be read"):
        read_program(tmp_path)


@pytest.mark.parametrize("key", ["layers", "provenance", "multiplications"])
def test_unknown_and_missing_fields_are_named(key: str) -> None:
    program = random_program(1)
    manifest = build_manifest(program, {})
    with pytest.raises(ProgramError, match="unknown fields extra"):
        parse_program({**copy.deepcopy(manifest), "extra": 1}, payload(program))
    manifest.pop(key)
    with pytest.raises(ProgramError, match=key):
        parse_program(manifest, payload(program))


PAIRS = ("stride", "padding", "dilation")
KEPT = sorted((Path(__file__).resolve().parents[1] / "fixtures" / "programs" / "version_2").iterdir())


@pytest.mark.parametrize("folder", KEPT, ids=lambda folder: folder.name)
def test_folders_of_version_2_that_users_kept_are_still_verified_and_run(folder: Path) -> None:
    """Written before version 3: one-dimensional convolutions, delays, ternary weights, currents, several spikes."""
    assert json.loads((folder / "manifest.json").read_text())["version"] == 2
    result = verify_folder(folder)
    assert result.ok, result.problems
    program = random_program(int(folder.name.removeprefix("random_")))
    x = random_input(program, 99)
    now = parse_program(build_manifest(program, {}), payload(program))
    mine, theirs = run(read_program(folder), x), run(now, x)
    for layer in program.layers:
        np.testing.assert_array_equal(mine.spikes[layer.name], theirs.spikes[layer.name])
        np.testing.assert_array_equal(mine.states[layer.name].v, theirs.states[layer.name].v)
        np.testing.assert_array_equal(read_program(folder).layer(layer.name).scale, layer.scale)


def test_version_1_is_still_read() -> None:
    """No scale of the input, and nothing that version 2 added."""
    program = random_program(1)
    manifest = long_form(program, {})
    old = {**manifest, "version": 1, "input": {k: v for k, v in manifest["input"].items() if k != "scale"}}
    x = random_input(program, 1)
    new = run(parse_program(manifest, payload(program)), x)
    np.testing.assert_array_equal(run(parse_program(old, payload(program)), x).counts, new.counts)
    with pytest.raises(ProgramError, match="unknown fields scale"):
        parse_program({**manifest, "version": 1}, payload(program))


@pytest.mark.parametrize("seed", range(25))
def test_the_long_form_says_the_same(seed: int) -> None:
    """Versions 2 and 3 of one program are read as the same program, bounds included."""
    program = random_program(seed)
    long = parse_program(long_form(program, {}), payload(program))
    short = parse_program(json.loads(canonical_json(build_manifest(program, {}))), payload(program))
    for mine, theirs in ((long.layers, short.layers), (long.connections, short.connections)):
        for one, other in zip(mine, theirs, strict=True):
            left, right = asdict(one), asdict(other)
            if not one.kind.startswith("conv"):  # pairs without meaning
                left, right = ({k: v for k, v in held.items() if k not in PAIRS} for held in (left, right))
            np.testing.assert_equal(left, right)
    assert (long.input, long.output, long.readout) == (short.input, short.output, short.readout)


def test_analogue_values_become_integers_by_the_declared_scale() -> None:
    form = InputFormat((2,), -8, 7, np.float32(0.5))
    assert form.integers(np.array([0.24, 0.25])).tolist() == [0, 1]
    assert form.integers(np.array([-0.25, 1e300])).tolist() == [0, 2**62]
    with pytest.raises(ProgramError, match="not finite"):
        form.integers(np.array([np.nan]))
    plain = InputFormat((2,), 0, 1)
    assert plain.integers(np.array([1.0, 3.0])).tolist() == [1, 3]
    with pytest.raises(ProgramError, match="fractions"):
        plain.integers(np.array([0.5]))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (lambda x: x.astype(float), "must hold integers"),
        (lambda x: x[0], "found shape"),
        (lambda x: x[:0], "not empty"),
        (lambda x: x[..., :0], "found shape"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(x: Any, message: str) -> None:
    program = random_program(1)
    held = parse_program(build_manifest(program, {}), payload(program))
    with pytest.raises(ProgramError, match=message):
        run(held, x(random_input(program, 1)))


def test_any_integer_dtype_and_any_batch_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    program = random_program(2)
    held = parse_program(build_manifest(program, {}), payload(program))
    x = np.abs(random_input(program, 2, samples=5))
    whole = run(held, x)
    for dtype in (np.uint8, np.int16, np.uint64):
        np.testing.assert_array_equal(run(held, x.astype(dtype)).counts, whole.counts)
    monkeypatch.setattr("runtime.runner.CHUNK_VALUES", 1)
    parts = run(held, x)
    np.testing.assert_array_equal(parts.counts, whole.counts)
    assert parts.clamped == whole.clamped
    for name, state in whole.states.items():
        np.testing.assert_array_equal(parts.states[name].v, state.v)
        np.testing.assert_array_equal(parts.spikes[name], whole.spikes[name])
    assert run(held, x, record=False).spikes == {}
