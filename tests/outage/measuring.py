"""One change, watched by clients: probe, change, wait until text is served again, judge."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from tests.outage.changes import LIMIT_S, Change, ChangeFailed, Scene, start_s
from tests.outage.prober import Prober
from tests.outage.promises import PROMISES, TEXT, VISION, Seen
from tests.outage.summary import of, refusals, summarised, worst_lateness_s

BEFORE_S = 3.0
GENERATE = "11434 generate"


async def watch(change: Change, scene: Scene) -> Seen:
    """Make a change and see what clients see of it.

    :raises ChangeFailed: it did not work, or text is not served again after it.
    """
    async with Prober(scene.host.address, streams=change.streams) as prober:
        await _until_answered(prober, 0.0)
        await asyncio.sleep(BEFORE_S)
        began_s = prober.now_s()
        said = await asyncio.to_thread(change.do, scene)
        ended_s = prober.now_s()
        await _until_answered(prober, ended_s)
        await asyncio.sleep(change.settles_s)
    took_s = await asyncio.to_thread(start_s, scene.host, change.starts) if change.starts else None
    return Seen(prober.records, prober.streams, began_s, ended_s, took_s, said)


async def _until_answered(prober: Prober, since_s: float) -> None:
    end_s = prober.now_s() + LIMIT_S
    while not prober.has_answered(GENERATE, since_s):
        if prober.now_s() > end_s:
            raise ChangeFailed(f"11434 makes no token, {LIMIT_S} s after the change")
        await asyncio.sleep(0.1)


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
