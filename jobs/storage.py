"""Is this error a full disk or a full store: something that an operator mends, not a bug and not the user's fault."""

from __future__ import annotations

import errno

FULL = "storage_full"
_NUMBERS = frozenset({errno.ENOSPC, errno.EDQUOT})
_WORDS = (
    "no space left",
    "disk quota exceeded",
    "database or disk is full",
    "insufficient storage",
    "insufficientstorage",
    "quotaexceeded",
    "xminiostoragefull",
    "disk full",  # PostgreSQL, class 53100
)


def is_full(error: BaseException) -> bool:
    """Does the error, or one that it was raised from, say that there is no space left.

    Example:
        >>> is_full(OSError(errno.ENOSPC, "No space left on device")), is_full(OSError(errno.EIO, "I/O error"))
        (True, False)
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _NUMBERS:
            return True
        if any(words in str(seen).lower() for words in _WORDS):
            return True
        seen = seen.__cause__ or getattr(seen, "orig", None)
    return False
