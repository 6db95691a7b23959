"""Every command of docs/operations.md, in its order, against a running service."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from api.metrics import Metrics
from spikebit.endpoint import Endpoint
from tests.conftest import ROOT
from tests.service.harness import Embedded, run_embedded
from tests.service.inputs import NETWORK, PRESET, long_job, write_digits
from tests.service.watching import PATIENCE_S
from tests.worker.harness import until

pytestmark = pytest.mark.service
PAGE = (ROOT / "docs" / "operations.md").read_text()
COMMANDS = [line.removeprefix("$ ") for line in PAGE.splitlines() if line.startswith("$ ")]


def test_the_page_names_metrics_that_there_are() -> None:
    source = Path(str(Metrics.__module__.replace(".", "/") + ".py"))
    known = (ROOT / source).read_text()
    for name in re.findall(r"`(spikebit_[a-z_]+?)(?:_total)?[`{]", PAGE):
        assert f'"{name}"' in known, name


def test_every_command_does_what_it_says(tmp_path: Path) -> None:
    assert len(COMMANDS) >= 12
    with run_embedded(tmp_path / "data") as service:
        names = {"BACKUP": str(tmp_path / "backup"), "NEW_FOLDER": str(tmp_path / "restored")}
        with service.client() as client:
            model = client.add_model(NETWORK, dynamics=PRESET)
            dataset = client.add_dataset(write_digits(tmp_path / "digits.npz"))
            ids = client.wait_upload("models", model.id).id, client.wait_upload("datasets", dataset.id).id
            names["JOB_ID"] = client.submit(long_job(*ids)).id
        until(lambda: _status(service, names["JOB_ID"]) == "running", PATIENCE_S)
        for command in COMMANDS:
            output = _run(service, command, names)
            if "keys add" in command:
                assert output.startswith("spk_")
                listed = json.loads(_run(service, "spikebit admin keys list --json", names))["items"]
                names["KEY_ID"] = next(key["id"] for key in listed if key["name"] == "ci")
            elif "admin resume" in command:
                until(lambda: _status(service, names["JOB_ID"]) == "running", PATIENCE_S)
        until(lambda: _status(service, names["JOB_ID"]) == "cancelled", PATIENCE_S)
    with run_embedded(tmp_path / "restored") as restored, restored.client() as client:
        assert Endpoint(restored.url, restored.key, "").key == (tmp_path / "data" / "key").read_text().strip()
        until(lambda: _status(restored, names["JOB_ID"]) == "cancelled", PATIENCE_S)
        assert client.show("models", ids[0])["status"] == "ready"


def _run(service: Embedded, command: str, names: dict[str, str]) -> str:
    words = [names.get(word, word) for word in shlex.split(command)]
    assert words[0] == "spikebit", command
    done = service.spikebit(*words[1:])
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def _status(service: Embedded, job: str) -> str:
    with service.client() as client:
        return str(client.show("jobs", job)["status"])
