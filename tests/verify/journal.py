"""What units wrote into the journal lately, and which of it is an error. Pure, but for the commands that it names.

A unit is judged from its present start on: what it said when it was stopped for a deploy, or before a boot, is another life's. When
systemd had to restart it by itself, the whole window counts, for then the reason is in there, and for what runs to its end.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from roles.layout import NODE_EXPORTER, PROMETHEUS

UNITS_OF_TIME = {"": 1, "s": 1, "m": 60, "h": 3600}
FIELDS = "MESSAGE,PRIORITY,_SYSTEMD_UNIT,UNIT,OBJECT_SYSTEMD_UNIT"
ERROR = 3  # syslog's "err"; smaller is worse
WIDTH = 300

# Services write to standard output, which the journal takes for "info": the level is in the text, as each program writes it.
SAYS_ERROR = re.compile(
    r"^(?:\([^)]*\) )?(?:ERROR|CRITICAL|FATAL)\b"  # vLLM, and Python's logging in the adapter
    r"|^Traceback \(most recent call last\)"
    r"|^(?:panic|fatal error): "  # Go
    r"|\blevel=(?:ERROR|FATAL|error|fatal|crit)\b"  # Ollama and Prometheus 3; in small letters Prometheus 2, exporters, Grafana
    r"|^\[GIN\].*\| 5\d\d \|"  # Ollama's log of requests
    r'|^INFO: .*" 5\d\d\b'  # vLLM's
    r'|^\{"event":"request",.*?"status":(?:5\d\d\b|200\b.*"error":")'  # the adapter's; the latter is a stream that broke off
    r"|\bCUDA error\b|\bOutOfMemoryError\b"
)


@dataclass(frozen=True)
class Benign:
    """Lines that look like an error of `unit` and are none. Raises ValueError without a reason: nothing is passed over silently."""

    unit: str
    pattern: str
    reason: str

    def __post_init__(self) -> None:
        re.compile(self.pattern)
        if not self.reason.strip():
            raise ValueError(f"no reason why {self.pattern!r} of {self.unit} is benign")


KNOWN_BENIGN = (
    Benign(
        "llm-check.service",
        r"^Failed to start llm-check\.service",
        "a check in the middle of a switch fails, the next one does not; whether it passes now is a check of its own",
    ),
    *(
        Benign(
            unit,
            r'"status":503\b.*\bvLLM is (?:not reachable|going down|starting or stopped)',
            "the adapter refuses while vLLM starts or is restarted, as promised; whether vLLM serves is a check of its own",
        )
        for unit in ("ollama-adapter.service", "ollama-adapter-vision.service")
    ),
    Benign(
        NODE_EXPORTER,
        r"^(?=.*\bcollector=diskstats\b).*disabling udev device properties",
        "a host without udev, as in a container, has no more to tell of its disks than their names and numbers",
    ),
    Benign(
        PROMETHEUS,
        r"^(?=.*\bcomponent=notifier\b).*\bError sending alerts?\b",
        "an Alertmanager that takes no alerts is a server of somebody else; a rule of rules/monitoring.yml is about it",
    ),
)


@dataclass(frozen=True)
class Line:
    """One line of the journal; `at` in seconds since 1970."""

    unit: str
    at: float
    priority: int
    text: str

    def __str__(self) -> str:
        time = datetime.fromtimestamp(self.at, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"{self.unit}, {time}: {self.text if len(self.text) <= WIDTH else self.text[: WIDTH - 1] + '…'}"


@dataclass(frozen=True)
class Span:
    """From when on a unit's lines count. `why`: what it begins with."""

    since: float
    why: str


def seconds_of(text: str) -> int:
    """Seconds of "5m", "90s", "1h" or plain "300".

    :raises ValueError: it is none of these.
    """
    found = re.fullmatch(r"(\d+)([smh]?)", text.strip())
    if not found:
        raise ValueError(f"{text!r} is no time; write 300, 90s, 5m or 1h")
    return int(found[1]) * UNITS_OF_TIME[found[2]]


def clock_command(units: Iterable[str]) -> str:
    """A shell command that prints the host's time, when it booted, and when each unit started; for parse_spans."""
    names = shlex.join(sorted(units))
    show = "systemctl show --timestamp=unix"
    return (
        f"echo Now=@$(date +%s); {show} --property=UserspaceTimestamp; echo; "
        f"{show} --property=Id,Type,NRestarts,InactiveExitTimestamp -- {names}"
    )


def parse_spans(text: str, window_s: int) -> dict[str, Span]:
    """By unit, the part of the window that counts.

    :raises ValueError: the host's answer has no time of its own in it.
    """
    head, *blocks = (_pairs(block) for block in text.split("\n\n"))
    now, booted = _time(head.get("Now", "")), _time(head.get("UserspaceTimestamp", ""))
    if now is None:
        raise ValueError(f"the host does not tell its time: {text[:200]!r}")
    spans = {}
    for block in blocks:
        if "Id" in block:
            begins = [(now - window_s, "the window")]
            begins += [(booted, "the boot")] if booted is not None else []
            started, restarts = _time(block.get("InactiveExitTimestamp", "")), block.get("NRestarts", "0")
            if started is not None and restarts in ("", "0") and block.get("Type") != "oneshot":
                begins.append((started, "its present start"))
            spans[block["Id"]] = Span(*max(begins))
    return spans


def _pairs(block: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in block.splitlines() if "=" in line)


def _time(text: str) -> float | None:
    return float(text[1:]) if re.fullmatch(r"@\d+", text) else None


def journal_command(units: Iterable[str], since: float) -> str:
    """A shell command that prints what these units, and systemd about them, said since then; for parse_lines."""
    chosen = shlex.join(word for unit in sorted(units) for word in ("-u", unit))
    return f"journalctl --no-pager --quiet -o json --output-fields={FIELDS} --since=@{int(since)} {chosen}"


def parse_lines(text: str) -> list[Line]:
    """What journalctl printed. A message that is no text comes as a list of bytes, one that is too long as null."""
    lines = []
    for raw in text.splitlines():
        entry: Mapping[str, object] = json.loads(raw)
        message = entry.get("MESSAGE")
        if isinstance(message, list):
            message = bytes(message).decode(errors="replace")
        unit = entry.get("UNIT") or entry.get("OBJECT_SYSTEMD_UNIT") or entry.get("_SYSTEMD_UNIT") or "no unit"
        at = int(str(entry["__REALTIME_TIMESTAMP"])) / 1e6
        lines.append(Line(str(unit), at, int(str(entry.get("PRIORITY", 6))), str(message or "")))
    return lines


def is_error(line: Line) -> bool:
    """By the journal's own level, or by what the program says of it."""
    return line.priority <= ERROR or SAYS_ERROR.search(line.text) is not None


def errors(lines: Iterable[Line], spans: Mapping[str, Span], benign: Sequence[Benign] = KNOWN_BENIGN) -> list[Line]:
    """The errors that count, in the order of the journal."""
    return [
        line
        for line in lines
        if line.unit in spans
        and line.at >= spans[line.unit].since
        and is_error(line)
        and not any(known.unit == line.unit and re.search(known.pattern, line.text) for known in benign)
    ]


def told(found: Sequence[Line], window: str, most: int = 5) -> str:
    """For the person who reads the failure: how many, the first few, and how to see all."""
    units = sorted({line.unit for line in found})
    more = [f"… and {len(found) - most} more"] if len(found) > most else []
    shown = "\n  ".join([*map(str, found[:most]), *more])
    see = " ".join(f"-u {unit}" for unit in units)
    since = datetime.fromtimestamp(min(line.at for line in found), timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    return (
        f"expected no error in the journal for {window}, seen {len(found)}\n  {shown}\n"
        f'  all of it, on the host: journalctl --since "{since}" {see}'
    )
