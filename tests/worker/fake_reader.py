"""Stands in for worker.intake_child: does what the "upload" says."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path


def main() -> None:
    request = json.loads(sys.stdin.readline())
    order = Path(request["path"]).read_text()
    if order == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif order == "hang":
        time.sleep(60)
    elif order == "silent":
        sys.exit(3)
    elif order == "refuse":
        print(json.dumps({"ok": False, "code": "not_nir", "detail": "expected a NIR file", "pointer": None}))
    elif order == "babble":
        print("x" * 1000)
    else:
        Path(request["out"]).write_text("canonical " + order)
        summary = {"kind": request["kind"], "dynamics": request["dynamics"], "repair": request["repair"]}
        print(json.dumps({"ok": True, "canonical": request["out"], "sha256": "unused", "summary": summary}))


if __name__ == "__main__":
    main()
