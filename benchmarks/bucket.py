"""A small S3 server for tests of failures: one bucket in memory, create-only puts, and faults on demand.

It speaks what the service asks of a store (PUT with ``If-None-Match``, GET with ``Range``, HEAD, DELETE, list) and can,
for a while, answer 503, break the connection in mid-body, or do what was asked and lose the answer. moto, against which
the layouts are tested, can do none of that.
"""

from __future__ import annotations

import hashlib
import random
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

NAME = "spikebit"
Fault = Literal["refuse", "break", "lose"]


@dataclass(frozen=True)
class Object:
    """Stored bytes and when they were put."""

    data: bytes
    put_at: float


class Bucket:
    """The objects, and which share of the requests fails how."""

    def __init__(self, seed: int = 0) -> None:
        self.objects: dict[str, Object] = {}
        self.lock = threading.Lock()
        self.faults: dict[Fault, float] = {}
        self.failed = 0
        self._random = random.Random(seed)

    def fault(self) -> Fault | None:
        """What happens to this request."""
        draw = self._random.random()
        for kind, share in self.faults.items():
            draw -= share
            if draw < 0:
                self.failed += 1
                return kind
        return None

    def put(self, key: str, data: bytes, create_only: bool) -> bool:
        """Keep the bytes; False: there are some already."""
        with self.lock:
            if create_only and key in self.objects:
                return False
            self.objects[key] = Object(data, time.time())
            return True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bucket: Bucket

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_PUT(self) -> None:
        """An object."""
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.bucket.fault()
        if fault in ("refuse", "break"):
            return self._fail(fault)
        stored = self.bucket.put(self._key(), data, self.headers.get("If-None-Match") == "*")
        if fault == "lose":
            return self._fail("break")
        if not stored:
            return self._answer(412, _error("PreconditionFailed"))
        return self._answer(200, b"", {"ETag": _etag(data)})

    def do_GET(self) -> None:
        """An object or a range of it; the list."""
        fault = self.bucket.fault()
        if fault == "refuse":
            return self._fail(fault)
        query = parse_qs(urlsplit(self.path).query)
        if "list-type" in query:
            return self._answer(200, self._list(query.get("prefix", [""])[0]), {"Content-Type": "application/xml"})
        found = self.bucket.objects.get(self._key())
        if found is None:
            return self._answer(404, _error("NoSuchKey"))
        headers = {"ETag": _etag(found.data), "Last-Modified": formatdate(found.put_at, usegmt=True)}
        status, data = 200, found.data
        if part := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            start, end = int(part[1]), min(len(data) - 1, int(part[2] or len(data)))
            headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
            status, data = 206, data[start : end + 1]
        return self._answer(status, data, headers, broken=fault is not None)

    def do_HEAD(self) -> None:
        """Is there such an object."""
        fault = self.bucket.fault()
        if fault is not None:
            return self._fail(fault)
        found = self.bucket.objects.get(self._key())
        headers = {} if found is None else {"ETag": _etag(found.data), "X-Length": str(len(found.data))}
        if found is not None:
            headers["Last-Modified"] = formatdate(found.put_at, usegmt=True)
        return self._answer(404 if found is None else 200, b"" if found is None else found.data, headers)

    def do_POST(self) -> None:
        """Several objects, gone: how the service's client deletes."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        fault = self.bucket.fault()
        if fault in ("refuse", "break"):
            return self._fail(fault)
        keys = [unescape(key) for key in re.findall(r"<Key>(.*?)</Key>", body)]
        with self.bucket.lock:
            for key in keys:
                self.bucket.objects.pop(key, None)
        if fault == "lose":
            return self._fail("break")
        rows = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
        return self._answer(200, f'<?xml version="1.0"?><DeleteResult>{rows}</DeleteResult>'.encode())

    def do_DELETE(self) -> None:
        """An object, gone."""
        fault = self.bucket.fault()
        if fault in ("refuse", "break"):
            return self._fail(fault)
        with self.bucket.lock:
            self.bucket.objects.pop(self._key(), None)
        return self._fail("break") if fault == "lose" else self._answer(204, b"")

    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).removeprefix(f"/{NAME}/")

    def _list(self, prefix: str) -> bytes:
        with self.bucket.lock:
            found = sorted((key, one) for key, one in self.bucket.objects.items() if key.startswith(prefix))
        rows = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(one.data)}</Size><ETag>{escape(_etag(one.data))}</ETag>"
            f"<LastModified>{_iso(one.put_at)}</LastModified></Contents>"
            for key, one in found
        )
        head = f"<Name>{NAME}</Name><KeyCount>{len(found)}</KeyCount><IsTruncated>false</IsTruncated>"
        return f'<?xml version="1.0"?><ListBucketResult>{head}{rows}</ListBucketResult>'.encode()

    def _answer(self, status: int, data: bytes, headers: dict[str, str] | None = None, *, broken: bool = False) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if broken else data)
        if broken:
            self.close_connection = True

    def _fail(self, fault: Fault | None) -> None:
        if fault == "refuse":
            return self._answer(503, _error("SlowDown"))
        self.close_connection = True  # without an answer
        return None


class _Server(ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """A client that was killed says nothing new."""


@contextmanager
def run_bucket(seed: int = 0) -> Iterator[tuple[Bucket, dict[str, str]]]:
    """A server on loopback; yields its bucket and the variables by which the service finds it."""
    bucket = Bucket(seed)
    handler = type("Handler", (_Handler,), {"bucket": bucket})
    server = _Server(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="bucket", daemon=True)
    thread.start()
    variables = {
        "SPIKEBIT_BLOB_URL": f"s3://{NAME}/blobs",
        "SPIKEBIT_S3_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    try:
        yield bucket, variables
    finally:
        server.shutdown()
        server.server_close()


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(seconds))


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def _error(code: str) -> bytes:
    return f'<?xml version="1.0"?><Error><Code>{code}</Code></Error>'.encode()
