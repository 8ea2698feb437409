"""How far the run is: a bar on a terminal, a line for each step elsewhere. On stderr."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from bench.host.summary import Cell

_WIDTH = 30


class Progress:
    """Draws. `close` ends the bar's line."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stderr
        self._is_terminal = self._out.isatty()
        self._begun = time.monotonic()

    def __call__(self, cell: Cell, target: str, over: int, total: int) -> None:
        """A cell of a target is over."""
        elapsed_s = time.monotonic() - self._begun
        text = f"{target}: {cell.key}"
        if self._is_terminal:
            full = _WIDTH * over // total
            left_s = elapsed_s / over * (total - over)
            bar = "█" * full + "░" * (_WIDTH - full)
            print(
                f"\r{bar} {over}/{total}, about {left_s:.0f} s left  {text:<50.50}", end="", file=self._out, flush=True
            )
        else:
            print(f"[{elapsed_s:6.1f}s] {over}/{total} {text}", file=self._out, flush=True)

    def close(self) -> None:
        """Nothing more is drawn."""
        if self._is_terminal:
            print(file=self._out, flush=True)
