"""Every bad input of the issue's list, over HTTP to the real service: its code, a message that says what was expected
and what was found, and nothing kept."""

from __future__ import annotations

import hashlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from spikebit.client import Client
from tests.hostile.corpus import DATASETS, MODELS, npz
from tests.service.harness import MAX_JSON_BYTES, MAX_UPLOAD_BYTES, Embedded
from tests.service.inputs import NETWORK, PRESET, main_job
from tests.worker.harness import until

pytestmark = pytest.mark.service
Words = tuple[str, ...]
Http = httpx.Client

# Name in the corpus → words of the message: what was expected, what was found.
BAD_MODELS: dict[str, Words] = {
    "text": ("expected an HDF5 file", "found the bytes b'hello"),
    "hdf5 without a graph": ("'node'",),
    "unknown node": ("known: Affine", "'Izhikevich'"),
    "dangling edge": ("known: fc, input", "'ghost'"),
    "inner dangling edge": ("known: ", "subgraph 'lif'"),
    "shape conflict": ("expected shape (5,)", "found (2,)"),
    "not a number": ("expected finite numbers", "found nan at (1, 2)"),
    "infinite": ("expected finite numbers", "found inf at (1, 2)"),
    "external link": ("expected the data itself", "link into another file"),
    "external storage": ("expected it inside", "data in another file"),
    "virtual dataset": ("expected the data itself", "view of other files"),
    "declares 4 PiB": ("expected at most", "declare 4503599627370552 bytes"),
    "compressed zeros": ("expected at most", "declare 134217784 bytes"),
}
BAD_DATASETS: dict[str, Words] = {
    "text": ("expected a zip archive", "begin with b'a,b,c"),
    "object array": ("expected numbers", "Python objects"),
    "missing array": ("expected the array 'x_test'", "found x_train, y_train"),
    "unlabelled": ("expected labels 'y_test'", "found x_test, x_train, y_train"),
    "regression": ("expected whole-number labels", "found float64"),
    "labels below 0": ("expected labels from 0", "found -1"),
    "labels above classes": ("expected labels from 0 to 0", "found 1"),
    "splits differ": ("expected samples of shape (4, 3)", "found (4, 5)"),
    "declares 4 TiB": ("expected at most 16777216", "declare 4398046511232 bytes"),
    "zip declares 4 GiB": ("expected at most 16777216", "declare 17179869176 bytes"),
    "inflates beyond": ("224 bytes that it declares", "inflates to more"),
}
WIDE = {"x_train": (8, 4, 64), "x_test": (4, 4, 64)}


@pytest.fixture
def http(embedded: Embedded) -> Iterator[Http]:
    with embedded.http() as http:
        yield http


@pytest.fixture
def client(embedded: Embedded) -> Iterator[Client]:
    with embedded.client() as client:
        yield client


@pytest.fixture
def unchanged(embedded: Embedded) -> Iterator[None]:
    """The store holds afterwards what it held before."""
    before = embedded.stored()
    yield
    until(lambda: embedded.stored() == before, 5)


@pytest.fixture(scope="module")
def ready(embedded: Embedded, digits: Path) -> tuple[str, str]:
    """A good model and a good dataset."""
    with embedded.client() as client:
        model, dataset = client.add_model(NETWORK, dynamics=PRESET), client.add_dataset(digits)
        return client.wait_upload("models", model.id).id, client.wait_upload("datasets", dataset.id).id


def put(http: Http, data: bytes) -> str:
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    assert http.put(f"/v1/blobs/{digest}", content=data).status_code in (200, 201)
    return digest


def refused(answer: httpx.Response, status: int, code: str, *words: str) -> dict[str, Any]:
    document: dict[str, Any] = answer.json()
    assert (answer.status_code, document["code"]) == (status, code), document
    assert answer.headers["content-type"] == "application/problem+json"
    assert [word for word in words if word not in document["detail"]] == [], document["detail"]
    return document


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("kind", "name"), [("models", name) for name in BAD_MODELS] + [("datasets", name) for name in BAD_DATASETS]
)
def test_a_bad_file_is_rejected_and_dropped(http: Http, kind: str, name: str, tmp_path: Path) -> None:
    build, code, _ = (MODELS if kind == "models" else DATASETS)[name]
    build(tmp_path / "upload")
    body: dict[str, Any] = {"blob": put(http, (tmp_path / "upload").read_bytes())}
    if kind == "models":
        body["dynamics"] = {"preset": PRESET}
    made = http.post(f"/v1/{kind}", json=body)
    assert made.status_code == 202
    record = until(lambda: _settled(http.get(made.headers["location"], headers={"Prefer": "wait=20"})), 40)
    words = (BAD_MODELS if kind == "models" else BAD_DATASETS)[name]
    assert (record["status"], record["problem"]["code"]) == ("rejected", code)
    assert [word for word in words if word not in record["problem"]["detail"]] == [], record["problem"]["detail"]
    assert record["summary"] is None
    until(lambda: http.head(f"/v1/blobs/{body['blob']}").status_code == 404, 5)


def _settled(answer: httpx.Response) -> dict[str, Any] | None:
    record: dict[str, Any] = answer.json()
    return None if record["status"] == "checking" else record


def test_a_job_on_a_rejected_model(http: Http, client: Client, ready: tuple[str, str], tmp_path: Path) -> None:
    MODELS["infinite"][0](tmp_path / "bad.nir")
    model = client.add_model(tmp_path / "bad.nir", dynamics=PRESET)
    until(lambda: client.show("models", model.id, wait_s=10)["status"] == "rejected", 30)
    refused(http.post("/v1/jobs", json=main_job(model.id, ready[1])), 409, "model_rejected")


def test_an_unknown_preset(http: Http) -> None:
    blob = put(http, NETWORK.read_bytes())
    before = http.get("/v1/models").json()
    answer = http.post("/v1/models", json={"blob": blob, "dynamics": {"preset": "nengo"}})
    document = refused(answer, 422, "unknown_preset", "'nengo'", "nir-paper")
    assert document["pointer"] == "/dynamics/preset"
    assert http.get("/v1/models").json() == before


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("changes", "pointer", "words"),
    [
        ({"gates": {"max_mean_weight_bits": 1.5}}, "/gates/max_mean_weight_bits", ("1.5", "narrowest width is 2")),
        ({"mean_weight_bits": 1.0}, "/mean_weight_bits", ("1.0", "narrowest width is 2")),
        (
            {"recipe": "evaluate", "options": {}, "mean_weight_bits": None, "gates": {"max_program_bytes": 9}},
            "/gates/max_program_bytes",
            ("max_program_bytes", "no step produces"),
        ),
    ],
)
def test_contradictory_gates(
    http: Http, ready: tuple[str, str], changes: dict[str, Any], pointer: str, words: Words
) -> None:
    before = http.get("/v1/jobs").json()
    for query in ("", "?dry_run=true"):
        answer = http.post("/v1/jobs" + query, json=main_job(*ready, **changes))
        assert refused(answer, 422, "contradictory_gates", *words)["pointer"] == pointer
    assert http.get("/v1/jobs").json() == before


@pytest.mark.parametrize(
    ("arrays", "code", "words"),
    [
        ({}, "sample_shape_mismatch", ("shape 64", "have 3")),
        (WIDE, "labels_out_of_range", ("0 to 9", "largest is 12")),
        (WIDE | {"x_train": None, "y_train": None}, "only_test_split", ("test split alone", "finetune")),
        (WIDE | {"y_train": None}, "unlabelled", ("finetune need labels", "ptq takes it")),
    ],
)
def test_data_that_does_not_fit_the_model(
    http: Http, client: Client, ready: tuple[str, str], tmp_path: Path, arrays: Any, code: str, words: Words
) -> None:
    made = {name: None if shape is None else np.zeros(shape, np.uint8) for name, shape in arrays.items()}
    if code == "labels_out_of_range":
        made["y_test"] = np.full(4, 12)
    npz(**made)(tmp_path / "data.npz")
    dataset = client.wait_upload("datasets", client.add_dataset(tmp_path / "data.npz").id)
    before = http.get("/v1/jobs").json()
    refused(http.post("/v1/jobs", json=main_job(ready[0], dataset.id)), 422, code, *words)
    assert http.get("/v1/jobs").json() == before


@pytest.mark.usefixtures("unchanged")
def test_a_missed_expectation_fails_the_job(client: Client, http: Http, ready: tuple[str, str]) -> None:
    job = client.submit(main_job(*ready, expect=0.9999))
    job = client.wait_job(job.id)
    assert job.problem is not None
    assert (job.status, job.problem["code"]) == ("failed", "expectation_missed")
    assert "0.9999" in job.problem["detail"]
    assert "119 of 120" in job.problem["detail"]
    assert client.artifacts(job.id) == ()
    refused(http.get(f"/v1/jobs/{job.id}/report"), 404, "not_found")
    assert [attempt["outcome"] for attempt in job.raw["attempts"]] == ["failed"]  # deterministic: not tried again


@pytest.mark.usefixtures("unchanged")
class TestBodies:
    def test_a_blob_over_the_limit(self, http: Http) -> None:
        data = bytes(MAX_UPLOAD_BYTES + 1)
        url = "/v1/blobs/sha256:" + hashlib.sha256(data).hexdigest()
        refused(http.put(url, content=data), 413, "body_too_large", str(MAX_UPLOAD_BYTES), str(len(data)))

    def test_a_blob_over_the_limit_that_promises_nothing(self, http: Http) -> None:
        data = bytes(3 * MAX_UPLOAD_BYTES)
        pieces = (data[at : at + 65536] for at in range(0, len(data), 65536))
        url = "/v1/blobs/sha256:" + hashlib.sha256(data).hexdigest()
        refused(http.put(url, content=pieces), 413, "body_too_large", str(MAX_UPLOAD_BYTES))

    def test_json_over_the_limit(self, http: Http, ready: tuple[str, str]) -> None:
        body = main_job(*ready, label="x" * MAX_JSON_BYTES)
        refused(http.post("/v1/jobs", json=body), 413, "body_too_large", str(MAX_JSON_BYTES))

    def test_fewer_bytes_than_promised(self, embedded: Embedded) -> None:
        host, port = embedded.url.removeprefix("http://").split(":")
        head = f"PUT /v1/blobs/sha256:{'0' * 64} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
        with socket.create_connection((host, int(port)), timeout=20) as client:
            client.sendall(f"{head}Authorization: Bearer {embedded.key}\r\n\r\nabc".encode())
            client.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: client.recv(4096), b""))
        assert answer.startswith(b"HTTP/1.1 400")
        assert b'"code": "body_too_short"' in answer
        assert re.search(rb'"detail": "[^"]*\b1000\b[^"]*"', answer), answer
        assert re.search(rb'"detail": "[^"]*\b3\b[^"]*"', answer), answer

    def test_a_connection_that_breaks(self, embedded: Embedded) -> None:
        host, port = embedded.url.removeprefix("http://").split(":")
        head = f"PUT /v1/blobs/sha256:{'0' * 64} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
        with socket.create_connection((host, int(port)), timeout=20) as client:
            client.sendall(f"{head}Authorization: Bearer {embedded.key}\r\n\r\nabc".encode())

    def test_another_digest(self, http: Http) -> None:
        found = hashlib.sha256(b"other").hexdigest()
        refused(http.put(f"/v1/blobs/sha256:{'0' * 64}", content=b"other"), 422, "digest_mismatch", found, "0" * 64)


def test_every_message_of_the_list_is_tested() -> None:
    """The issue's list, word by word; a case that is renamed must not vanish from it."""
    codes = {MODELS[name][1] for name in BAD_MODELS} | {DATASETS[name][1] for name in BAD_DATASETS}
    assert codes >= {
        *("not_nir", "unknown_node", "dangling_edge", "shape_conflict", "non_finite_weights", "hdf5_external_link"),
        *("hdf5_external_storage", "hdf5_virtual_dataset", "not_npz", "object_array", "missing_array", "unlabelled"),
        *("labels_out_of_range", "sample_shape_mismatch", "declared_too_large", "inflated_too_large"),
        *("regression_labels", "too_large"),
    }
