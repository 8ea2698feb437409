"""The load: closed loops, paced streams, waves of streams, idle streams. Callbacks; one coroutine waits for each run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter_ns

from bench.client import Client, Expected, connect

_WARM_UP_TIMEOUT_S = 60.0
_STUCK_S = 60.0
_BATCH_TIMEOUT_S = 20.0


class Stuck(Exception):
    """Answers that do not come."""


@dataclass
class Tally:
    """What a run counted."""

    answers: int = 0
    wrong: int = 0
    marks: int = 0  # tokens and what else is counted, in closed loops
    problems: list[str] = field(default_factory=list)

    def add(self, client: Client) -> None:
        """Count an answer."""
        if client.is_right:
            self.answers += 1
        else:
            self.wrong += 1
            if len(self.problems) < 3:
                self.problems.append(client.problem)


@dataclass(frozen=True)
class Question:
    """A request, and how the right answer looks."""

    port: int
    request: bytes
    expected: Expected


Meter = Callable[[], None]  # called at the beginning and at the end of what is measured


async def warm(clients: list[Client], question: Question, times: int = 2) -> Tally:
    """Let every connection get an answer, all at once, so that the target has its connections upstream.

    :raises Stuck: an answer does not come.
    """
    tally = Tally()
    for _ in range(times):
        await _wave(clients, question, tally, None)
    return tally


async def closed_loop(question: Question, connections: int, seconds: float, meter: Meter) -> Tally:
    """So many connections, each asking again as soon as it has its answer.

    :raises Stuck: nothing was answered.
    """
    clients = await connect(question.port, connections)
    try:
        await warm(clients, question)
        tally = Tally()
        is_over = False

        def done(client: Client) -> None:
            if is_over:
                return
            tally.add(client)
            if not client.is_closed:
                client.ask(question.request, question.expected, done, marks)

        def marks(_: int, count: int) -> None:
            tally.marks += count

        meter()
        for client in clients:
            client.ask(question.request, question.expected, done, marks)
        await asyncio.sleep(seconds)
        meter()
        is_over = True
        if not tally.marks and not tally.wrong:
            raise Stuck(f"no answer within {seconds:g} s")
        return tally
    finally:
        _close(clients)


async def count_down(question: Question, connections: int, requests: int, limit_s: float) -> Tally:
    """So many requests over so many connections, or fewer if the time is over before."""
    clients = await connect(question.port, connections)
    tally = Tally()
    finished = asyncio.get_running_loop().create_future()
    asked = 0
    is_over = False

    def ask(client: Client) -> None:
        nonlocal asked
        if asked < requests and not client.is_closed and not is_over:
            asked += 1
            client.ask(question.request, question.expected, done)

    def done(client: Client) -> None:
        tally.add(client)
        if tally.answers + tally.wrong >= requests and not finished.done():
            finished.set_result(None)
        ask(client)

    try:
        for client in clients:
            ask(client)
        await asyncio.wait_for(finished, limit_s)
    except asyncio.TimeoutError:
        pass
    finally:
        is_over = True
        _close(clients)
    return tally


@dataclass
class PacedRun:
    """What came of paced streams within the time that was measured."""

    tokens: int
    gaps_ms: list[float]  # between the tokens of a stream
    tally: Tally


async def paced(question: Question, streams: int, lead_s: float, seconds: float, meter: Meter) -> PacedRun:
    """So many streams that run all the time; measured after a lead, when all of them run.

    :raises Stuck: a stream has not begun within the lead and a minute.
    """
    clients = await connect(question.port, streams)
    run = PacedRun(0, [], Tally())
    is_measuring = False
    last_ns = dict.fromkeys(clients, 0)

    def seen(client: Client) -> Callable[[int, int], None]:
        def marks(now_ns: int, count: int) -> None:
            if is_measuring:
                run.tokens += count
                if last_ns[client]:
                    run.gaps_ms.append((now_ns - last_ns[client]) / 1e6)
            last_ns[client] = now_ns

        return marks

    try:
        for client in clients:
            client.ask(question.request, question.expected, run.tally.add, seen(client))
        await asyncio.sleep(lead_s)
        deadline = perf_counter_ns() + int(_STUCK_S * 1e9)
        while not all(client.first_ns for client in clients):
            if perf_counter_ns() > deadline:
                raise Stuck("not every stream has begun")
            await asyncio.sleep(0.05)
        meter()
        is_measuring = True
        await asyncio.sleep(seconds)
        is_measuring = False
        meter()
        return run
    finally:
        _close(clients)


async def waves(question: Question, streams: int, count: int) -> tuple[list[float], Tally]:
    """Waves of streams that begin together; the next one begins when all of one are complete.

    :return: how long each first token took, in milliseconds.
    :raises Stuck: an answer does not come.
    """
    clients = await connect(question.port, streams)
    tally, latencies = Tally(), list[float]()
    try:
        await warm(clients, question)
        for _ in range(count):
            await _wave(clients, question, tally, latencies)
        return latencies, tally
    finally:
        _close(clients)


async def joining(running: Question, streams: int, joined: Question, lead_s: float, seconds: float) -> PacedRun:
    """Short streams that begin one after the other while so many others run.

    :return: in place of the gaps, how long each first token took.
    :raises Stuck: a stream does not begin.
    """
    others = await connect(running.port, streams)
    (client,) = await connect(joined.port, 1)
    run, ignored = PacedRun(0, [], Tally()), Tally()
    try:
        for other in others:
            other.ask(running.request, running.expected, ignored.add)
        await asyncio.sleep(lead_s)
        await warm([client], joined)
        deadline = perf_counter_ns() + int(seconds * 1e9)
        while perf_counter_ns() < deadline:
            await _wave([client], joined, run.tally, run.gaps_ms)
            await asyncio.sleep(0.007)  # not a divisor of the streams' interval, so that every phase of it is met
        return run
    finally:
        _close([*others, client])


async def idle_streams(question: Question, streams: int, look: Callable[[], int]) -> tuple[int, int]:
    """Open streams whose upstream falls silent after the first token.

    :return: how many are open, fewer than wanted where a target takes no more, and what `look` says then.
    :raises Stuck: not one has begun, or one was answered wrongly.
    """
    clients: list[Client] = []
    tally = Tally()
    try:
        for _ in range(0, streams, 50):  # in batches: the target accepts some before the next come
            batch = await connect(question.port, min(50, streams - len(clients)))
            clients += batch
            for client in batch:
                client.ask(question.request, question.expected, tally.add)
            deadline = perf_counter_ns() + int(_BATCH_TIMEOUT_S * 1e9)
            while not all(client.first_ns for client in batch) and perf_counter_ns() < deadline and not tally.wrong:
                await asyncio.sleep(0.01)
            if not all(client.first_ns for client in batch):
                break
        begun = sum(client.first_ns > 0 for client in clients)
        if tally.wrong or not begun:
            raise Stuck(f"no stream began, or one of {len(clients)} ended: {tally.problems[:1]}")
        return begun, look()
    finally:
        _close(clients)


async def quiet(cpu_ns: Callable[[], int], limit_s: float = 120.0) -> bool:
    """Wait until a process has worked off what it was left with: less than a fifth of a core for a quarter of a second.

    :return: False where it is still busy after the limit.
    """
    deadline = perf_counter_ns() + int(limit_s * 1e9)
    while perf_counter_ns() < deadline:
        before, since = cpu_ns(), perf_counter_ns()
        await asyncio.sleep(0.25)
        if cpu_ns() - before < (perf_counter_ns() - since) / 5:
            return True
    return False


async def _wave(clients: list[Client], question: Question, tally: Tally, latencies: list[float] | None) -> None:
    left = len(clients)
    finished = asyncio.get_running_loop().create_future()

    def done(client: Client) -> None:
        nonlocal left
        tally.add(client)
        if latencies is not None and client.is_right:
            latencies.append((client.first_ns - client.asked_ns) / 1e6)
        left -= 1
        if not left and not finished.done():
            finished.set_result(None)

    if any(client.is_closed for client in clients):
        raise Stuck(f"a connection was closed between two requests: {tally.problems[:1]}")
    for client in clients:
        client.ask(question.request, question.expected, done)
    try:
        await asyncio.wait_for(finished, _WARM_UP_TIMEOUT_S)
    except asyncio.TimeoutError:
        raise Stuck(f"{left} of {len(clients)} answers did not come within {_WARM_UP_TIMEOUT_S:g} s") from None


def _close(clients: list[Client]) -> None:
    for client in clients:
        client.close()
