"""uvicorn's HTTP protocol, with an answer for a client that ends its half of the connection too early."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class HalfCloseProtocol(HttpToolsProtocol):
    """Turns an early end of the body into an end of the body, so that the route can say ``body_too_short``.

    Plain uvicorn closes the connection at the client's FIN, and the client never learns why. Routes that need the
    whole body compare its length with the promised one.
    """

    def eof_received(self) -> Any:
        """The client sends no more; True keeps our half open until the answer is out."""
        cycle: Any = self.cycle
        if cycle is None or cycle.response_complete or not cycle.more_body:
            return None
        cycle.more_body = False
        cycle.keep_alive = False
        cycle.message_event.set()
        return True
