"""Progress lines on stderr, each with the time since the command began."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

Report = Callable[[str], None]


def to_stderr() -> Report:
    """A reporter that prints `[  3.2s] text`; the clock starts now."""
    started = time.monotonic()

    def report(text: str) -> None:
        print(f"[{time.monotonic() - started:6.1f}s] {text}", file=sys.stderr, flush=True)

    return report


def silent(text: str) -> None:
    """A reporter that says nothing."""
