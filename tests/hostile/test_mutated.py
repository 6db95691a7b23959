"""HDF5 and npz with random damage: the limited child answers every one of them, with a refusal or a sound result.

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

from tests.data.event_files import samples, write_shd
from tests.hostile.corpus import npz, write_graph
from tests.hostile.recordings import TRANSFORMS
from tests.hostile.test_mutated_recordings import check_sound
from worker.intake_checks import check_upload

ROUNDS = 60
CPU_S = 3
HDF5 = ("model", "shd")


def check_all(kind: str, original: bytes, seed: int, start: int, answers: Any) -> None:
    """In a process of its own: one answer per mutation from number ``start`` on, sent before the next is tried."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))  # as the child does: HDF5 can loop for ever
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "upload"
        for number in range(ROUNDS):
            data = bytearray(original)
            for _ in range(draw.randint(1, 8)):
                data[draw.randrange(len(data))] = draw.randrange(256)
            if draw.random() < 0.2:
                del data[draw.randrange(len(data)) :]
            if number < start:
                continue
            path.write_bytes(data)
            request = {"kind": kind, "path": str(path), "out": str(path) + ".out", "dynamics": None}
            if kind == "shd":
                transform = TRANSFORMS[kind].model_dump(mode="json")
                request |= {"kind": "dataset", "format": kind, "transform": transform}
            answer = check_upload(request)
            if kind == "shd" and answer["ok"]:
                check_sound(answer)
            answers.send(answer)
    answers.close()


def write_good_shd(path: Path) -> None:
    write_shd(path, samples()["train"])


GOOD = {"model": write_graph, "dataset": npz(), "shd": write_good_shd}


@pytest.mark.parametrize("kind", sorted(GOOD))
@pytest.mark.parametrize("seed", [0, 1])
def test_every_mutation_is_answered(kind: str, seed: int, tmp_path: Path) -> None:
    GOOD[kind](tmp_path / "good")
    answers: list[dict[str, Any]] = []
    died = 0
    while len(answers) + died < ROUNDS:
        code = answer_from(kind, (tmp_path / "good").read_bytes(), seed, len(answers) + died, answers)
        if len(answers) + died < ROUNDS:
            assert kind in HDF5, f"an error escaped after {len(answers)} files"
            assert code < 0, f"an error escaped after {len(answers)} files"
            died += 1  # by a signal: the supervisor answers for that one, the next process goes on behind it
    assert died < ROUNDS // 10
    for answer in answers:
        assert answer["ok"] or (answer["code"] and answer["detail"]), answer
    assert any(not answer["ok"] for answer in answers)


def answer_from(kind: str, original: bytes, seed: int, start: int, answers: list[dict[str, Any]]) -> int:
    """Let a process answer from mutation ``start`` on, as far as it comes; returns its exit code."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=check_all, args=(kind, original, seed, start, send))
    process.start()
    send.close()
    try:
        while receive.poll(60):
            answers.append(receive.recv())
    except EOFError:
        pass
    process.join(60)
    assert process.exitcode is not None
    return process.exitcode
