"""One HTTP exchange: retries where repeating is harmless, problem documents as exceptions."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from spikebit import __version__
from spikebit.endpoint import Endpoint
from spikebit.errors import Problem, Unreachable

ATTEMPTS = 6  # with the pauses below about 6 s: longer than a restart of the API takes
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
_BUSY = frozenset({502, 503, 504})
_PLAIN = {401: {"code": "unauthorized", "detail": "the service does not know this API key"}}
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
Content = Callable[[], Iterator[bytes]]


class Transport:
    """A connection to one service.

    Every request is safe to repeat: reads and content-addressed PUTs by nature, POSTs by their ``Idempotency-Key``,
    which stays the same over all attempts. Lost connections and 502, 503, 504 are tried again with growing pauses.

    Args:
        endpoint: address and key.
        transport: an httpx transport in place of the network, for tests.
        sleep: how to pause, for tests.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        headers = {"User-Agent": f"spikebit/{__version__}"}
        if endpoint.key:
            headers["Authorization"] = f"Bearer {endpoint.key}"
        self.endpoint = endpoint
        self._sleep = sleep
        self._http = httpx.Client(
            base_url=endpoint.url,
            headers=headers,
            timeout=_TIMEOUT,
            transport=transport,
            trust_env=httpx.URL(endpoint.url).host not in _LOOPBACK,  # no proxy between us and ourselves
        )

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        content: Content | None = None,
        wait_s: float = 0.0,
        accept_status: frozenset[int] = frozenset(),
    ) -> httpx.Response:
        """The answer, or an exception that explains.

        Args:
            json: body of a POST.
            content: opens the body anew for every attempt of a PUT.
            wait_s: how long the service may hold the answer back (``Prefer: wait``).
            accept_status: error statuses that are an answer to the caller.

        Raises:
            Problem: the service refused.
            Unreachable: no answer after all attempts.
        """
        sent = dict(headers or {})
        if method == "POST":
            sent.setdefault("Idempotency-Key", str(uuid.uuid4()))
        if wait_s >= 1:
            sent["Prefer"] = f"wait={int(wait_s)}"
        timeout = httpx.Timeout(30.0 + wait_s, connect=5.0)
        for attempt in range(1, ATTEMPTS + 1):
            last = attempt == ATTEMPTS
            try:
                answer = self._http.request(
                    method,
                    path,
                    json=json,
                    params=params,
                    headers=sent,
                    content=content() if content is not None else None,
                    timeout=timeout,
                )
            except httpx.TransportError as error:
                if last:
                    raise self._unreachable(error) from error
                self._pause(attempt, None)
                continue
            if not last and _try_again(answer):
                self._pause(attempt, answer.headers.get("Retry-After"))
                continue
            if answer.is_error and answer.status_code not in accept_status:
                raise Problem(answer.status_code, _document(answer))
            return answer
        raise RuntimeError("unreachable: the last attempt returns or raises")

    @contextmanager
    def stream(self, path: str, headers: Mapping[str, str] | None = None) -> Iterator[httpx.Response]:
        """The answer to a GET whose body is read piece by piece."""
        try:
            with self._http.stream("GET", path, headers=headers) as answer:
                if answer.is_error:
                    answer.read()
                    raise Problem(answer.status_code, _document(answer))
                yield answer
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def _pause(self, attempt: int, retry_after: str | None) -> None:
        seconds = FIRST_PAUSE_S * 2 ** (attempt - 1)
        if retry_after is not None and retry_after.isdigit():
            seconds = max(seconds, float(retry_after))
        self._sleep(min(seconds, LONGEST_PAUSE_S))

    def _unreachable(self, error: httpx.TransportError) -> Unreachable:
        return Unreachable(
            f"no answer from {self.endpoint.url}: {error or type(error).__name__}",
            code="unreachable",
            advice=f"Is the service up? Its address came from {self.endpoint.source}.",
        )


def _try_again(answer: httpx.Response) -> bool:
    if answer.status_code in _BUSY:
        return True
    return answer.status_code == 409 and _document(answer).get("code") == "idempotency_in_flight"


def _document(answer: httpx.Response) -> dict[str, Any]:
    try:
        document = answer.json()
    except ValueError:  # an answer to HEAD has no body
        known = {} if answer.text else _PLAIN.get(answer.status_code, {})
        return {"detail": answer.text[:500] or answer.reason_phrase} | known
    return document if isinstance(document, dict) else {"detail": str(document)[:500]}
