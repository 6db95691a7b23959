"""docs/data.md: its commands are parsed as the command does, its request by the API, and files like theirs are read."""

from __future__ import annotations

import json
import re
import shlex
import typing
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import typer.main

from api.rules.models import DatasetRequest
from engine.data.canonicalise import canonicalise
from engine.data.load import load
from engine.data.zip_safe import ZipLimits
from engine.specs.data import CountBins, Crop, Format, SplitRule, TimeBins, Transform
from spikebit.cli import app
from spikebit.commands.data_options import OPTIONS
from spikebit.datasets import DataOptions, one_file
from tests.data.event_files import random_events, samples, shd_bytes, write_events, write_zip
from tests.data.recording_bytes import es_bytes

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "data.md").read_text()
COMMANDS = [line[2:].split(" #")[0] for line in PAGE.splitlines() if line.startswith("$ spikebit ")]
BLOCKS = dict(re.findall(r"```(json|csv)\n(.*?)```", PAGE, re.S))


def make_files(folder: Path) -> None:
    """What the page's commands name: events.npz, shd/, gestures/ with labels.csv."""
    write_events(folder / "events.npz")
    for name, parts in samples().items():
        (folder / "shd").mkdir(exist_ok=True)
        (folder / "shd" / f"shd_{name}.h5").write_bytes(shd_bytes(parts))
    rows = ["path,label"]
    for number in range(10):
        path = folder / "gestures" / f"{number}.es"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(es_bytes(random_events(np.random.default_rng(number), 30)))
        rows.append(f"{number}.es,{'wave' if number % 2 else 'clap'}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")


def parse(line: str) -> tuple[Path, DataOptions]:
    """The data and its options as the command's own parser reads them."""
    words = shlex.split(line)[1:]
    command: Any = typer.main.get_command(app)
    context = click.Context(command)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
        context = click.Context(command, parent=context)
    command.parse_args(context, words)
    given = context.params
    return Path(given["data"]), DataOptions(**{name: given[name] for name in OPTIONS})


@pytest.mark.parametrize("line", COMMANDS)
def test_commands(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    data, options = parse(line)
    with one_file(data, options) as (path, name):
        body = {"blob": "sha256:" + "0" * 64, "format": name, "transform": options.transform}
        request = DatasetRequest.model_validate(body)
        canonicalise(path, tmp_path / "canonical", name, request.transform, None, ZipLimits())
    found = load(tmp_path / "canonical")
    assert found.train is not None
    assert found.origin is not None
    assert found.origin.format == {"events.npz": "events", "shd": "shd", "gestures": "recordings"}[str(data)]
    assert found.steps == {"events.npz": 34, "shd": 100, "gestures": 1}[str(data)]


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 4


def test_the_request(tmp_path: Path) -> None:
    body = json.loads(BLOCKS["json"])
    assert body.pop("blob") == "sha256:…"
    request = DatasetRequest.model_validate(body | {"blob": "sha256:" + "0" * 64})
    write_events(tmp_path / "in")
    summary = canonicalise(tmp_path / "in", tmp_path / "out", request.format, request.transform, None, ZipLimits())
    assert (summary["steps"], summary["sample_shape"]) == (34, [2, 6, 5])


def test_the_label_table(tmp_path: Path) -> None:
    table = BLOCKS["csv"].replace(".aedat4", ".es")  # the same rows, for files that a test can write
    data = es_bytes([(1, 2, 3, 1)])
    write_zip(tmp_path / "in", {"user01/a.es": data, "user02/b.es": data, "labels.csv": table.encode()})
    transform = Transform(binning=TimeBins(bin_s=1e-3))
    canonicalise(tmp_path / "in", tmp_path / "out", "recordings", transform, None, ZipLimits())
    found = load(tmp_path / "out")
    assert found.train is not None
    assert (found.classes, len(found.train), len(found.test)) == (("wave",), 1, 1)


def test_every_format_and_field_is_on_the_page() -> None:
    for name in typing.get_args(Format):
        assert f"| `{name}` |" in PAGE, name
    for field in Transform.model_fields:
        assert f"| `{field}` |" in PAGE, field
    for spec in (TimeBins, CountBins, Crop, SplitRule):
        for field in set(spec.model_fields) - {"kind"}:
            assert re.search(rf"\b{field}\b", PAGE), field
