"""Files with random damage: the limited child answers every one of them, with a refusal or a sound model.

The HDF5 library itself may crash or loop on damage (SERVICE section 5); then the child dies by a signal, and
its supervisor answers ``unreadable``. What must not happen is a Python error that escapes.
"""

from __future__ import annotations

import multiprocessing
import random
import resource
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.corpus import npz, write_graph
from worker.intake_checks import check_upload

ROUNDS = 60
CPU_S = 8


def check_all(kind: str, original: bytes, seed: int, answers: Any) -> None:
    """In a process of its own: one answer per mutation, sent before the next is tried."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))  # as the child does: HDF5 can loop for ever
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "upload"
        for _ in range(ROUNDS):
            data = bytearray(original)
            for _ in range(draw.randint(1, 8)):
                data[draw.randrange(len(data))] = draw.randrange(256)
            if draw.random() < 0.2:
                del data[draw.randrange(len(data)) :]
            path.write_bytes(data)
            request = {"kind": kind, "path": str(path), "out": str(path) + ".out", "dynamics": None}
            answers.send(check_upload(request))
    answers.close()


@pytest.mark.parametrize("kind", ["model", "dataset"])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_mutation_is_answered(kind: str, seed: int, tmp_path: Path) -> None:
    (write_graph if kind == "model" else npz())(tmp_path / "good")
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=check_all, args=(kind, (tmp_path / "good").read_bytes(), seed, send))
    process.start()
    send.close()
    answers = []
    try:
        while receive.poll(60):
            answers.append(receive.recv())
    except EOFError:
        pass
    process.join(60)
    code = process.exitcode
    assert code is not None
    assert len(answers) == ROUNDS or (kind == "model" and code < 0), f"an error escaped after {len(answers)} files"
    for answer in answers:
        assert answer["ok"] or (answer["code"] and answer["detail"]), answer
    assert any(not answer["ok"] for answer in answers)
