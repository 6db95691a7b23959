"""Runs the Python blocks of one tutorial, in a framework's venv: ``python run_tutorial.py PAGE FOLDER``."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

page, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
os.chdir(folder)
blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
exec(compile("\n".join(blocks), str(page), "exec"), {"__name__": "__main__"})
