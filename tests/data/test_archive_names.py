"""Names in archives of recordings: any script; what operating systems add is left out; the rest is named."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from engine.data.readers.nmnist import open_nmnist
from engine.data.readers.shd import open_shd
from engine.data.zip_safe import ZipLimits, path_problem
from engine.errors import InvalidDataset
from spikebit.datasets import guess_format, pack
from tests.data.event_files import shd_bytes, write_zip

EVENT = bytes([3, 4, 0x80, 0, 7])
TEST = {"Test/0/b.bin": EVENT}


def names_of(path: Path) -> list[str]:
    with open_nmnist(path, ZipLimits()) as source:
        return [source.name_of(sample) for sample in range(len(source.labels))]


@pytest.mark.parametrize("name", ["Train/0/é (1)+a.bin", "数字/Train/0/a.bin", "Train/0/a,b & c#~.bin"])
def test_names_in_any_script_are_taken(tmp_path: Path, name: str) -> None:
    write_zip(tmp_path / "a.zip", TEST | {name: EVENT})
    assert f"recording {name!r}" in names_of(tmp_path / "a.zip")


def test_what_operating_systems_add_is_left_out(tmp_path: Path) -> None:
    added = {"__MACOSX/Train/0/._a.bin": b"x", "Train/.DS_Store": b"x", ".git/config": b"x", "Train/0/": b""}
    write_zip(tmp_path / "a.zip", TEST | {"Train/0/a.bin": EVENT} | added)
    assert len(names_of(tmp_path / "a.zip")) == 2
    part = shd_bytes([np.array([[5, 0, 1, 0]])])
    write_zip(tmp_path / "shd.zip", {"train.h5": part, "test.h5": part, "__MACOSX/._test.h5": b"x"})
    with open_shd(tmp_path / "shd.zip", ZipLimits()) as source:
        assert len(source.labels) == 2


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../a.bin", "found a part '..'"),
        ("/a.bin", "found a leading '/'"),
        ("C:/a.bin", "the character ':' of a drive"),
        ("a\\b.bin", "(U+005C)"),
        ("a\x1b.bin", "(U+001B)"),
        ("a\u202ecod.bin", "(U+202E)"),
        ("a//b.bin", "found a part ''"),
        ("/".join("abcdefghi"), "found 9 parts"),
    ],
)
def test_other_names_are_refused_with_the_character(tmp_path: Path, name: str, words: str) -> None:
    assert path_problem(name) is not None
    write_zip(tmp_path / "a.zip", TEST | {name: EVENT})
    with pytest.raises(InvalidDataset) as found:
        names_of(tmp_path / "a.zip")
    assert found.value.code == "not_zip"
    assert words in found.value.detail


def test_bytes_that_are_no_utf8(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip", TEST | {"Train/0/e.bin": EVENT})
    raw = (tmp_path / "a.zip").read_bytes().replace(b"Train/0/e.bin", b"Train/0/\xe9.bin")
    (tmp_path / "a.zip").write_bytes(raw)
    with pytest.raises(InvalidDataset, match="expected UTF-8, found the byte 0xE9"):
        names_of(tmp_path / "a.zip")


def test_the_client_packs_what_a_user_put_there(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for name in ("Train/0/é.bin", "Test/0/b.bin", ".DS_Store", "Train/._x.bin", "__MACOSX/Train/a.bin"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(EVENT)
    packed = pack(folder, tmp_path / "a.zip", None)
    assert zipfile.ZipFile(packed).namelist() == ["Test/0/b.bin", "Train/0/é.bin"]
    assert len(names_of(packed)) == 2
    write_zip(tmp_path / "b.zip", {"Train/0/a.bin": EVENT, "README.md": b"x", "Train/.DS_Store": b"x"})
    assert guess_format(tmp_path / "b.zip") == "nmnist"
    with pytest.raises(InvalidDataset, match=r"member 'README.md': expected a recording .* leave it out"):
        names_of(tmp_path / "b.zip")
