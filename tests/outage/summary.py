"""From records to numbers. Pure: no clock, no network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from tests.outage.records import Record


@dataclass(frozen=True)
class Summary:
    """One series of requests, or several together."""

    sent: int
    failed: int
    kinds: dict[str, int]  # of the failed ones
    longest_outage_s: float
    outage_s: float  # from the first failed request to the first one answered after the last failed one
    worst_latency_s: float  # of those answered with 200
    told: dict[str, int] = field(default_factory=dict)  # how often each reason was given


@dataclass(frozen=True)
class Refusals:
    """Answers with 503: how long they took, and how many gave no reason."""

    count: int
    without_reason: int
    p99_s: float
    worst_s: float


def outages(records: Iterable[Record]) -> list[tuple[float, float]]:
    """Each time in which every request that was sent failed: (start of the first of them, start of the next answered one).

    One that no answered request follows ends with its last failed one.
    """
    found = []
    runs = [
        (failed, list(run))
        for failed, run in groupby(sorted(records, key=lambda one: one.start_s), key=lambda one: one.is_failed)
    ]
    for number, (failed, run) in enumerate(runs):
        if failed:
            end = runs[number + 1][1][0].start_s if number + 1 < len(runs) else max(one.end_s for one in run)
            found.append((run[0].start_s, end))
    return found


def summarised(records: Sequence[Record]) -> Summary:
    """The numbers of some requests; raises ValueError where there are none, which would look like success."""
    if not records:
        raise ValueError("no request was sent: nothing was measured")
    failed = [one for one in records if one.is_failed]
    # Series by series: requests of another one that were answered in between do not end an outage.
    windows = [window for name in {one.series for one in failed} for window in outages(of(records, name))]
    return Summary(
        sent=len(records),
        failed=len(failed),
        kinds=dict(Counter(one.kind for one in failed).most_common()),
        longest_outage_s=max((end - start for start, end in windows), default=0.0),
        outage_s=max(end for _, end in windows) - min(start for start, _ in windows) if windows else 0.0,
        worst_latency_s=max((one.latency_s for one in records if not one.is_failed), default=0.0),
        told=dict(Counter(one.told for one in failed if one.told).most_common()),
    )


def refusals(records: Iterable[Record]) -> Refusals:
    """Of the answers with 503. Their times are of requests sent after the first of them was given: who waits for an answer of a
    server when it dies cannot be told sooner.
    """
    refused = [one for one in records if one.status == 503]
    known_s = min((one.end_s for one in refused), default=0.0)
    took_s = sorted(one.latency_s for one in refused if one.start_s >= known_s)
    return Refusals(
        count=len(refused),
        without_reason=sum(not one.told for one in refused),
        p99_s=took_s[quantile_index(len(took_s), 0.99)] if took_s else 0.0,
        worst_s=took_s[-1] if took_s else 0.0,
    )


def quantile_index(count: int, share: float) -> int:
    """Where, in `count` sorted values, the smallest one lies that `share` of them do not exceed."""
    return max(0, min(count - 1, -(-int(count * share * 1000) // 1000) - 1))


def of(records: Iterable[Record], *series: str) -> list[Record]:
    """The records of these series."""
    return [one for one in records if one.series in series]


def worst_lateness_s(records: Iterable[Record]) -> float:
    """How much later than planned a request was sent: the prober's own trouble, not the host's."""
    return max((one.start_s - one.due_s for one in records), default=0.0)
