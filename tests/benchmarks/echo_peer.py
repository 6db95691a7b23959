"""A contestant for the tests of benchmarks.peers."""

from __future__ import annotations

import sys

from benchmarks.peers import serve

CALLS = [0]


def work(amount: int) -> dict[str, int]:
    CALLS[0] += 1
    print("this goes to stderr")
    return {"sum": sum(range(amount)), "calls": CALLS[0]}


def leave() -> None:
    print("last words", file=sys.stderr, flush=True)
    sys.exit(3)


if __name__ == "__main__":
    serve({"work": work, "leave": leave})
