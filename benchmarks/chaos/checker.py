"""Judges a recorded history; knows nothing of the service but the meaning of the lines (``benchmarks.chaos.history``).

A job is *acknowledged* when a user got 202 for it, *lost* when it is in the end neither terminal, nor waiting to be
claimed, nor held under a lease that has not run out, or when its row is gone. Published twice: two succeeded attempts,
two terminal events ``succeeded``, two artifacts of one path, or two results of one request that differ.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

TERMINAL = frozenset({"succeeded", "failed", "cancelled", "expired"})
Line = Mapping[str, Any]


@dataclass
class Verdict:
    """Counts of one or more histories; ``found`` says each violation in words."""

    jobs: int = 0
    kills: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    attempts: int = 0
    died: Counter[str] = field(default_factory=Counter)
    violations: Counter[str] = field(default_factory=Counter)
    found: list[str] = field(default_factory=list)

    def accuse(self, rule: str, what: str) -> None:
        """Note a violation."""
        self.violations[rule] += 1
        self.found.append(f"{rule}: {what}")

    def add(self, other: Verdict) -> None:
        """Take another history's counts into this one."""
        self.jobs, self.kills = self.jobs + other.jobs, self.kills + other.kills
        self.attempts += other.attempts
        for name in ("faults", "ended", "died", "violations"):
            getattr(self, name).update(getattr(other, name))
        self.found += other.found


RULES = ("lost", "worker_lost", "failed", "twice", "changed", "gap", "orphan", "doubled", "refused")


def judge(lines: Iterable[Line]) -> Verdict | None:
    """The verdict over one slice; None where its history has no end."""
    stacks: dict[str, list[Line]] = defaultdict(list)
    complete = False
    for line in lines:
        complete = complete or line["kind"] == "end"
        stacks[line["stack"]].append(line)
    if not complete:
        return None
    verdict = Verdict()
    for name, own in stacks.items():
        if name:
            _judge_stack(verdict, own)
    return verdict


def _judge_stack(verdict: Verdict, lines: list[Line]) -> None:
    rows: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        if line["kind"] == "row":
            rows[line["table"]].append(line["values"])
    for line in lines:
        if line["kind"] == "fault":
            verdict.faults[line["what"]] += 1
            verdict.kills += line["kills"]
        elif line["kind"] == "died":
            verdict.died[line["part"]] += 1
    _check_acknowledged(verdict, lines, rows)
    _check_terminal(verdict, lines)
    _check_published(verdict, lines, rows)
    _check_events(verdict, lines, rows)
    _check_blobs(verdict, lines, rows)


def _check_acknowledged(verdict: Verdict, lines: list[Line], rows: Mapping[str, list[Line]]) -> None:
    """Nothing that was acknowledged is lost; one key makes one job; nothing valid is refused."""
    jobs: dict[str, Line] = {row["id"]: row for row in rows["jobs"]}
    of_key: dict[str, set[str]] = defaultdict(set)
    for line in lines:
        if line["kind"] == "ack":
            of_key[line["key"]].add(line["job"])
        elif line["kind"] == "refused":
            verdict.accuse("refused", f"{line['key']}: {line['status']} {line['code']}")
    for row in jobs.values():
        if row["label"]:
            of_key[row["label"]].add(row["id"])  # also those whose 202 was lost on the way
    for key, made in of_key.items():
        if len(made) > 1:
            verdict.accuse("doubled", f"key {key} made {sorted(made)}")
    acknowledged = {line["job"] for line in lines if line["kind"] == "ack"}
    verdict.jobs += len(acknowledged)
    for job in sorted(acknowledged):
        row = jobs.get(job, {})
        if not row:
            verdict.accuse("lost", f"{job} has no row")
            continue
        verdict.attempts += row["attempt"]
        verdict.ended[row["status"]] += 1
        held = row["status"] in ("running", "cancelling") and (row["lease_left_s"] or 0.0) > 0
        if row["status"] not in TERMINAL and not held and not (row["status"] == "queued" and row["class_served"]):
            verdict.accuse("lost", f"{job} is {row['status']}, lease left {row['lease_left_s']}")
        if row["status"] == "failed":
            rule = "worker_lost" if row["code"] == "worker_lost" else "failed"
            verdict.accuse(rule, f"{job} failed after {row['attempt']} attempts: {row['code']}: {row['detail']}")


def _check_terminal(verdict: Verdict, lines: list[Line]) -> None:
    """Whoever saw a terminal state sees it for good: users, the records, the API at the end."""
    first: dict[str, tuple[str, str | None]] = {}

    def look(job: str, status: str, outcome: str | None, where: str) -> None:
        if job in first and first[job] != (status, outcome):
            verdict.accuse("changed", f"{job} was {first[job]}, then {(status, outcome)} {where}")
        elif status in TERMINAL:
            first.setdefault(job, (status, outcome))

    for line in lines:
        if line["kind"] in ("seen", "served"):
            look(line["job"], line["status"], line["verdict"], f"at {line['t']} s")
        elif line["kind"] == "row" and line["table"] == "jobs":
            row = line["values"]
            look(row["id"], row["status"], row["verdict"], "in the records")


def _check_published(verdict: Verdict, lines: list[Line], rows: Mapping[str, list[Line]]) -> None:
    """One set of artifacts for each job that succeeded, none for others, the same for the same request."""
    requests = {line["job"]: line["request"] for line in lines if line["kind"] == "ack"}
    succeeded = Counter(row["job_id"] for row in rows["attempts"] if row["outcome"] == "succeeded")
    paths = Counter((row["job_id"], row["path"]) for row in rows["artifacts"])
    of_job: dict[str, dict[str, str]] = defaultdict(dict)
    for row in rows["artifacts"]:
        of_job[row["job_id"]][row["role"]] = row["digest"]
    for (job, path), times in paths.items():
        if times > 1:
            verdict.accuse("twice", f"{job} has {times} artifacts {path}")
    same: dict[tuple[str, str], str] = {}
    for row in rows["jobs"]:
        job, ended = row["id"], int(row["status"] == "succeeded")
        if succeeded[job] != ended:
            verdict.accuse("twice", f"{job} is {row['status']} with {succeeded[job]} succeeded attempts")
        if bool(of_job[job]) != bool(ended):
            verdict.accuse("twice", f"{job} is {row['status']} with {len(of_job[job])} artifacts")
        for role in ("plan", "program-payload", "program-manifest"):
            digest = of_job[job].get(role)
            if digest is not None and same.setdefault((str(requests.get(job)), role), digest) != digest:
                verdict.accuse("twice", f"{job}: {role} differs from an equal request's")


def _check_events(verdict: Verdict, lines: list[Line], rows: Mapping[str, list[Line]]) -> None:
    """Ids from 1 without a gap; nothing behind the terminal state; what watchers and pages show is the same."""
    events: dict[str, list[Line]] = defaultdict(list)
    ended = {row["id"] for row in rows["jobs"] if row["status"] in TERMINAL}
    for row in rows["events"]:
        events[row["job_id"]].append(row)
    for job in rows["jobs"]:
        own = sorted(events[job["id"]], key=lambda row: int(row["seq"]))
        numbers = [row["seq"] for row in own]
        if numbers != list(range(1, job["event_seq"] + 1)):
            verdict.accuse("gap", f"{job['id']}: {len(numbers)} events of {job['event_seq']}")
        ends = [row["seq"] for row in own if row["status"] in TERMINAL]
        if len(ends) > 1:
            verdict.accuse("twice", f"{job['id']} ended in events {ends}")
        if ends and ends[0] != numbers[-1]:
            verdict.accuse("changed", f"{job['id']} has events behind its end")
    for line in lines:
        if line["kind"] == "watched":
            whole = list(range(1, len(line["ids"]) + 1))
            if line["ids"] != whole or (line["ended"] and len(whole) != len(events[line["job"]])):
                verdict.accuse("gap", f"a watcher of {line['job']} got {len(line['ids'])} ids, not 1, 2, 3 …")
        elif line["kind"] == "served":
            recorded, shown = sorted(row["seq"] for row in events[line["job"]]), line["ids"]
            whole = list(range(1, len(shown) + 1))  # a job that has not ended goes on between the two looks
            if shown != (recorded if line["job"] in ended else whole) or len(shown) < len(recorded):
                verdict.accuse("gap", f"{line['job']}: the API's page shows other ids than the records")


def _check_blobs(verdict: Verdict, lines: list[Line], rows: Mapping[str, list[Line]]) -> None:
    """Objects and rows correspond; what nothing refers to and is older than the grace period is gone."""
    active = {row["id"] for row in rows["jobs"] if row["status"] not in TERMINAL}
    needed = {digest for row in rows["uploads"] if row["status"] != "rejected" for digest in row["digests"]}
    needed |= {row["digest"] for row in rows["artifacts"]}
    needed |= {row["digest"] for row in rows["checkpoints"] if row["job_id"] in active}
    held = {row["digest"]: row["age_s"] for row in rows["blobs"]}
    grace = next((line["grace_s"] for line in lines if line["kind"] == "drained"), 0.0)
    objects = {line["digest"]: line["age_s"] for line in lines if line["kind"] == "object"}
    for digest, age_s in objects.items():
        if digest not in held and age_s > grace:
            verdict.accuse("orphan", f"object {digest[:20]} of {age_s:.0f} s has no row")
    for digest, age_s in held.items():
        if digest not in needed and age_s > grace:
            verdict.accuse("orphan", f"blob {digest[:20]} of {age_s:.0f} s is referred to by nothing")
    for digest in needed:
        if digest not in held or digest not in objects:
            verdict.accuse("lost", f"blob {digest[:20]} is needed and not there")
