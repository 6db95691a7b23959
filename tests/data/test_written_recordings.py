"""Every camera format: what an encoder wrote event by event comes back; lies and cuts are refused by name."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.data.readers.aedat3 import decode_aedat3
from engine.data.readers.event_stream import decode_es
from engine.data.readers.prophesee import decode_raw
from engine.data.readers.recording import Recording
from engine.data.readers.recordings import DECODERS
from engine.errors import InvalidDataset
from tests.data.event_files import SENSOR, bin_bytes, random_events, write_zip
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
from tests.data.test_recordings import read

WRITERS: dict[str, tuple[Callable[[Any], bytes], str]] = {
    "es": (es_bytes, ".es"),
    "es of an ATIS": (atis_bytes, ".es"),
    "AEDAT 3.1": (aedat3_bytes, ".aedat"),
    "EVT 2.0": (evt2_bytes, ".raw"),
    "EVT 2.1": (evt21_bytes, ".raw"),
    "EVT 2.1 legacy": (lambda events: evt21_bytes(events, legacy=True), ".raw"),
    "EVT 3.0": (evt3_bytes, ".raw"),
    "DAT": (dat_bytes, ".dat"),
}


def columns(found: Recording) -> list[list[int]]:
    return [part.tolist() for part in (found.t_us, found.row, found.column, found.polarity)]


@pytest.mark.parametrize("name", sorted(WRITERS))
@pytest.mark.parametrize("count", [0, 1, 2, 700])
def test_what_was_written_comes_back(name: str, count: int) -> None:
    """Pauses from none to a hundred times what a byte of time holds, and coordinates with bytes of all ones."""
    writer, suffix = WRITERS[name]
    draw = np.random.default_rng(count)
    events = random_events(draw, count, (400, 2047), 10_000 * max(1, count))
    events[: count // 2, 0] //= 5000
    found = DECODERS[suffix](writer(events), "x")
    assert columns(found) == events.T.tolist()


def test_event_stream_header_and_boundaries() -> None:
    assert decode_es(es_bytes([], (3, 0xFFFF)), "x").sensor == (3, 0xFFFF)
    for wait in (126, 127, 128, 254, 255):  # around one and two overflows
        assert decode_es(es_bytes([(wait, 0, 0, 1), (2 * wait, 0xFFFF, 0xFEFF, 0)]), "x").t_us.tolist() == [
            wait,
            2 * wait,
        ]
    resets = b"\xfe" * 5
    data = es_bytes([(5, 1, 2, 1)])
    assert columns(decode_es(data[:20] + resets + data[20:] + resets, "x")) == [[5], [1], [2], [1]]


def test_evt21_words_hold_32_columns_and_their_order_is_the_headers() -> None:
    head = b"% format EVT21;height=6;width=64\n% end\n"
    words = np.array([8 << 60, 1 << 60 | 5 << 54 | 20 << 43 | 3 << 32 | 0x40000005], "<u8")
    found = decode_raw(head + words.tobytes(), "x")
    assert columns(found) == [[5] * 3, [3] * 3, [20, 22, 50], [1] * 3]
    swapped = words.view("<u4").reshape(-1, 2)[:, ::-1].tobytes()
    legacy = head.replace(b"=64", b"=64;endianness=legacy") + swapped
    assert columns(decode_raw(legacy, "x")) == columns(found)
    with pytest.raises(InvalidDataset, match="words of the types 0, 1, 8"):
        decode_raw(head + swapped, "x")


def test_aedat3_time_goes_on_behind_31_bits_and_cameras_have_their_sensor() -> None:
    assert decode_aedat3(aedat3_bytes([(7, 1, 2, 1)], overflow=3), "x").t_us.tolist() == [3 * 2**31 + 7]
    assert decode_aedat3(aedat3_bytes([], "DAVIS240C"), "x").sensor == (180, 240)
    assert decode_aedat3(aedat3_bytes([], "Unheard"), "x").sensor is None


GOOD = random_events(np.random.default_rng(3), 40)
TWO_SENSORS = "expected a sensor of 1 to 4096 rows and columns, found"

# suffix → name → (bytes, code, words of the message)
BAD: dict[str, dict[str, tuple[bytes, str, str]]] = {
    ".es": {
        "cut in the header": (es_bytes(GOOD)[:18], "truncated_recording", "a header of 20 bytes, found 18 bytes"),
        "cut in an event": (es_bytes(GOOD)[:-2], "truncated_recording", "whole events of 5 bytes, found 3 bytes"),
        "another file": (b"PNG" + es_bytes(GOOD), "invalid_recording", "begins with b'Event Stream'"),
        "version 3": (es_bytes(GOOD, version=3), "invalid_recording", "version 2 of Event Stream, found version 3.0.0"),
        "colour": (es_bytes(GOOD)[:15] + b"\4" + es_bytes(GOOD)[16:], "invalid_recording", "found type 4"),
        "no columns": (es_bytes(GOOD, (6, 0)), "invalid_sensor", f"{TWO_SENSORS} 6 rows, 0 columns"),
        "65,535 columns": (es_bytes(GOOD, (6, 0xFFFF)), "invalid_sensor", f"{TWO_SENSORS} 6 rows, 65535 columns"),
        "row beyond the sensor": (es_bytes([(1, 6, 0, 1)]), "event_out_of_range", "a row from 0 to 5, found 6"),
        "only pauses": (es_bytes([]) + b"\xff" * 99, "no_events", "none in any sample"),
    },
    ".aedat": {
        "cut in a header": (aedat3_bytes(GOOD, together=40)[:-350], "truncated_recording", "of 28 bytes"),
        "cut in an event": (aedat3_bytes(GOOD)[:-3], "truncated_recording", "in packet 14"),
        "AEDAT 2": (
            aedat3_bytes(GOOD, version="2.0"),
            "invalid_recording",
            "to AEDAT 4), found version '2.0'",
        ),
        "another file": (b"hello", "invalid_recording", "begins with"),
        "header without an end": (b"#!AER-DAT3.1\r\n#x\r\n", "invalid_recording", "'#!END-HEADER'"),
        "negative number": (aedat3_bytes([]) + b"\1\0\1\0" + b"\xff" * 24, "invalid_recording", "possible header"),
        "events of 0 bytes": (aedat3_bytes([]) + b"\1\0\1\0" + bytes(24), "invalid_recording", "events of 0 bytes"),
        "2^31 events": (
            aedat3_bytes([]) + struct.pack("<hhiiiiii", 1, 0, 8, 4, 0, *[2**31 - 1] * 3),
            "truncated_recording",
            "2147483647 events of 8 bytes in packet 1, found 0 bytes",
        ),
        "column beyond the sensor": (aedat3_bytes([(0, 5, 128, 1)]), "event_out_of_range", "from 0 to 127, found 128"),
        "time runs back": (aedat3_bytes([(9, 1, 1, 1), (4, 1, 1, 1)]), "events_out_of_order", "at least 9 µs"),
    },
    ".raw": {
        "EVT 2.1 cut": (evt21_bytes(GOOD)[:-4], "truncated_recording", "whole words of 8 bytes"),
        "EVT 2.1 legacy cut": (evt21_bytes(GOOD, True)[:-1], "truncated_recording", "whole words of 8 bytes"),
        "EVT 2.1 not said to be legacy": (
            evt21_bytes([(1, 1, 31, 1)] * 32, True, "evt 2.1"),
            "invalid_recording",
            "words of the types",
        ),
        "EVT 2.0 cut": (evt2_bytes(GOOD)[:-1], "truncated_recording", "whole words of 4 bytes"),
        "EVT 3.0 cut": (evt3_bytes(GOOD)[:-1], "truncated_recording", "whole words of 2 bytes"),
        "EVT 3.0 column beyond the sensor": (evt3_bytes([(0, 1, 5, 1)]), "event_out_of_range", "from 0 to 4, found 5"),
        "EVT 2.0 time runs back": (evt2_bytes([(9, 1, 1, 1), (4, 1, 1, 1)]), "events_out_of_order", "at least 9 µs"),
        "EVT 21.5": (evt2_bytes(GOOD).replace(b"2.0", b"21.5"), "invalid_recording", "found version 21.5"),
        "EVT 3.0 of no size": (evt3_bytes(GOOD).replace(b"5x6", b"0x0"), "invalid_sensor", TWO_SENSORS),
        "EVT 2.0 of 99,999 columns": (evt2_bytes(GOOD).replace(b"5x6", b"99999x6"), "invalid_sensor", TWO_SENSORS),
    },
    ".dat": {
        "cut": (dat_bytes(GOOD)[:-3], "truncated_recording", "whole words of 8 bytes"),
        "time runs back": (dat_bytes([(9, 1, 1, 1), (4, 1, 1, 1)]), "events_out_of_order", "at least 9 µs"),
        "no size": (dat_bytes(GOOD).replace(b"Width 5", b"Width 0"), "invalid_sensor", TWO_SENSORS),
        "row beyond the sensor": (dat_bytes([(0, 6, 0, 1)]), "event_out_of_range", "a row from 0 to 5, found 6"),
    },
    ".aedat4": {
        "cut": ((FOLDER / "events.aedat4").read_bytes()[:3000], "truncated_recording", "a whole AEDAT 4 file"),
    },
    ".bin": {
        "cut": (bin_bytes(GOOD)[:-2], "truncated_recording", "whole events of 5 bytes, found 198 bytes"),
    },
}
CASES = [(suffix, name, case) for suffix, cases in BAD.items() for name, case in cases.items()]


def test_every_format_is_cut() -> None:
    cut = {suffix for suffix, cases in BAD.items() if any("truncated_recording" in case for case in cases.values())}
    assert cut == set(DECODERS)


@pytest.mark.parametrize(("suffix", "name", "case"), CASES, ids=lambda value: value if isinstance(value, str) else "")
def test_lies_and_cuts_are_refused(suffix: str, name: str, case: tuple[bytes, str, str], tmp_path: Path) -> None:
    data, code, words = case
    write_zip(tmp_path / "in.zip", {f"test/0/a{suffix}": data})
    with pytest.raises(InvalidDataset) as caught:
        read(tmp_path / "in.zip")
    assert (caught.value.code, words in caught.value.detail) == (code, True), caught.value.detail
    assert code in ("no_events", "invalid_sensor") or f"a{suffix}" in caught.value.detail


def test_all_formats_of_one_recording_give_the_same_frames(tmp_path: Path) -> None:
    members = {}
    for number, name in enumerate(sorted(WRITERS)):
        writer, suffix = WRITERS[name]
        source = {"AEDAT 3.1": b"DVS128", "": b""}.get(name, b"")
        data = writer(GOOD)
        members[f"test/{number}/a{suffix}"] = data.replace(source, b"Unheard") if source else data
    write_zip(tmp_path / "in.zip", {name: data for name, data in members.items() if "aedat" not in name})
    x = read(tmp_path / "in.zip").test.x
    assert x.shape[3:] == SENSOR
    assert x[0].sum() == len(GOOD)
    assert all(np.array_equal(frames, x[0]) for frames in x)
    write_zip(tmp_path / "in.zip", {name: data for name, data in members.items() if "aedat" in name})
    alone = read(tmp_path / "in.zip").test.x[0]
    assert np.array_equal(alone, x[0][:, :, : alone.shape[2], : alone.shape[3]])
