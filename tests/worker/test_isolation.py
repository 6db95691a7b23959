"""What a child gives up, seen from a process that gives it up."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = """
import os
from worker.isolation import yield_cpu
yield_cpu({first})
yield_cpu({second})
print(os.nice(0))
"""


@pytest.mark.parametrize(("first", "second", "found"), [(0, 0, 0), (5, 0, 5), (5, 7, 7)])
def test_priority_only_ever_falls(first: int, second: int, found: int) -> None:
    base = os.nice(0)
    code = CODE.format(first=base + first, second=base + second)
    # A session of its own: the priority of a session (autogroup) falls too, and ours is that of whoever runs the tests.
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, start_new_session=True)
    assert int(done.stdout) == min(19, base + found)
