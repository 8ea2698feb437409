"""Asks a host on both ports, whatever became of the requests before: a slow answer holds up no other one.

async with Prober(address, SERIES) as prober:
    ...                       # something happens to the host
prober.records                # every request, those of the last moment included
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

import httpx

from tests.outage.client import Client, NoAnswer
from tests.outage.records import Record, Stream

TEXT_MODEL, EMBEDDING_MODEL = "llama3.2", "nomic-embed-text"  # the first is served in both phases
MOST_IN_FLIGHT = 1000  # of a series; what would be more is written down as failed
ANSWER_WITHIN_S = 300.0  # a busy machine answers late; how long answers took is judged elsewhere
GENERATE = {"model": TEXT_MODEL, "prompt": "Hello", "stream": False, "options": {"num_predict": 1}}
EMBED = {"model": EMBEDDING_MODEL, "input": "Hello"}
# The grammar has the model write this many numbers, so it surely is in the middle of them when something happens.
NUMBERS_A_STREAM = 300
NUMBERS = {"type": "array", "items": {"const": 42}, "minItems": NUMBERS_A_STREAM, "maxItems": NUMBERS_A_STREAM}
LONG = {"model": TEXT_MODEL, "prompt": "Numbers", "format": NUMBERS, "options": {"num_predict": 1500}}


@dataclass(frozen=True)
class Series:
    """The same request again and again. With `keeps` connections are kept and used again, else each request has its own."""

    name: str
    port: int
    path: str
    interval_s: float
    body: object = None  # None: GET
    keeps: bool = False


SERIES = (
    Series("11434 new", 11434, "/api/version", 0.02),
    Series("11434 kept", 11434, "/api/version", 0.02, keeps=True),
    Series("11434 generate", 11434, "/api/generate", 0.1, GENERATE),
    Series("11435 new", 11435, "/api/version", 0.02),
    Series("11435 kept", 11435, "/api/version", 0.02, keeps=True),
    Series("11435 embed", 11435, "/api/embed", 0.2, EMBED, keeps=True),
)


class Prober:
    """Sends every series from entering until leaving; then waits for the answers, `ANSWER_WITHIN_S` at most."""

    def __init__(self, address: str, series: Sequence[Series] = SERIES, streams: int = 0) -> None:
        """:param streams: how many long answers of 11434 are always being read."""
        self.records: list[Record] = []
        self.streams: list[Stream] = []
        self._address = address
        self._series = series
        self._readers = streams
        self._lines: dict[int, int] = {}  # of the streams on their way, by reader
        self._began = 0.0
        self._in_flight: set[asyncio.Task[None]] = set()
        self._enough = asyncio.Event()

    async def __aenter__(self) -> Prober:
        self._began = time.monotonic()
        self._clients = [Client(self._address, series.port, keeps=series.keeps) for series in self._series]
        self._tasks = [
            asyncio.create_task(self._send_all(series, client))
            for series, client in zip(self._series, self._clients, strict=True)
        ] + [asyncio.create_task(self._read_streams(number)) for number in range(self._readers)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._enough.set()
        try:
            await asyncio.gather(*self._tasks)
            await asyncio.gather(*self._in_flight)
        finally:
            for client in self._clients:
                client.close()

    def now_s(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def has_answered(self, series: str, since_s: float) -> bool:
        """Whether a request of this series that was sent after that time was answered with 200."""
        newest = (one for one in reversed(self.records[-2000:]) if one.series == series)
        return any(one.start_s >= since_s and not one.is_failed for one in newest)

    async def _send_all(self, series: Series, client: Client) -> None:
        due_s, busy = 0.0, set[asyncio.Task[None]]()
        while not self._enough.is_set():
            if (ahead_s := due_s - self.now_s()) > 0:
                await asyncio.sleep(ahead_s)
            if len(busy) < MOST_IN_FLIGHT:
                task = asyncio.create_task(self._send(series, client, due_s))
                for held in (busy, self._in_flight):
                    held.add(task)
                    task.add_done_callback(held.discard)
            else:
                now_s = self.now_s()
                self.records.append(Record(series.name, due_s, now_s, now_s, problem="not sent, too many on their way"))
            due_s += series.interval_s

    async def _send(self, series: Series, client: Client, due_s: float) -> None:
        start_s, status, problem, told = self.now_s(), None, "", ""
        try:
            status, body = await asyncio.wait_for(client.ask(series.path, series.body), ANSWER_WITHIN_S)
            told = reason_in(body) if status != 200 else ""
        except NoAnswer as error:
            problem = str(error)
        except asyncio.TimeoutError:
            problem = f"nothing for {ANSWER_WITHIN_S:.0f} s"
        self.records.append(Record(series.name, due_s, start_s, self.now_s(), status, problem, told))

    def has_fresh_stream(self) -> bool:
        """Whether all streams are on their way, and one of them will be for a while."""
        lines = self._lines.values()
        return len(lines) == self._readers and all(lines) and (not lines or min(lines) < NUMBERS_A_STREAM // 4)

    async def _read_streams(self, number: int) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=ANSWER_WITHIN_S) as client:
            while not self._enough.is_set():
                seen = await self._read_stream(client, number)
                self._lines.pop(number, None)
                self.streams.append(seen)
                await asyncio.sleep(0.05 if seen.end == "whole" else 0.5)

    async def _read_stream(self, client: httpx.AsyncClient, number: int) -> Stream:
        start_s, lines, last = self.now_s(), 0, ""
        url = f"http://{self._address}:11434/api/generate"
        try:
            async with client.stream("POST", url, json=LONG) as answer:
                async for line in answer.aiter_lines():
                    lines, last = lines + 1, line
                    self._lines[number] = lines
                status = answer.status_code
        except httpx.HTTPError as error:
            return Stream(start_s, self.now_s(), lines, "cut", type(error).__name__)
        end, told = end_of_stream(status, last)
        return Stream(start_s, self.now_s(), lines, end, told)


def reason_in(body: bytes) -> str:
    """The text under "error" in a JSON answer; "" where there is none."""
    try:
        found = json.loads(body)
    except ValueError:
        return ""
    told = found.get("error") if isinstance(found, dict) else None
    return told if isinstance(told, str) else ""


def end_of_stream(status: int, last_line: str) -> tuple[str, str]:
    """How a stream of Ollama's API ended that was not cut, and the reason it gave."""
    told = reason_in(last_line.encode())
    if status != 200:
        return "refused", told
    if told:
        return "error line", told
    try:
        is_whole = json.loads(last_line).get("done") is True
    except ValueError:
        is_whole = False
    return ("whole", "") if is_whole else ("cut", "the last line is no end")
