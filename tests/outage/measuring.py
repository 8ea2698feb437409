"""One change, watched by clients: probe, change, wait until text is served again, judge."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from tests.outage.changes import LIMIT_S, Change, ChangeFailed, Scene, start_s
from tests.outage.prober import SERIES, Prober, Series
from tests.outage.promises import PROMISES, TEXT, VISION, Seen
from tests.outage.summary import of, refusals, summarised, worst_lateness_s

BEFORE_S = 3.0
GENERATE = "11434 generate"


def watched(change: Change, scene: Scene) -> Seen:
    """Make a change and see what clients see of it.

    :raises ChangeFailed: it did not work, or text is not served again after it.
    """
    seen = clients_of(scene.host.address, lambda: change.do(scene), streams=change.streams, settles_s=change.settles_s)
    return replace(seen, start_s=start_s(scene.host, change.starts)) if change.starts else seen


def clients_of(
    address: str,
    do: Callable[[], list[str]],
    series: Sequence[Series] = SERIES,
    streams: int = 0,
    settles_s: float = 2.0,
) -> Seen:
    """What clients of a host see while `do` does something to it. Begins and ends with a text that was made.

    :param series: with "11434 generate" among them.
    :raises ChangeFailed: no text is made.
    """
    return asyncio.run(_clients_of(Prober(address, series, streams), do, settles_s))


async def _clients_of(prober: Prober, do: Callable[[], list[str]], settles_s: float) -> Seen:
    async with prober:
        await _until(lambda: prober.has_answered(GENERATE, 0.0), "11434 makes no token")
        await asyncio.sleep(BEFORE_S)
        await _until(prober.has_fresh_stream, "11434 makes no long answers")
        began_s = prober.now_s()
        said = await asyncio.to_thread(do)
        ended_s = prober.now_s()
        await _until(lambda: prober.has_answered(GENERATE, ended_s), "11434 makes no token after the change")
        await asyncio.sleep(settles_s)
    return Seen(prober.records, prober.streams, began_s, ended_s, said=said)


async def _until(is_so: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + LIMIT_S
    while not is_so():
        if time.monotonic() > end:
            raise ChangeFailed(f"{what}, {LIMIT_S} s long")
        await asyncio.sleep(0.02)


def as_json(change: Change, seen: Seen) -> dict[str, Any]:
    """What was seen, in numbers, with the verdicts."""
    return {
        "name": change.name,
        "title": change.title,
        "took_s": round(seen.ended_s - seen.began_s, 3),
        "start_s": seen.start_s,
        "text": asdict(summarised(of(seen.records, *TEXT))),
        "vision": asdict(summarised(of(seen.records, *VISION))),
        "series": {name: asdict(summarised(of(seen.records, name))) for name in (*TEXT, *VISION)},
        "refusals": asdict(refusals(of(seen.records, GENERATE))),
        "streams": [asdict(one) for one in seen.streams],
        "lateness_s": worst_lateness_s(seen.records),
        "said": list(seen.said),
        "verdicts": [asdict(PROMISES[name](seen)) for name in change.promises],
    }
