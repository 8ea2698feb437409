"""What became of each request, decided from what its client saw; and the adapter's own log held against it. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Shape(Enum):
    """How a good answer looks."""

    LINES = "lines of JSON, the last with done"
    FINAL = "one object with done"
    OBJECT = "one object"
    EVENTS = "server-sent events, the last [DONE]"


class Ending(Enum):
    """How an exchange ended on the wire."""

    COMPLETE = "the answer's framing is complete"
    DROPPED = "the client went away, as planned"
    UNREACHABLE = "no connection"
    CUT = "the connection ended inside an answer, or before it"
    HANG = "nothing came for too long"
    GARBLED = "not HTTP"


class Outcome(Enum):
    """What the promise knows."""

    COMPLETED = "completed"
    REFUSED = "refused with a reason"
    ERROR_LINE = "error line in the stream"
    DROPPED = "dropped by the client"
    LOST = "LOST"


TOLD = (Outcome.REFUSED, Outcome.ERROR_LINE)


@dataclass(frozen=True)
class Observation:
    """One exchange as its client saw it; header names in lower case."""

    ending: Ending
    detail: str = ""
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Verdict:
    """The outcome, the reason for all but the completed, and what else about the answer breaks the promise."""

    outcome: Outcome
    reason: str = ""
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A request that was sent, and what became of it. Times are seconds since the start of the run."""

    request_id: str
    kind: str
    started_s: float
    ended_s: float
    status: int | None
    verdict: Verdict


@dataclass(frozen=True)
class Window:
    """A time in which a request may be told that it cannot be served."""

    started_s: float
    ended_s: float

    def touches(self, entry: Entry) -> bool:
        return entry.started_s <= self.ended_s and self.started_s <= entry.ended_s


def judge(shape: Shape, expected: frozenset[int], request_id: str, seen: Observation) -> Verdict:
    """The verdict on one exchange.

    :param expected: the statuses that are a good answer to this request; an error status among them is one with a reason.
    """
    faults = tuple(_faults(request_id, seen))
    if seen.ending is Ending.DROPPED:
        return Verdict(Outcome.DROPPED, seen.detail, faults)
    if seen.ending is not Ending.COMPLETE or seen.status is None:
        return Verdict(Outcome.LOST, f"{seen.ending.value}: {seen.detail}".rstrip(": "), faults)
    if seen.status == 200:
        outcome, reason = _JUDGES[shape](seen.body)
        return Verdict(outcome, reason, faults)
    message = _error_of(_object(seen.body))
    if message is None:
        return Verdict(Outcome.LOST, f"status {seen.status} without a reason: {seen.body[:200]!r}", faults)
    if seen.status in expected:
        return Verdict(Outcome.COMPLETED, message, faults)
    return Verdict(Outcome.REFUSED, f"{seen.status} {message}", faults)


def _faults(request_id: str, seen: Observation) -> Iterable[str]:
    if seen.status is None:
        return
    returned = seen.headers.get("x-request-id")
    if returned != request_id:
        yield f"X-Request-Id came back as {returned!r}"
    if seen.status == 503 and not seen.headers.get("retry-after", "").isdigit():
        yield "503 without Retry-After"


def _judge_lines(body: bytes) -> tuple[Outcome, str]:
    if not body.endswith(b"\n"):
        return Outcome.LOST, f"the last line has no end: {body[-200:]!r}"
    values = [_object(line) for line in body[:-1].split(b"\n")]
    if None in values:
        return Outcome.LOST, f"line {values.index(None) + 1} of {len(values)} is no JSON object"
    *before, last = [value for value in values if value is not None]
    if any(value.get("done") or "error" in value for value in before):
        return Outcome.LOST, "lines after the last one"
    message = _error_of(last)
    if message is not None:
        return Outcome.ERROR_LINE, message
    return (Outcome.COMPLETED, "") if last.get("done") is True else (Outcome.LOST, "silent end: no line with done")


def _judge_final(body: bytes) -> tuple[Outcome, str]:
    value = _object(body)
    if value is None:
        return Outcome.LOST, f"no JSON object: {body[:200]!r}"
    return (Outcome.COMPLETED, "") if value.get("done") is True else (Outcome.LOST, "an answer without done")


def _judge_object(body: bytes) -> tuple[Outcome, str]:
    value = _object(body)
    if value is None:
        return Outcome.LOST, f"no JSON object: {body[:200]!r}"
    return (Outcome.LOST, "an error with status 200") if "error" in value else (Outcome.COMPLETED, "")


def _judge_events(body: bytes) -> tuple[Outcome, str]:
    if not body.endswith(b"\n\n"):
        return Outcome.LOST, f"the last event has no end: {body[-200:]!r}"
    *before, last = [event.removeprefix(b"data: ") for event in body[:-2].split(b"\n\n")]
    values = [_object(event) for event in before]
    if None in values:
        return Outcome.LOST, f"event {values.index(None) + 1} of {len(values) + 1} is no JSON object"
    told = next((message for value in values if (message := _error_of(value)) is not None), None)
    if last == b"[DONE]":
        return (Outcome.COMPLETED, "") if told is None else (Outcome.ERROR_LINE, told)
    message = _error_of(_object(last))
    return (Outcome.LOST, "silent end: no [DONE]") if message is None else (Outcome.ERROR_LINE, message)


_JUDGES = {
    Shape.LINES: _judge_lines,
    Shape.FINAL: _judge_final,
    Shape.OBJECT: _judge_object,
    Shape.EVENTS: _judge_events,
}


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(text.decode("utf-8"))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _error_of(value: Mapping[str, Any] | None) -> str | None:
    """The reason in Ollama's shape or in OpenAI's; None where there is none, or an empty one."""
    error = value.get("error") if value else None
    message = error.get("message") if isinstance(error, dict) else error
    return message if isinstance(message, str) and message.strip() else None


def told_without_cause(entries: Iterable[Entry], windows: Iterable[Window]) -> list[Entry]:
    """Requests that were refused or ended early although nothing was being restarted."""
    listed = list(windows)
    return [
        entry
        for entry in entries
        if entry.verdict.outcome in TOLD and not any(window.touches(entry) for window in listed)
    ]


def log_discrepancies(lines: Iterable[str], entries: Iterable[Entry], prefix: str) -> list[str]:
    """Where the adapter's log and the clients disagree: every id has one line, with the status that its client saw.

    :param lines: the adapter's output; what is no line of a request is passed over.
    :param prefix: of the ids of this run; other clients' requests are passed over.
    """
    statuses: dict[str, list[int]] = {}
    for line in lines:
        value = _object(line.encode())
        if value is not None and value.get("event") == "request" and str(value.get("request_id")).startswith(prefix):
            statuses.setdefault(str(value["request_id"]), []).append(int(value.get("status") or 0))
    problems = []
    sent = set()
    for entry in entries:
        sent.add(entry.request_id)
        logged = statuses.get(entry.request_id, [])
        name = f"{entry.request_id} ({entry.kind}, {entry.verdict.outcome.value})"
        if len(logged) != 1:
            problems.append(f"{name}: {len(logged)} lines in the adapter's log")
        elif entry.verdict.outcome not in (Outcome.DROPPED, Outcome.LOST) and logged[0] != entry.status:
            problems.append(f"{name}: the log says status {logged[0]}, the client saw {entry.status}")
    return [*problems, *(f"{name}: in the adapter's log, never sent" for name in sorted(statuses.keys() - sent))]


def counts(entries: Iterable[Entry]) -> dict[str, dict[str, int]]:
    """Requests by kind and outcome, and in `all`."""
    table: dict[str, Counter[str]] = {"all": Counter()}
    for entry in entries:
        for row in ("all", entry.kind):
            table.setdefault(row, Counter())[entry.verdict.outcome.value] += 1
    return {row: {outcome.value: table[row][outcome.value] for outcome in Outcome} for row in sorted(table)}
