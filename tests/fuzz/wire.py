"""The running program over real sockets: clients and upstreams that misbehave, a hundred at a time.

After each batch the adapter must answer /health; at the end its memory and its open files are what they were.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import struct
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.contract.adapter_process import AdapterProcess
from tests.contract.stand_in_server import read_request
from tests.fuzz.cutting import pieces_of
from tests.fuzz.findings import Finding, Findings
from tests.fuzz.machine import MAX_BODY_BYTES, MAX_HEAD_BYTES, OWN_MODEL, VISION_MODEL
from tests.fuzz.mutation import inputs
from tests.fuzz.reading_back import check_body, read_answers
from tests.fuzz.targets import QUESTIONS, check_told, healthy
from tests.fuzz.transports import Reply, Request

# The adapter's limits are one or two seconds, and looked at once a second; the rest is for a slow machine.
_HANG_S = 30.0
_HEALTH_S = 10.0
_MAX_GROWTH_BYTES = 16 * 2**20
_WARM_UP_BATCHES = 3
_SETTLE_S = 30.0
WAYS = ("whole", "pieces", "slow", "half-closed", "reset")


@dataclass(frozen=True)
class Job:
    """One connection of a client: what it sends and how; what the upstream does, where the job is about that."""

    data: bytes
    way: str
    reply: Reply | None
    number: int


@dataclass
class Measured:
    """What a run did, and what the adapter held before and after it."""

    executions: int = 0
    memory_before: int = 0
    memory_after: int = 0
    files_before: int = 0
    files_after: int = 0


class _Upstream:
    """Both upstreams in one: what a request gets is planned under its X-Request-Id."""

    def __init__(self) -> None:
        self.plans: dict[str, Reply] = {}
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> asyncio.Server:
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, limit=2**20)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while received := await read_request(reader):
                request = Request(received.method, received.path, received.headers, received.body)
                plan = self.plans.get(received.headers.get("x-request-id", ""))
                reply = healthy(request) if plan is None else plan
                for piece in reply.pieces:
                    writer.write(piece)
                    await writer.drain()
                if reply.ends:
                    break
                if plan is not None:
                    await reader.read(1)  # silent until the adapter gives up
        except (OSError, asyncio.IncompleteReadError, ValueError):
            pass
        finally:
            with contextlib.suppress(OSError):
                writer.close()
                await writer.wait_closed()
            self._writers.discard(writer)

    async def ended(self) -> None:
        """Wait until every connection is closed; the adapter at their other end is gone."""
        while self._writers:
            await asyncio.sleep(0.01)


def jobs(chance: random.Random) -> Iterator[Job]:
    """Connections without end: from the front and from the back in turn."""
    front, events, upstream = (inputs(name, random.Random(chance.random())) for name in ("front", "events", "upstream"))
    number = 0
    while True:
        number += 1
        yield Job(next(front)[2:], chance.choice(WAYS), None, number)
        number += 1
        data = next(upstream if number % 4 else events)
        if len(data) < 3:
            continue
        body = data[3:]
        if not number % 4:
            body = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + body
        reply = Reply(pieces_of(body, data[1], data[2]), ends=not data[0] & 0x80)
        question = QUESTIONS[(data[0] & 0x7F) % len(QUESTIONS)]
        named = question.replace(b"\r\n", b"\r\nX-Request-Id: fuzz-%d\r\nConnection: close\r\n" % number, 1)
        yield Job(named, "whole", reply, number)


def run_wire(findings: Findings, *, seconds: float, seed: int, batches: int = 0, size: int = 100) -> Measured:
    """Run batches until the time is over, or for a number of them."""
    return asyncio.run(_run(findings, seconds, seed, batches, size))


async def _run(findings: Findings, seconds: float, seed: int, batches: int, size: int) -> Measured:
    upstream, measured = _Upstream(), Measured()
    server = await upstream.start()
    source = jobs(random.Random(seed))
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        errors = Path(directory, "stderr")
        with _adapter(Path(directory), errors, upstream.port) as adapter:
            count = 0
            while count < batches if batches else time.monotonic() - started < seconds:
                count += 1
                batch = [next(source) for _ in range(size)]
                seen = errors.stat().st_size
                for job, error in await _batch(adapter, upstream, batch):
                    findings.add(job.data if job.reply is None else b"".join(job.reply.pieces), error)
                measured.executions += size
                text = errors.read_text(encoding="utf-8", errors="replace")[seen:]
                if text:
                    findings.add(
                        text.encode(), Finding(f"the adapter wrote to stderr, {_last_line(text)}: {text[:5000]}")
                    )
                adapter.log.clear()
                upstream.plans.clear()
                if count == min(_WARM_UP_BATCHES, max(batches - 1, 1)):
                    measured.files_before = await _settled(adapter, 0)
                    measured.memory_before = adapter.memory_bytes()
            measured.files_after = await _settled(adapter, measured.files_before)
            measured.memory_after = adapter.memory_bytes()
    server.close()
    await asyncio.wait_for(server.wait_closed(), _SETTLE_S)
    await upstream.ended()
    if measured.files_after > measured.files_before:
        findings.add(b"", Finding(f"open files leak: {measured.files_before} before, {measured.files_after} after"))
    if measured.memory_after - measured.memory_before > _MAX_GROWTH_BYTES:
        findings.add(b"", Finding(f"memory leaks: {measured.memory_before} before, {measured.memory_after} after"))
    return measured


def _adapter(directory: Path, errors: Path, port: int) -> AdapterProcess:
    errors.touch()
    url = f"http://127.0.0.1:{port}"
    limits: dict[str, Any] = {"head_timeout_s": 1, "body_timeout_s": 1, "idle_timeout_s": 1, "stall_timeout_s": 2}
    return AdapterProcess(
        directory,
        command=("sh", "-c", 'exec "$@" 2>>"$FUZZ_STDERR"', "sh"),
        extra_environment={"FUZZ_STDERR": str(errors)},
        server={"max_head_bytes": MAX_HEAD_BYTES, "max_body_bytes": MAX_BODY_BYTES, **limits},
        vllm={
            "url": url, "aliases": [OWN_MODEL], "context_length": 2048, "capabilities": ["completion", "tools"],
            "first_byte_timeout_s": 1, "chunk_timeout_s": 1, "answer_timeout_s": 1,
        },
        vision={"url": url, "models": [VISION_MODEL], "chunk_timeout_s": 1, "list_timeout_s": 1},
    )  # fmt: skip


async def _batch(adapter: AdapterProcess, upstream: _Upstream, batch: list[Job]) -> list[tuple[Job, Finding]]:
    """Run jobs at the same time; what went wrong, and with which."""
    upstream.plans = {f"fuzz-{job.number}": job.reply for job in batch if job.reply is not None}
    results = await asyncio.gather(*(_client(adapter.port, job) for job in batch))
    found: list[tuple[Job, Finding]] = []
    try:
        await asyncio.wait_for(_health(adapter.port), _HEALTH_S)
    except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError) as error:
        raise Finding(f"no /health after a batch: {error!r}, exit status {adapter.process.poll()}") from error
    await _logged(adapter)
    by_client: dict[str, list[dict[str, Any]]] = {}
    for line in list(adapter.log):
        if line["event"] == "request":
            by_client.setdefault(line["client"], []).append(line)
    for job, (client, written) in zip(batch, results, strict=True):
        try:
            _check(job, written, by_client.get(client, []))
        except Finding as error:
            found.append((job, error))
    return found


def _check(job: Job, written: bytes | None, requests: list[dict[str, Any]]) -> None:
    if written is None:
        raise Finding(f"a connection is open after all limits: {job.way}, {job.data[:500]!r}")
    answers = read_answers(written, [request["method"] for request in requests])
    for position, answer in enumerate(answers):
        request = requests[position] if position < len(requests) else {"method": "", "path": ""}
        is_own = request.get("backend") != "vision" and request["method"] != "HEAD"
        if answer.is_complete and is_own and not (job.reply and str(request["path"]).startswith("/v1/")):
            check_body(answer)
        elif not answer.is_complete and job.reply is None and job.way not in ("half-closed", "reset"):
            raise Finding(f"an answer has no end: {answer}")
    if job.reply is not None:
        check_told(job.data, answers)


async def _client(port: int, job: Job) -> tuple[str, bytes | None]:
    """The client's address, and all that it read; None where the adapter never ended the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    host, own_port = writer.get_extra_info("sockname")[:2]
    written = b""
    try:
        with contextlib.suppress(ConnectionError):
            parts = [job.data] if job.way == "whole" else pieces_of(job.data, 3, job.number % 256)
            for part in parts:
                writer.write(part)
                await writer.drain()
                if job.way == "slow":
                    await asyncio.sleep(0.02)
            if job.way == "half-closed":
                writer.write_eof()
            if job.way == "reset":
                connection = writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
                return f"{host}:{own_port}", b""
        deadline = asyncio.get_running_loop().time() + _HANG_S
        with contextlib.suppress(ConnectionError):
            while piece := await asyncio.wait_for(
                reader.read(65_536), max(0.01, deadline - asyncio.get_running_loop().time())
            ):
                written += piece
        return f"{host}:{own_port}", written
    except asyncio.TimeoutError:
        return f"{host}:{own_port}", None
    finally:
        with contextlib.suppress(OSError):
            writer.close()
            await writer.wait_closed()


async def _health(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Request-Id: health\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    if not answer.startswith(b"HTTP/1.1 200 OK"):
        raise Finding(f"/health is not well after a batch: {answer!r}")


async def _logged(adapter: AdapterProcess) -> None:
    """Wait for the log line of /health: all others of the batch stand before it."""
    deadline = time.monotonic() + _HEALTH_S
    while not any(line.get("request_id") == "health" for line in list(adapter.log)):
        if time.monotonic() > deadline:
            raise Finding("no log line for /health")
        await asyncio.sleep(0.01)


async def _settled(adapter: AdapterProcess, wanted: int) -> int:
    """The number of open files once it is down to `wanted`, or once it has not changed for longer than any limit."""
    path = f"/proc/{adapter.process.pid}/fd"
    deadline = time.monotonic() + (_SETTLE_S if wanted else 8)
    lowest = len(os.listdir(path))
    while time.monotonic() < deadline and (not wanted or lowest > wanted):
        await asyncio.sleep(0.2)
        lowest = min(lowest, len(os.listdir(path)))
    return lowest


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1].partition(":")[0][:120]  # of a traceback: the exception's name
