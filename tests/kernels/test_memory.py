"""Freed memory is kept: a second step of the same size asks the system for no new pages."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import resource
import torch
from engine.kernels.memory import keep_memory

kept = {keep}
assert keep_memory() if kept else True

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    big = [torch.ones(4 << 20) for _ in range(8)]
    del big
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = faults()
print(first, min(faults() for _ in range(3)))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of the GNU C library")
def test_pages_are_taken_once():
    done = subprocess.run([sys.executable, "-c", CODE.format(keep=True)], capture_output=True, text=True, check=True)
    first, again = map(int, done.stdout.split())
    assert again < 0.05 * first
