"""What the store refuses; the API maps each to a status and a problem document."""

from __future__ import annotations


class StoreError(Exception):
    """A refused request: ``code`` is stable, ``detail`` says what was expected and found."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class NotFound(StoreError):
    """No such record for this tenant."""

    def __init__(self, what: str, identity: str) -> None:
        super().__init__("not_found", f"there is no {what} {identity!r}")


class Conflict(StoreError):
    """The record's state does not allow it (``in_use``, ``job_terminal``, ``job_not_terminal``, ...)."""


class BlobGone(StoreError):
    """What a worker has stored was collected before anything referred to it: store it again."""

    def __init__(self, digest: str) -> None:
        super().__init__("blob_gone", f"{digest} is not held any more")


class KeyReused(StoreError):
    """The Idempotency-Key came with another body before."""

    def __init__(self, key: str) -> None:
        super().__init__(
            "idempotency_key_reused",
            f"Idempotency-Key {key!r} was used with another body; send a new key with a new request",
        )
