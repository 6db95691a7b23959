"""The engine's quantized training form at 4 bits: what fine-tuning runs."""

from __future__ import annotations

from functools import partial

from benchmarks.contestants.common import contest
from benchmarks.contestants.ours import build

BITS = 4

if __name__ == "__main__":
    contest(partial(build, bits=BITS), convert=lambda x: x)
