"""Keep freed memory for the next step instead of giving it back to the system."""

from __future__ import annotations

import ctypes
import sys

# <malloc.h> of the GNU C library; the largest threshold that it takes for single mappings is 32 MiB.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
KEPT_BYTES = 512 << 20
_MAPPED_BYTES, _PAD_BYTES = 32 << 20, 64 << 20


def keep_memory() -> bool:
    """Tell the C library to keep up to ``KEPT_BYTES`` of freed memory; whether it could be told.

    A training step frees and takes the same tens of megabytes; every page that went back to the system is zeroed anew,
    which takes a third of an evaluation of a small convolutional network. It holds for the whole process.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library
        return False
    settings = ((_TRIM_THRESHOLD, KEPT_BYTES), (_TOP_PAD, _PAD_BYTES), (_MMAP_THRESHOLD, _MAPPED_BYTES))
    return all(mallopt(name, value) == 1 for name, value in settings)
