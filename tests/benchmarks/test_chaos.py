"""The checker finds each kind of violation in a history that holds it, and nothing in one that holds none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.bucket import run_bucket
from benchmarks.chaos.__main__ import ROWS, findings, judge_folder
from benchmarks.chaos.checker import Verdict, judge
from benchmarks.chaos.history import History, read_history
from benchmarks.frame import collect

Line = dict[str, Any]


def row(table: str, **values: Any) -> Line:
    return {"t": 9.0, "kind": "row", "stack": "a", "table": table, "values": values}


def line(kind: str, **values: Any) -> Line:
    return {"t": 1.0, "kind": kind, "stack": "a", **values}


def sound() -> list[Line]:
    """One job that was killed once, resumed and published a plan."""
    job = {"id": "j1", "status": "succeeded", "verdict": "none", "label": "k1", "attempt": 2, "event_seq": 3}
    return [
        line("ack", key="k1", job="j1", request="evaluate"),
        line("fault", what="api", part="api", kills=1),
        line("seen", job="j1", status="running", verdict=None),
        line("seen", job="j1", status="succeeded", verdict="none"),
        line("watched", job="j1", ids=[1, 2, 3], ended=True),
        line("drained", unfinished=0, grace_s=30.0),
        row("jobs", **job, lease_left_s=None, class_served=True, code=None, detail=None),
        row("attempts", job_id="j1", number=1, outcome="lost", code="worker_lost"),
        row("attempts", job_id="j1", number=2, outcome="succeeded", code=None),
        row("artifacts", job_id="j1", role="plan", path="plan.json", digest="sha256:p"),
        row("events", job_id="j1", seq=1, status="queued"),
        row("events", job_id="j1", seq=2, status="running"),
        row("events", job_id="j1", seq=3, status="succeeded"),
        row("blobs", digest="sha256:p", age_s=99.0),
        row("blobs", digest="sha256:m", age_s=99.0),
        row("uploads", status="ready", digests=["sha256:m"]),
        line("object", digest="sha256:p", age_s=99.0),
        line("object", digest="sha256:m", age_s=99.0),
        line("served", job="j1", status="succeeded", verdict="none", ids=[1, 2, 3]),
        {"t": 10.0, "kind": "end", "stack": ""},
    ]


def change(kind: str, table: str | None = None, nth: int = 0, **values: Any) -> Callable[[list[Line]], None]:
    """Change fields of the n-th such line."""

    def act(lines: list[Line]) -> None:
        found = [one for one in lines if one["kind"] == kind and one.get("table") == table][nth]
        (found["values"] if table else found).update(values)

    return act


def drop(table: str, nth: int = 0) -> Callable[[list[Line]], None]:
    return lambda lines: lines.remove([one for one in lines if one.get("table") == table][nth])


def add(*more: Line) -> Callable[[list[Line]], None]:
    return lambda lines: lines.extend(more)


EVENT_4 = row("events", job_id="j1", seq=4, status=None)
JOB_2 = {"id": "j2", "status": "queued", "verdict": None, "label": "k1", "attempt": 0, "event_seq": 0}
VIOLATIONS: list[tuple[str, Callable[[list[Line]], None]]] = [
    ("lost", drop("jobs")),
    ("lost", change("row", "jobs", status="running", lease_left_s=-1.0)),
    ("lost", change("row", "jobs", status="queued", class_served=False)),
    ("lost", drop("blobs")),
    ("worker_lost", change("row", "jobs", status="failed", code="worker_lost")),
    ("failed", change("row", "jobs", status="failed", code="internal_error")),
    ("twice", change("row", "attempts", outcome="succeeded")),
    ("twice", add(row("artifacts", job_id="j1", role="plan", path="plan.json", digest="sha256:p"))),
    ("twice", drop("artifacts")),
    ("twice", change("row", "events", nth=1, status="succeeded")),
    ("changed", change("seen", status="failed")),
    ("changed", change("served", verdict="fail")),
    ("changed", lambda lines: [change("row", "jobs", event_seq=4)(lines), add(EVENT_4)(lines)][0]),
    ("gap", drop("events", 1)),
    ("gap", change("row", "jobs", event_seq=4)),
    ("gap", change("watched", ids=[1, 3])),
    ("gap", change("watched", ids=[1, 2, 2, 3])),
    ("gap", change("watched", ids=[1, 2])),
    ("gap", change("served", ids=[1, 2])),
    ("gap", change("served", ids=[1, 2, 3, 4])),
    ("orphan", add(line("object", digest="sha256:o", age_s=31.0))),
    ("orphan", add(row("blobs", digest="sha256:o", age_s=31.0))),
    ("doubled", add(row("jobs", **JOB_2, lease_left_s=None, class_served=True, code=None, detail=None))),
    ("refused", add(line("refused", key="k3", status=422, code="x"))),
]


def test_a_sound_history_passes() -> None:
    verdict = judge(sound())
    assert verdict is not None
    assert (verdict.found, verdict.jobs, verdict.kills, verdict.attempts) == ([], 1, 1, 2)


@pytest.mark.parametrize(("rule", "hurt"), VIOLATIONS)
def test_each_violation_is_found(rule: str, hurt: Callable[[list[Line]], None]) -> None:
    lines = sound()
    hurt(lines)
    verdict = judge(lines)
    assert verdict is not None
    assert verdict.violations[rule] > 0, verdict.found


def test_two_results_of_one_request_are_two_publications() -> None:
    other = json.loads(json.dumps(sound()).replace("j1", "j2").replace("k1", "k2").replace("sha256:p", "sha256:q"))
    verdict = judge([*other[:-1], *sound()])
    assert verdict is not None
    assert verdict.violations["twice"] == 1


def test_young_objects_and_held_jobs_are_no_violation() -> None:
    lines = sound()
    add(line("object", digest="sha256:o", age_s=29.0))(lines)
    for act in (
        change("row", "jobs", status="running", verdict=None, lease_left_s=2.0, event_seq=2),
        change("served", status="succeeded", verdict="none", ids=[1, 2, 3]),  # it ended after the records were read
        change("seen", nth=1, status="running", verdict=None),
        change("watched", ids=[1], ended=False),
        change("row", "attempts", nth=1, outcome=None),
        drop("artifacts"),
        drop("events", 2),
        change("row", "blobs", age_s=1.0),
    ):
        act(lines)
    verdict = judge(lines)
    assert verdict is not None
    assert verdict.found == []


def test_an_unfinished_slice_counts_for_nothing(tmp_path: Path) -> None:
    for name, lines in (("whole", sound()), ("cut", sound()[:-1])):
        history = History(tmp_path / f"{name}.jsonl")
        for one in lines:
            history.write(
                one["kind"], one["stack"], **{k: v for k, v in one.items() if k not in ("t", "kind", "stack")}
            )
        history.close()
        history.write("late")  # by a thread that outlived its slice
    with (tmp_path / "cut.jsonl").open("a") as file:
        file.write('{"half')
    assert len(list(read_history(tmp_path / "cut.jsonl"))) == len(sound()) - 1
    verdict = judge_folder(tmp_path)
    assert (verdict.jobs, verdict.kills) == (1, 1)


def test_rows_are_met_only_with_enough_kills() -> None:
    few, many = Verdict(jobs=10, kills=5), Verdict(jobs=300, kills=1000)
    assert not collect(ROWS, findings(few))[ROWS[0].name]["ok"]
    assert all(one["ok"] for one in collect(ROWS, findings(many)).values())
    many.accuse("orphan", "object x")
    assert [name for name, one in collect(ROWS, findings(many)).items() if not one["ok"]] == ["orphan blobs"]


def test_the_bucket_is_create_only_and_fails_on_demand() -> None:
    with run_bucket() as (bucket, variables), httpx.Client(trust_env=False) as http:
        url = variables["SPIKEBIT_S3_ENDPOINT"] + "/spikebit/blobs/t/x"
        create = {"If-None-Match": "*"}
        assert http.put(url, content=b"0123", headers=create).status_code == 200
        assert http.put(url, content=b"else", headers=create).status_code == 412
        part = http.get(url, headers={"Range": "bytes=1-2"})
        assert (part.status_code, part.content) == (206, b"12")
        assert http.head(url).headers["Content-Length"] == "4"
        bucket.faults = {"refuse": 1.0}
        assert http.get(url).status_code == 503
        bucket.faults = {"lose": 1.0}
        with pytest.raises(httpx.RemoteProtocolError):
            http.delete(url)
        assert not bucket.objects, "what was asked for is done although the answer was lost"
        bucket.faults = {"break": 1.0}
        with pytest.raises(httpx.RemoteProtocolError):
            http.put(url, content=b"0123")
        assert not bucket.objects
