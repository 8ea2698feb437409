"""The run: every cell on every target in turn, in bounded time; it can be stopped at any moment and keeps what it has."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Any

from bench.host.apis import Ask
from bench.host.cache import hit_rate
from bench.host.prompts import Lengths, asks
from bench.host.summary import OK, Answer, Cell, row
from bench.host.targets import Target, answer, cache_of

WARM_UP = Cell("warm-up", 1, False)


@dataclass(frozen=True)
class Plan:
    """What is measured, and how much of it."""

    cells: tuple[Cell, ...]
    requests: int  # of each cell, to each target
    max_seconds: float
    timeout_s: float
    lengths: Lengths
    seed: int
    salt: str

    def asks(self, cell: Cell, target: str) -> list[Ask]:
        """The requests of a cell to a target."""
        salt = f"{self.salt} {target} {cell.key}"
        return asks(cell.workload, max(self.requests, cell.concurrency), cell.stream, self.lengths, self.seed, salt)


@dataclass
class Measured:
    """What came of a run."""

    answers: list[Answer] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    warm_up: dict[str, str] = field(default_factory=dict)  # target -> how its first request went
    missing: list[str] = field(default_factory=list)  # what there was no time for
    stopped: str = ""  # why the run ended early
    seconds: float = 0.0
    own_busy: float = 0.0  # this program's processor time over the run's time: near 1, it was the limit


class Stop:
    """Ends the run early, by a deadline or by hand."""

    def __init__(self, max_seconds: float) -> None:
        self.why = ""
        self._max_seconds = max_seconds
        self._deadline = time.monotonic() + max_seconds
        self._event = asyncio.Event()

    def now(self, why: str) -> None:
        """Stop."""
        self.why = self.why or why
        self._event.set()

    @property
    def is_set(self) -> bool:
        """Whether no further request may begin."""
        if time.monotonic() >= self._deadline:
            self.now(f"--max-seconds {self._max_seconds:g} were over")
        return bool(self.why)

    async def wait(self) -> None:
        """Return when it is time."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._event.wait(), max(self._deadline - time.monotonic(), 0))
        assert self.is_set


async def measure(
    plan: Plan,
    targets: Sequence[Target],
    models: Mapping[str, str],
    stop: Stop,
    on_answer: Callable[[Cell, str, int, int], None],
) -> Measured:
    """Measure everything.

    :param models: the model of each target, by its name.
    :param on_answer: told the cell, the target, how many requests are over, and of how many.
    """
    found = Measured()
    begun_ns, cpu_s = perf_counter_ns(), time.process_time()
    for target in targets:
        if not stop.is_set:
            one = (await _all(target, models[target.name], WARM_UP, [Ask("Hello", 8, False)], begun_ns, plan, stop))[0]
            found.warm_up[target.name] = (
                f"{one.e2e_ms:.0f} ms" if one.e2e_ms is not None else f"{one.kind}: {one.detail}"
            )
    total = len(plan.cells) * len(targets)
    for index, cell in enumerate(plan.cells):
        for place, target in enumerate(targets):
            over = index * len(targets) + place
            if stop.is_set:
                found.missing.append(f"{target.name}: {cell.key}")
                continue
            wanted = plan.asks(cell, target.name)
            if cell.workload == "prefix-repeated":  # somebody has to be the first
                await _all(target, models[target.name], WARM_UP, wanted[:1], begun_ns, plan, stop)
            before, cell_ns = await cache_of(target), perf_counter_ns()
            answers = await _all(target, models[target.name], cell, wanted, begun_ns, plan, stop)
            wall_s = (perf_counter_ns() - cell_ns) / 1e9
            rate = hit_rate(before, await cache_of(target))
            found.answers += answers
            found.rows.append(
                row(target.name, cell, answers, wall_s, rate) | {"is_partial": len(answers) < len(wanted)}
            )
            found.rows[-1]["is_partial"] |= bool(found.rows[-1]["cut_off"])
            on_answer(cell, target.name, over + 1, total)
    found.stopped = stop.why
    found.seconds = (perf_counter_ns() - begun_ns) / 1e9
    found.own_busy = (time.process_time() - cpu_s) / found.seconds
    return found


async def _all(
    target: Target, model: str, cell: Cell, wanted: Sequence[Ask], begun_ns: int, plan: Plan, stop: Stop
) -> list[Answer]:
    """Ask for all of it, so many at once; what has begun when the run is stopped is cut off."""
    left = list(enumerate(wanted))[::-1]
    answers: list[Answer] = []

    async def work() -> None:
        client = target.client()
        try:
            while left and not stop.is_set:
                number, ask = left.pop()
                answers.append(await answer(target, model, client, cell, number, ask, begun_ns, plan.timeout_s))
        finally:
            client.close()

    workers = [asyncio.create_task(work()) for _ in range(min(cell.concurrency, len(wanted)))]
    stopping = asyncio.create_task(stop.wait())
    all_done = asyncio.gather(*workers)
    either: list[asyncio.Future[Any]] = [all_done, stopping]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if not all_done.done():
        for worker in workers:
            worker.cancel()
    await all_done
    stopping.cancel()
    return sorted(answers, key=lambda one: one.number)


def has_success(found: Measured, target: str) -> bool:
    """Whether a target gave at least one right answer."""
    return any(one.target == target and one.kind == OK for one in found.answers)
