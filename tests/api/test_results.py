from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from tests.api.conftest import PROGRAM, Api

HEX = hashlib.sha256(PROGRAM).hexdigest()


@pytest.fixture
def done(api: Api) -> dict[str, Any]:
    job = api.job()
    api.finish(api.claim())
    return job


@pytest.fixture
def content(api: Api, done: dict[str, Any]) -> str:
    items = api.http.get(f"/v1/jobs/{done['id']}/artifacts").json()["items"]
    assert [item["path"] for item in items] == ["program/payload.bin", "report.html", "report.json", "report.md"]
    payload = items[0]
    assert (payload["role"], payload["size"], payload["sha256"]) == ("program-payload", len(PROGRAM), HEX)
    assert api.http.get(f"/v1/artifacts/{payload['id']}").json() == payload
    href: str = payload["href"]
    return href


def test_whole_content(api: Api, content: str) -> None:
    answer = api.http.get(content)
    assert answer.content == PROGRAM
    assert answer.headers["etag"] == f'"{HEX}"'
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["repr-digest"] == f"sha-256=:{base64.b64encode(bytes.fromhex(HEX)).decode()}:"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"].startswith('attachment; filename="payload.bin"')
    head = api.http.head(content)
    assert head.content == b""
    for name in ("etag", "content-length", "content-type", "repr-digest"):
        assert head.headers[name] == answer.headers[name]


def test_unchanged(api: Api, content: str) -> None:
    for tag in (f'"{HEX}"', f'W/"{HEX}"', f'"x", "{HEX}"', "*"):
        answer = api.http.get(content, headers={"If-None-Match": tag})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == f'"{HEX}"'
    assert api.http.get(content, headers={"If-None-Match": '"x"'}).status_code == 200


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=5-", 5, len(PROGRAM)),
        ("bytes=-7", len(PROGRAM) - 7, len(PROGRAM)),
        (f"bytes=100-{10 * len(PROGRAM)}", 100, len(PROGRAM)),
        (f"bytes=-{10 * len(PROGRAM)}", 0, len(PROGRAM)),
    ],
)
def test_one_range(api: Api, content: str, asked: str, start: int, end: int) -> None:
    answer = api.http.get(content, headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.content == PROGRAM[start:end]
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(PROGRAM)}"


@pytest.mark.parametrize("asked", [f"bytes={len(PROGRAM)}-", "bytes=-0", "bytes=0-1,5-6"])
def test_refused_ranges(api: Api, content: str, asked: str) -> None:
    answer = api.http.get(content, headers={"Range": asked})
    assert (answer.status_code, answer.json()["code"]) == (416, "range_not_satisfiable")
    assert answer.headers["content-range"] == f"bytes */{len(PROGRAM)}"


@pytest.mark.parametrize("asked", ["bytes=9-3", "lines=1-2", "bytes=-"])
def test_ignored_ranges(api: Api, content: str, asked: str) -> None:
    assert api.http.get(content, headers={"Range": asked}).status_code == 200


def test_if_range(api: Api, content: str) -> None:
    assert api.http.get(content, headers={"Range": "bytes=0-1", "If-Range": f'"{HEX}"'}).status_code == 206
    assert api.http.get(content, headers={"Range": "bytes=0-1", "If-Range": '"old"'}).status_code == 200


def test_report_by_accept(api: Api, done: dict[str, Any]) -> None:
    url = f"/v1/jobs/{done['id']}/report"
    assert api.http.get(url).json() == {"schema_version": 1}
    assert api.http.get(url, headers={"Accept": "text/markdown"}).text == "# report"
    page = api.http.get(url, headers={"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"})
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "script-src" not in page.headers["content-security-policy"]
    assert "content-disposition" not in page.headers
    none = api.http.get(url, headers={"Accept": "image/png"})
    assert (none.status_code, none.json()["code"]) == (406, "not_acceptable")


def test_another_tenant_gets_404(api: Api, done: dict[str, Any], content: str, stranger: dict[str, str]) -> None:
    places = [content, content.removesuffix("/content")]
    places += [f"/v1/jobs/{done['id']}{path}" for path in ("", "/report", "/artifacts", "/events", "/logs")]
    for place in places:
        answer = api.http.get(place, headers=stranger)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), place


def test_a_lost_object_is_503(api: Api, done: dict[str, Any], content: str) -> None:
    path = api.service.blobs.path_for("default", f"sha256:{HEX}")
    assert path is not None
    path.unlink()
    answer = api.http.get(content)
    assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")
