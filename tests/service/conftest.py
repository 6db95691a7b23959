"""The service in its layouts, each started once for all tests of a worker process."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.service.harness import Embedded, Service, free_port, run_embedded, run_scale_out
from tests.service.inputs import NETWORK, PRESET, main_job, write_digits
from tests.service.watching import Result, finish
from tests.services import postgres_server
from tests.worker.harness import until

__all__ = ["postgres_server"]

EMBEDDED = "embedded"
SCALE_OUT = pytest.param("scale-out", marks=pytest.mark.postgres)
BUCKET = pytest.param("scale-out-s3", marks=[pytest.mark.postgres, pytest.mark.slow])


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """The one command on its defaults."""
    folder = tmp_path_factory.mktemp("embedded")
    with run_embedded(folder / "data") as service:
        yield service


@pytest.fixture(scope="session")
def scale_out(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """PostgreSQL, a Redis and separate processes over one blob folder."""
    database_url = request.getfixturevalue("postgres_server").new_database()
    with run_scale_out(tmp_path_factory.mktemp("scale-out") / "data", database_url) as service:
        yield service


@pytest.fixture(scope="session")
def scale_out_s3(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The same with blobs in a bucket, so that the processes share no folder."""
    server = bucket_server()
    if not server:
        pytest.skip("no S3 server: neither `moto_server` on PATH nor the package (pip install 'moto[server]')")
    folder = tmp_path_factory.mktemp("scale-out-s3")
    database_url = request.getfixturevalue("postgres_server").new_database()
    with run_bucket(server, folder) as bucket, run_scale_out(folder / "data", database_url, bucket) as service:
        yield service


@pytest.fixture(params=[EMBEDDED, SCALE_OUT, BUCKET], scope="session")
def service(request: pytest.FixtureRequest) -> Service:
    """The service in each layout."""
    found: Service = request.getfixturevalue(str(request.param).replace("-", "_"))
    return found


@pytest.fixture(scope="session")
def undisturbed(service: Service, inputs: tuple[str, str]) -> Result:
    """The main job where nothing goes wrong."""
    with service.client() as client:
        job = client.submit(main_job(*inputs))
    return finish(service, job.id)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits' first samples, as a frames file."""
    return write_digits(tmp_path_factory.mktemp("inputs") / "digits.npz")


@pytest.fixture(scope="session")
def few_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Even fewer, for jobs with the recipe's own number of epochs."""
    return write_digits(tmp_path_factory.mktemp("inputs") / "few.npz", train=40, test=30)


@pytest.fixture(scope="session")
def inputs(service: Service, digits: Path) -> tuple[str, str]:
    """Ids of the checked model and dataset."""
    with service.client() as client:
        model = client.add_model(NETWORK, dynamics=PRESET)
        dataset = client.add_dataset(digits)
        return client.wait_upload("models", model.id).id, client.wait_upload("datasets", dataset.id).id


def bucket_server() -> list[str]:
    """The command of moto's S3 server; empty where it is not installed (it is not among the locked packages)."""
    if (found := shutil.which("moto_server")) is not None:
        return [found]
    return [sys.executable, "-m", "moto.server"] if importlib.util.find_spec("moto") is not None else []


@contextmanager
def run_bucket(server: list[str], folder: Path) -> Iterator[dict[str, str]]:
    """A private S3 server with one bucket; yields the variables by which the service finds it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with (folder / "moto.log").open("wb") as log:
        process = subprocess.Popen([*server, "-p", str(port)], stdout=log, stderr=log)
    try:
        until(lambda: _answers(url), 60)
        httpx.put(f"{url}/spikebit", trust_env=False).raise_for_status()
        yield {
            "SPIKEBIT_BLOB_URL": "s3://spikebit/blobs",
            "SPIKEBIT_S3_ENDPOINT": url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }
    finally:
        process.terminate()
        process.wait(20)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, timeout=5).status_code < 500
    except httpx.TransportError:
        return False
