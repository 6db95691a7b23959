"""``python -m benchmarks NAME``: run one benchmark; ``make bench NAME=…`` calls this."""

from __future__ import annotations

import argparse
import sys

from benchmarks import frame
from benchmarks.environment import describe


def main(arguments: list[str] | None = None) -> int:
    """Run, write, print; returns the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks", description="Run a benchmark with its peers.")
    parser.add_argument("name", choices=sorted(frame.BENCHMARKS))
    parser.add_argument("--no-write", action="store_true", help="leave benchmarks/results alone")
    options = parser.parse_args(arguments)
    environment = describe()
    rows = frame.run_benchmark(options.name)
    if not options.no_write:
        path = frame.write_result(frame.RESULTS, options.name, rows, environment)
        print(f"written: {path.relative_to(frame.RESULTS.parent.parent)}", file=sys.stderr)
    print(frame.format_table(rows))
    print(frame.result_line(rows))
    return frame.exit_status(rows)


if __name__ == "__main__":
    raise SystemExit(main())
