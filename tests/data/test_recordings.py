"""Camera recordings: files that another implementation wrote, read event for event; label tables; refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.data.canonicalise import canonicalise
from engine.data.load import load
from engine.data.readers.prophesee import decode_raw
from engine.data.readers.recordings import DECODERS
from engine.data.zip_safe import ZipLimits
from engine.errors import InvalidDataset
from engine.reference.bin_events import bin_events
from engine.specs.data import SplitRule, TimeBins, Transform
from tests.data.event_files import write_zip
from tests.data.make_recordings import FOLDER, HEIGHT, WIDTH, events

FILES = ("evt2.raw", "evt3.raw", "cd.dat", "events.aedat4", "dvs.es")
TRANSFORM = Transform(binning=TimeBins(bin_s=0.1, steps=20))


def read(path: Path, transform: Transform = TRANSFORM) -> Any:
    canonicalise(path, path.with_name("canonical"), "recordings", transform, None, ZipLimits())
    return load(path.with_name("canonical"))


@pytest.mark.parametrize("name", FILES)
def test_another_implementations_files_are_read_event_for_event(name: str) -> None:
    found, wanted = DECODERS[Path(name).suffix]((FOLDER / name).read_bytes(), name), events()
    assert found.sensor == (HEIGHT, WIDTH)
    for ours, theirs in ((found.t_us, "t"), (found.row, "y"), (found.column, "x"), (found.polarity, "on")):
        assert np.array_equal(ours, wanted[theirs])


def test_exposure_measurements_of_an_atis_are_left_out() -> None:
    found, wanted = DECODERS[".es"]((FOLDER / "atis.es").read_bytes(), "atis.es"), events()
    wanted = wanted[np.arange(len(wanted)) % 3 != 1]
    assert np.array_equal(found.t_us, wanted["t"])
    assert np.array_equal(found.column, wanted["x"])
    assert np.array_equal(found.polarity, wanted["on"])


def test_formats_of_one_recording_give_the_same_frames_from_the_first_event(tmp_path: Path) -> None:
    write_zip(tmp_path / "in.zip", {f"test/{n}/{name}": (FOLDER / name).read_bytes() for n, name in enumerate(FILES)})
    x = read(tmp_path / "in.zip").test.x
    drawn = events()
    rows = zip(*(drawn[field].astype(int).tolist() for field in ("t", "y", "x", "on")), strict=True)
    wanted = bin_events(rows, (HEIGHT, WIDTH), TRANSFORM.model_copy(update={"start": "first_event"}), 20)
    assert wanted.sum() > 100
    for frames in x:
        assert np.array_equal(frames, wanted)


def members(table: str | None, count: int = 4) -> dict[str, bytes]:
    data = (FOLDER / "cd.dat").read_bytes()
    found = {f"r{number}.dat": data for number in range(count)}
    return found if table is None else found | {"labels.csv": table.encode()}


def test_label_table(tmp_path: Path) -> None:
    table = "path,label,split\nr2.dat,walk,test\nr0.dat,run,train\nr1.dat,walk,train\nr3.dat,run,validation\n"
    write_zip(tmp_path / "in.zip", members(table))
    data = read(tmp_path / "in.zip")
    assert data.classes == ("run", "walk")
    assert [split.y.tolist() for split in (data.train, data.val, data.test)] == [[0, 1], [0], [1]]
    table = "path,label\n" + "".join(f"r{number}.dat,{number % 2}\n" for number in range(8))
    write_zip(tmp_path / "in.zip", members(table, 8))
    rule = SplitRule(test_fraction=0.5)
    assert np.bincount(read(tmp_path / "in.zip", TRANSFORM.model_copy(update={"split": rule})).test.y).tolist() == [
        2,
        2,
    ]


@pytest.mark.parametrize(
    ("table", "code", "words"),
    [
        (None, "unlabelled", "labels.csv"),
        ("name,class\n", "invalid_labels", "header path,label"),
        ("path,label\nr0.dat\n", "invalid_labels", "line 2"),
        ("path,label,split\nr0.dat,1,maybe\n", "invalid_labels", "'maybe'"),
        ("path,label\nr9.dat,1\n", "missing_recording", "line 2: expected a recording for 'r9.dat'"),
        ("path,label\nr0.dat,1\nr0.dat,1\n", "missing_recording", "it twice"),
        ("path,label\nr0.dat,1\n", "unlabelled", "'r1.dat'"),
        ("path,label\nr0.dat,\xff", "missing_split", "test samples"),
        ('path,label\n"r0.dat', "invalid_labels", "UTF-8"),
    ],
)
def test_label_tables_that_are_refused(tmp_path: Path, table: str | None, code: str, words: str) -> None:
    write_zip(tmp_path / "in.zip", members(table, 1 if code == "missing_split" else 4))
    with pytest.raises(InvalidDataset, match=words) as caught:
        read(tmp_path / "in.zip")
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("name", "change", "code", "words"),
    [
        ("evt2.raw", lambda d: d[:-3], "truncated_recording", "whole words of 4 bytes"),
        ("evt3.raw", lambda d: d[:-1], "truncated_recording", "whole words of 2 bytes"),
        ("cd.dat", lambda d: d[:-5], "truncated_recording", "whole words of 8 bytes"),
        ("events.aedat4", lambda d: d[: len(d) // 2], "truncated_recording", "a whole AEDAT 4 file"),
        ("events.aedat4", lambda d: b"x" + d, "invalid_recording", "begins with"),
        ("events.aedat4", lambda d: d.replace(b"outInfo", b"out\xffnfo", 1), "invalid_recording", "in UTF-8"),
        ("events.aedat4", lambda d: d[:300], "truncated_recording", "a header of 852 bytes, found 282 bytes"),
        ("evt2.raw", lambda d: d.replace(b"evt 2.0", b"evt 4.0"), "invalid_recording", "EVT 2.0, EVT 2.1 or EVT 3.0"),
        ("evt2.raw", lambda d: d + b"\0\0\0\x50", "invalid_recording", "words of the types"),
        ("evt3.raw", lambda d: b"no header", "invalid_recording", "begin with %"),
        ("evt3.raw", lambda d: b"%" * (1 << 17), "invalid_recording", "header lines"),
        ("cd.dat", lambda d: d.replace(b"Version 2", b"Version 1"), "invalid_recording", "version 2"),
        ("cd.dat", lambda d: d.replace(b"\x0c\x08", b"\x0e\x08", 1), "invalid_recording", "type 14"),
        ("evt2.raw", lambda d: d.replace(b"64", b"32"), "event_out_of_range", "a column from 0 to 31"),
        ("cd.dat", lambda d: d[:-8] + d[-408:-400], "events_out_of_order", "in order of time"),
    ],
)
def test_damaged_recordings(tmp_path: Path, name: str, change: Any, code: str, words: str) -> None:
    write_zip(tmp_path / "in.zip", {f"test/0/{name}": change((FOLDER / name).read_bytes())})
    with pytest.raises(InvalidDataset, match=words) as caught:
        read(tmp_path / "in.zip")
    assert caught.value.code == code
    assert name in caught.value.detail


def test_formats_without_a_reader_and_mixed_sensors(tmp_path: Path) -> None:
    write_zip(tmp_path / "in.zip", {"test/0/a.bag": b"#ROSBAG"})
    with pytest.raises(InvalidDataset, match="no reader") as caught:
        read(tmp_path / "in.zip")
    assert caught.value.code == "no_reader"
    other = (FOLDER / "evt2.raw").read_bytes().replace(b"48", b"96")
    write_zip(tmp_path / "in.zip", {"test/0/a.raw": (FOLDER / "evt2.raw").read_bytes(), "test/1/b.raw": other})
    with pytest.raises(InvalidDataset, match=r"expected the sensor \(48, 64\)") as caught:
        read(tmp_path / "in.zip")
    assert caught.value.code == "sensor_mismatch"


def test_evt3_time_wraps_and_vectors_move_their_base() -> None:
    words = [0x8FFF, 0x6FFE, 0x0005, 0x3802, 0x4005, 0x5081, 0x8000, 0x6001, 0x2007]
    data = b"% evt 3.0\n% end\n" + np.array(words, "<u2").tobytes()
    found = decode_raw(data, "a.raw")
    assert found.t_us.tolist() == [0xFFFFFE] * 4 + [(1 << 24) + 1]
    assert found.column.tolist() == [2, 4, 14, 21, 7]
    assert found.row.tolist() == [5] * 5
    assert found.polarity.tolist() == [1, 1, 1, 1, 0]
