"""Error lines in a unit's journal. No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

ERROR = 3  # syslog's; what is more urgent has a smaller number
MOST_LINES = 20_000  # of a window; a unit that says more than that is told by its last lines
# How each program says "error" in lines that journald takes for information, as it does with all that comes from standard error.
SAID_AS_ERROR = re.compile(
    r"""^(\([^)]*\)\ )?(ERROR|CRITICAL)\ \d\d-\d\d\     # vLLM: "(EngineCore pid=12) ERROR 11-29 06:28:24 [core.py:1]"
      | \blevel=(ERROR|FATAL)\b                       # Ollama
      | ^(ERROR|CRITICAL)\ \S+                        # the adapter, and other programs with Python's own format
      | ^Traceback\ \(most\ recent\ call\ last\)
      | ^(panic|fatal\ error):\ """,  # Go's runtime
    re.VERBOSE,
)
# What may be there although all is well, each with its reason; (program or "", pattern, why).
BENIGN: tuple[tuple[str, str, str], ...] = (
    (
        "systemd",
        r"^Failed to start llm-check\.service",
        "a check in the middle of a switch fails, the next one does not; whether it passes now is a test of its own",
    ),
)


@dataclass(frozen=True)
class Line:
    """One entry; `time` is the host's, in UTC."""

    unit: str
    time: str
    priority: int
    program: str
    text: str

    def __str__(self) -> str:
        return f"{self.unit} {self.time} {self.program}: {self.text[:300]}"


def command(units: Sequence[str], window_s: int) -> str:
    """What the host is asked: entries of these units, and systemd's about them, of the last seconds."""
    named = " ".join(f"-u {unit}" for unit in units)
    return f"journalctl --no-pager -o json -n {MOST_LINES} --since=-{window_s}s {named}"


def parse(text: str) -> list[Line]:
    """journalctl's JSON lines. Raises ValueError or KeyError for anything else."""
    return [_line(json.loads(one)) for one in text.splitlines() if one.strip()]


def _line(entry: dict[str, Any]) -> Line:
    message = entry.get("MESSAGE") or ""
    if isinstance(message, list):  # bytes that are no text
        message = bytes(message).decode(errors="replace")
    when = datetime.fromtimestamp(int(entry["__REALTIME_TIMESTAMP"]) / 1e6, timezone.utc)
    return Line(
        unit=entry.get("UNIT") or entry.get("_SYSTEMD_UNIT") or "?",
        time=when.strftime("%H:%M:%S"),
        priority=int(entry.get("PRIORITY", 6)),
        program=entry.get("SYSLOG_IDENTIFIER") or entry.get("_COMM") or "",
        text=message,
    )


def errors(lines: Iterable[Line]) -> list[Line]:
    """Those that say that something went wrong, without the benign ones."""
    return [line for line in lines if _is_error(line) and not is_benign(line)]


def _is_error(line: Line) -> bool:
    return line.priority <= ERROR or SAID_AS_ERROR.search(line.text) is not None


def is_benign(line: Line) -> bool:
    return any(line.program in ("", program) and re.search(pattern, line.text) for program, pattern, _ in BENIGN)


def seconds(text: str) -> int:
    """`300`, `300s`, `5m` or `1h`. Raises ValueError."""
    found = re.fullmatch(r"(\d+)([smh]?)", text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no time: 300, 300s, 5m or 1h")
    return int(found.group(1)) * {"": 1, "s": 1, "m": 60, "h": 3600}[found.group(2)]
