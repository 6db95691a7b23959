from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator

import pytest

from jobs.store import find_blob
from tests.api.conftest import Api

DATA = b"spikes" * 100_000
HEX = hashlib.sha256(DATA).hexdigest()
URL = f"/v1/blobs/sha256:{HEX}"


def leftovers(api: Api) -> list[str]:
    return [path.name for path in api.service.blobs.temporary.iterdir()]


def test_put_then_held(api: Api) -> None:
    assert api.http.head(URL).status_code == 404
    first = api.http.put(URL, content=DATA)
    assert (first.status_code, first.json()) == (201, {"digest": f"sha256:{HEX}", "size": len(DATA)})
    again = api.http.put(URL, content=DATA)
    assert (again.status_code, again.json()) == (200, first.json())
    head = api.http.head(URL)
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(DATA)))
    assert leftovers(api) == []


def test_streamed_without_a_length(api: Api) -> None:
    def parts() -> Iterator[bytes]:
        yield DATA[:1000]
        yield DATA[1000:]

    assert api.http.put(URL, content=parts()).status_code == 201


def test_wrong_digest_stores_nothing(api: Api) -> None:
    answer = api.http.put(URL, content=DATA + b"!")
    assert (answer.status_code, answer.json()["code"]) == (422, "digest_mismatch")
    assert hashlib.sha256(DATA + b"!").hexdigest() in answer.json()["detail"]
    assert find_blob(api.tenant, f"sha256:{HEX}") is None
    assert leftovers(api) == []


def test_content_digest_is_checked(api: Api) -> None:
    right = base64.b64encode(bytes.fromhex(HEX)).decode()
    wrong = base64.b64encode(bytes(32)).decode()
    bad = api.http.put(URL, content=DATA, headers={"Content-Digest": f"sha-256=:{wrong}:"})
    assert (bad.status_code, bad.json()["code"]) == (422, "digest_mismatch")
    assert api.http.put(URL, content=DATA, headers={"Content-Digest": f"sha-256=:{right}:"}).status_code == 201


def test_too_large_by_length_and_by_count(api: Api) -> None:
    big = b"x" * (9 << 20)

    def parts() -> Iterator[bytes]:
        for _ in range(9):
            yield big[: 1 << 20]

    for body in (big, parts()):
        answer = api.http.put(URL, content=body)
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert leftovers(api) == []


def test_shorter_than_promised(api: Api) -> None:
    answer = api.http.put(URL, content=DATA[:10], headers={"Content-Length": str(len(DATA))})
    assert (answer.status_code, answer.json()["code"]) == (400, "body_too_short")
    assert "10 came" in answer.json()["detail"]
    assert leftovers(api) == []


@pytest.mark.parametrize("name", ["md5:00", "sha256:" + "A" * 64, "sha256:..%2f..%2fetc"])
def test_names_are_digests(api: Api, name: str) -> None:
    for method in ("PUT", "HEAD"):
        assert api.http.request(method, f"/v1/blobs/{name}").status_code in (404, 422)


def test_another_tenant_holds_nothing(api: Api, stranger: dict[str, str]) -> None:
    api.put(DATA)
    assert api.http.head(URL, headers=stranger).status_code == 404
    assert api.http.put(URL, content=DATA, headers=stranger).status_code == 201
