"""What is promised to clients during a change, and whether it was kept. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.outage.records import Record, Stream
from tests.outage.summary import of, refusals, summarised

TEXT = ("11434 new", "11434 kept", "11434 generate")
VISION = ("11435 new", "11435 kept", "11435 embed")
BEYOND_START_S = 1.0
REASON_WITHIN_S = 0.1


@dataclass(frozen=True)
class Seen:
    """What was seen of one change."""

    records: Sequence[Record]
    streams: Sequence[Stream] = ()
    began_s: float = 0.0  # the change, on the clock of the records
    ended_s: float = 0.0
    start_s: float | None = None  # of the server that 11434 waits for
    said: Sequence[str] = field(default=())


@dataclass(frozen=True)
class Verdict:
    """One promise."""

    sentence: str
    is_kept: bool
    detail: str


def no_failure(seen: Seen) -> Verdict:
    """11434 answers every request."""
    found = summarised(of(seen.records, *TEXT))
    return Verdict(
        "11434 fails no request",
        found.failed == 0,
        f"{found.failed} of {found.sent} failed {found.kinds or ''}, longest wait {found.worst_latency_s:.2f} s",
    )


def vision(seen: Seen) -> Verdict:
    """11435 answers every request."""
    found = summarised(of(seen.records, *VISION))
    return Verdict("11435 fails no request", found.failed == 0, f"{found.failed} of {found.sent} failed")


def start_time(seen: Seen) -> Verdict:
    """11434 is out for the start of the other server and a second at most, text included."""
    found = summarised(of(seen.records, *TEXT))
    limit_s = (seen.start_s or 0.0) + BEYOND_START_S
    return Verdict(
        "11434 is out for the other server's start and 1 s at most",
        found.failed > 0 and found.outage_s <= limit_s,
        f"out for {found.outage_s:.2f} s, the start took {seen.start_s or 0.0:.2f} s"
        if found.failed
        else "no request failed, so nothing was switched",
    )


def reasons(seen: Seen) -> Verdict:
    """Whoever cannot be answered is told why, soon; only 503s, and only for text."""
    others = summarised(of(seen.records, "11434 new", "11434 kept"))
    text = summarised(of(seen.records, "11434 generate"))
    said = refusals(of(seen.records, "11434 generate"))
    only_told = set(text.kinds) <= {"503"} and said.without_reason == 0 and others.failed == 0
    return Verdict(
        f"11434 answers 503 with a reason within {REASON_WITHIN_S * 1000:.0f} ms",
        said.count > 1 and only_told and said.p99_s <= REASON_WITHIN_S,
        f"{said.count} times 503, 99 % within {said.p99_s * 1000:.0f} ms, the slowest {said.worst_s * 1000:.0f} ms"
        + ("" if only_told else f"; without a reason {said.without_reason}, others {text.kinds} {others.kinds}"),
    )


def whole_streams(seen: Seen) -> Verdict:
    """Streams on their way when the change began end as if nothing happened."""
    busy = on_their_way(seen)
    ends = [one.end for one in seen.streams]
    is_kept = bool(busy) and set(ends) == {"whole"}
    return Verdict("Streams on their way are finished", is_kept, f"on their way {len(busy)}, ends: {counted(ends)}")


def told_streams(seen: Seen) -> Verdict:
    """No stream is cut off without a last line."""
    ends = [one.end for one in seen.streams]
    busy = on_their_way(seen)
    return Verdict(
        "Streams on their way end whole or with an error line",
        bool(busy) and "cut" not in ends,
        f"on their way: {counted([one.end for one in busy])}; all: {counted(ends)}",
    )


def error_lines(seen: Seen) -> Verdict:
    """Where vLLM died, the streams on their way have a last line that says so."""
    busy = on_their_way(seen)
    told = [one for one in busy if one.end == "error line"]
    return Verdict(
        "Streams of a vLLM that died end with an error line",
        bool(busy) and len(told) == len(busy),
        f"{len(told)} of {len(busy)}" + (f": {told[0].told!r}" if told else ""),
    )


PROMISES: dict[str, Callable[[Seen], Verdict]] = {
    "no failure": no_failure,
    "vision": vision,
    "start time": start_time,
    "reasons": reasons,
    "whole streams": whole_streams,
    "told streams": told_streams,
    "error lines": error_lines,
}


def on_their_way(seen: Seen) -> list[Stream]:
    """Streams that had begun when the change did, and ended after that."""
    return [one for one in seen.streams if one.start_s < seen.began_s < one.end_s and one.lines > 0]


def counted(words: Sequence[str]) -> str:
    """`2 whole, 1 error line`."""
    return ", ".join(f"{words.count(word)} {word}" for word in sorted(set(words))) or "none"
