"""Damaged files of events: refused with their code, in little time and memory; no mutation is ever wrongly accepted."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.data.load import load
from tests.data.event_files import SENSOR, samples, write_events, write_nmnist
from tests.hostile.corpus import MODELS, Case
from tests.hostile.recordings import CASES, TRANSFORMS
from tests.hostile.test_refused import run_child
from worker.intake_checks import check_upload

ALL = [(kind, name, case) for kind, cases in CASES.items() for name, case in cases.items()]


def request(kind: str, path: Path) -> dict[str, Any]:
    transform = TRANSFORMS[kind].model_dump(mode="json")
    return {"kind": "dataset", "path": str(path), "out": str(path) + ".out", "format": kind, "transform": transform}


@pytest.mark.parametrize(("kind", "name", "case"), ALL, ids=lambda value: value if isinstance(value, str) else "")
def test_refused_with_its_code(kind: str, name: str, case: Case, tmp_path: Path) -> None:
    build, code, words = case
    build(tmp_path / "upload")
    answer = check_upload(request(kind, tmp_path / "upload"))
    assert answer["ok"] is False, answer
    assert (answer["code"], words in answer["detail"]) == (code, True), answer
    assert not (tmp_path / "upload.out").exists()


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("events", "row beyond the sensor"),
        ("events", "time runs back"),
        ("events", "declares 4 TiB"),
        ("nmnist", "cut within an event"),
        ("shd", "cut"),
        ("shd", "unit 700"),
    ],
)
def test_child_refuses_quickly_in_little_memory(kind: str, name: str, tmp_path: Path) -> None:
    MODELS["text"][0](tmp_path / "idle")
    idle = {"kind": "model", "path": str(tmp_path / "idle"), "out": str(tmp_path / "idle.out"), "dynamics": None}
    _, _, idle_bytes = run_child(idle)
    build, code, _ = CASES[kind][name]
    build(tmp_path / "upload")
    answer, seconds, peak = run_child(request(kind, tmp_path / "upload"))
    assert answer["code"] == code, answer
    assert seconds < 1.0
    assert peak - idle_bytes < 200 << 20


def test_a_bad_last_event_of_a_large_file_takes_little_memory(tmp_path: Path) -> None:
    many = 2_000_000
    part = np.zeros((many, 4), np.int64)
    part[:, 0] = np.arange(many)
    part[-1, 1] = SENSOR[0]
    write_events(tmp_path / "upload", {"test": [part]})
    MODELS["text"][0](tmp_path / "idle")
    idle = {"kind": "model", "path": str(tmp_path / "idle"), "out": str(tmp_path / "idle.out"), "dynamics": None}
    _, _, idle_bytes = run_child(idle)
    answer, seconds, peak = run_child(request("events", tmp_path / "upload"))
    assert (answer["code"], f"event {many - 1}" in answer["detail"]) == ("event_out_of_range", True), answer
    assert seconds < 2.0
    assert peak - idle_bytes < 200 << 20


@pytest.mark.parametrize("kind", ["events", "nmnist"])
def test_every_mutation_is_refused_or_still_sound(kind: str, tmp_path: Path) -> None:
    """Never a crash; what is accepted holds as many labels as samples, and nothing outside of the frames."""
    path, draw = tmp_path / "upload", random.Random(5)
    {"events": write_events, "nmnist": write_nmnist}[kind](path, samples(2))
    original, refused = path.read_bytes(), 0
    for _ in range(120):
        data = bytearray(original)
        for _ in range(draw.randint(1, 4)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        if draw.random() < 0.15:
            del data[draw.randrange(len(data)) :]
        path.write_bytes(data)
        answer = check_upload(request(kind, path))
        if not answer["ok"]:
            assert answer["code"], answer
            assert answer["detail"], answer
            refused += 1
            continue
        found = load(Path(answer["canonical"]), in_memory_bytes=0)
        kept = sum(int(split.x[:].sum()) for split in (found.train, found.test) if split is not None)
        assert kept == answer["summary"]["events"]["kept"] <= answer["summary"]["events"]["events"]
        assert len(found.test.x) == len(found.test.y) == answer["summary"]["splits"]["test"]
        assert int(found.test.y.max()) < len(found.classes)
    assert refused > 60
