"""Python runs this first in a process that has this folder on its path: its wall clock is then off by what a file says.

`JUMPING_CLOCK` names the file; it holds seconds, and may change or go while the process runs.
"""

import os
import time
from pathlib import Path

_real = time.time
_file = Path(os.environ.get("JUMPING_CLOCK", "/nonexistent"))


def _jumping() -> float:
    try:
        return _real() + float(_file.read_text() or 0.0)
    except (OSError, ValueError):
        return _real()


time.time = _jumping
