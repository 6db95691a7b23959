"""Camera recordings with bytes changed, cut, repeated or added: refused with a code, or sound to the last event.

The zip around them is whole, so that the damage reaches the decoders.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.data.load import load
from engine.specs.data import TimeBins, Transform
from tests.data.event_files import bin_bytes, random_events, write_zip
from tests.data.make_recordings import FOLDER
from tests.data.recording_bytes import (
    aedat3_bytes,
    atis_bytes,
    dat_bytes,
    es_bytes,
    evt2_bytes,
    evt3_bytes,
    evt21_bytes,
)
from worker.intake_checks import check_upload

EVENTS = random_events(np.random.default_rng(1), 25)
GOOD: dict[str, tuple[bytes, str]] = {
    "AEDAT 3.1": (aedat3_bytes(EVENTS), "aedat"),
    "AEDAT 4": ((FOLDER / "events.aedat4").read_bytes(), "aedat4"),
    "bin": (bin_bytes(EVENTS), "bin"),
    "DAT": (dat_bytes(EVENTS), "dat"),
    "es": (es_bytes(EVENTS), "es"),
    "es of an ATIS": (atis_bytes(EVENTS), "es"),
    "EVT 2.0": (evt2_bytes(EVENTS), "raw"),
    "EVT 2.1": (evt21_bytes(EVENTS), "raw"),
    "EVT 2.1 legacy": (evt21_bytes(EVENTS, legacy=True), "raw"),
    "EVT 3.0": (evt3_bytes(EVENTS), "raw"),
}
TRANSFORM = Transform(binning=TimeBins(bin_s=1e-3, steps=4)).model_dump(mode="json")


def damaged(data: bytes, draw: Callable[[Any], Any]) -> bytes:
    """One to three kinds of damage."""
    found = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(found) - 1)))
        kind = draw(st.sampled_from(["byte", "bytes", "cut", "drop", "add", "repeat"]))
        if kind == "byte" and found:
            found[at] = draw(st.integers(0, 255))
        elif kind == "bytes":
            found[at : at + 8] = draw(st.binary(min_size=8, max_size=8))
        elif kind == "cut":
            del found[at:]
        elif kind == "drop":
            del found[at : at + draw(st.integers(1, 9))]
        elif kind == "add":
            found[at:at] = draw(st.sampled_from([b"\xff", b"\xfe" * 5, b"\0" * 8, b"\xff" * 16, b"%", b"9" * 12]))
        else:
            found += found[at : at + 64]
    return bytes(found)


def check_sound(answer: dict[str, Any]) -> None:
    """What is accepted holds every kept event in its frames, and a label within the classes for each sample."""
    found = load(Path(answer["canonical"]), in_memory_bytes=0)
    splits = [split for split in (found.train, found.val, found.test) if split is not None]
    tally = answer["summary"]["events"]
    assert sum(int(split.x[:].sum()) for split in splits) == tally["kept"]
    assert tally["kept"] + tally["late"] * (TRANSFORM["binning"]["late"] == "drop") == tally["events"]
    assert all(len(split.x) == len(split.y) and int(split.y.max()) < len(found.classes) for split in splits)


@pytest.mark.parametrize("name", sorted(GOOD))
def test_damage_is_refused_or_sound(name: str) -> None:
    data, suffix = GOOD[name]
    outcomes: set[str] = set()

    @settings(max_examples=250, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.data())
    def check(drawn: st.DataObject) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "upload"
            write_zip(path, {f"test/0/a.{suffix}": damaged(data, drawn.draw), f"test/1/b.{suffix}": data})
            request = {"kind": "dataset", "path": str(path), "out": str(path) + ".out", "format": "recordings"}
            answer = check_upload(request | {"transform": TRANSFORM})
            if answer["ok"]:
                check_sound(answer)
            else:
                assert answer["code"] not in ("unreadable", "out_of_memory"), answer
                assert len(answer["detail"]) > 20, answer
        outcomes.add("ok" if answer["ok"] else answer["code"])

    check()
    assert len(outcomes) >= 3, outcomes  # damage was seen and told apart
