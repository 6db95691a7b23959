"""Every option that says how data is read: what is sent for it, and what is refused before anything is."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from api.rules.models import DatasetRequest
from engine.specs.data import Transform
from spikebit.commands.data_options import OPTIONS
from spikebit.datasets import guess_format
from tests.data.event_files import nmnist_members, samples, write_events, write_nmnist, write_shd, write_zip

Run = Callable[..., Any]
BIN = ("--bin-ms", "10")
TIME = {"kind": "time", "bin_s": 0.01}
# option → (arguments, what is sent of the transform)
SENT: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "bin_ms": (("--bin-ms", "0.5"), {"binning": {"kind": "time", "bin_s": 0.0005}}),
    "count": (("--count", "500"), {"binning": {"kind": "count", "events": 500}}),
    "bins": ((*BIN, "--bins", "34"), {"binning": TIME | {"steps": 34}}),
    "late": ((*BIN, "--late", "last_step"), {"binning": TIME | {"late": "last_step"}}),
    "polarity": ((*BIN, "--polarity", "merge"), {"binning": TIME, "polarity": "merge"}),
    "crop": (
        (*BIN, "--crop", "1,2,3x4"),
        {"binning": TIME, "crop": {"top": 1, "left": 2, "height": 3, "width": 4}},
    ),
    "downsample": ((*BIN, "--downsample", "2"), {"binning": TIME, "downsample": 2}),
    "values": ((*BIN, "--values", "binary"), {"binning": TIME, "values": "binary"}),
    "sensor": ((*BIN, "--sensor", "34x35"), {"binning": TIME, "sensor": [34, 35]}),
    "start": ((*BIN, "--start", "first_event"), {"binning": TIME, "start": "first_event"}),
    "test_fraction": ((*BIN, "--test-fraction", "0.2"), {"binning": TIME, "split": {"test_fraction": 0.2}}),
    "validation_fraction": (
        (*BIN, "--validation-fraction", "0.1"),
        {"binning": TIME, "split": {"validation_fraction": 0.1}},
    ),
    "split_seed": (
        (*BIN, "--test-fraction", "0.2", "--split-seed", "7"),
        {"binning": TIME, "split": {"test_fraction": 0.2, "seed": 7}},
    ),
}


def test_every_option_is_here() -> None:
    assert set(SENT) | {"format", "labels"} == set(OPTIONS)


@pytest.mark.parametrize("name", sorted(SENT))
def test_what_an_option_sends(name: str, run: Run, service: Any, tmp_path: Path) -> None:
    arguments, wanted = SENT[name]
    write_events(tmp_path / "in.npz")
    result = run("datasets", "add", str(tmp_path / "in.npz"), *arguments, "--json")
    assert result.exit_code == 0, result.output
    body = service.bodies["datasets"]
    assert (body["format"], body["transform"]) == ("events", wanted)
    # taken by the API as it is sent, and no option is another's default
    assert DatasetRequest.model_validate(body).transform != Transform.model_validate({"binning": TIME})


@pytest.mark.parametrize("command", ["quantize", "evaluate", "sensitivity"])
def test_commands_that_run_take_the_options_too(
    command: str, run: Run, service: Any, files: Any, tmp_path: Path
) -> None:
    write_events(tmp_path / "in.npz")
    result = run(command, files[0], str(tmp_path / "in.npz"), "--dynamics", "nir-paper", *SENT["crop"][0], "--json")
    assert service.bodies["datasets"]["transform"] == SENT["crop"][1], result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--bin-ms", "1", "--count", "3"), "--bin-ms or --count, found both"),
        (("--bins", "3"), "beside --bins and --late, found neither"),
        (("--late", "drop"), "beside --bins and --late, found neither"),
        ((*BIN, "--crop", "1,2,3"), "--crop: expected TOP,LEFT,HEIGHTxWIDTH, found '1,2,3'"),
        ((*BIN, "--crop", "-1,2,3x4"), "--crop: expected TOP,LEFT,HEIGHTxWIDTH"),
        ((*BIN, "--sensor", "34"), "--sensor: expected ROWSxCOLUMNS, found '34'"),
        (("--labels", "none.csv"), "--labels: expected a table for a folder of recordings"),
        (("--count", "0"), "--count"),
        (("--downsample", "x"), "--downsample"),
    ],
)
def test_what_is_refused_before_anything_is_sent(
    arguments: tuple[str, ...], words: str, run: Run, service: Any, tmp_path: Path
) -> None:
    write_events(tmp_path / "in.npz")
    result = run("datasets", "add", str(tmp_path / "in.npz"), *arguments)
    assert result.exit_code == 2
    assert words in " ".join(result.output.replace("│", " ").split())
    assert not service.bodies


def test_formats_are_guessed_by_name_and_contents(tmp_path: Path) -> None:
    write_events(tmp_path / "events.npz")
    write_nmnist(tmp_path / "digits.zip")
    write_shd(tmp_path / "spikes.h5", samples()["train"])
    write_zip(tmp_path / "shd.zip", {"train.h5": b"", "test.h5": b""})
    write_zip(tmp_path / "cam.zip", {"a/x.es": b"", "labels.csv": b""})
    write_zip(tmp_path / "bins.zip", {"a/x.bin": b"", "labels.csv": b""})
    (tmp_path / "frames.npz").write_bytes(b"not even a zip")
    found = {path.stem: guess_format(path) for path in tmp_path.iterdir()}
    assert found == {
        "events": "events",
        "digits": "nmnist",
        "spikes": "shd",
        "shd": "shd",
        "cam": "recordings",
        "bins": "recordings",
        "frames": "frames",
    }


def test_a_named_format_goes_before_the_guess(run: Run, service: Any, tmp_path: Path) -> None:
    write_nmnist(tmp_path / "digits.zip")
    run("datasets", "add", str(tmp_path / "digits.zip"), "--format", "recordings", *BIN, "--json")
    assert service.bodies["datasets"]["format"] == "recordings"


def test_a_folder_and_its_table_are_packed_alike_each_time(tmp_path: Path) -> None:
    from spikebit.datasets import DataOptions, one_file

    for name, data in nmnist_members().items():
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(data)
    table = tmp_path / "set" / "mine.csv"
    table.write_text("path,label\n")
    packed = []
    for _ in range(2):
        with one_file(tmp_path / "set", DataOptions(labels=table)) as (path, name):
            packed.append(path.read_bytes())
            names = zipfile.ZipFile(path).namelist()
            assert name == "recordings"
    assert packed[0] == packed[1]
    assert sorted(names) == sorted([*nmnist_members(), "labels.csv"])  # the table under the name that is looked for
