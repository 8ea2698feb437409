"""The adapter's real server and application in this process, without a network."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

from ollama_adapter.application import Application
from ollama_adapter.http.server import ClientConnection, Clients
from ollama_adapter.service.access_log import AccessLog
from ollama_adapter.settings import ServerSettings, Settings, VisionSettings, VllmSettings
from tests.fuzz.findings import Finding
from tests.fuzz.reading_back import Answer, check_body, read_answers
from tests.fuzz.transports import Loop, Reply, Request, Transport

OWN_MODEL = "llama2"
VISION_MODEL = "llava:7b"
MAX_HEAD_BYTES = 4096
MAX_BODY_BYTES = 8192
MAX_PIECE_BYTES = 65_536
_FAR_AHEAD_S = 1e6
# What a connection may hold: a head and what was pipelined behind it, plus the piece that crossed the line.
_MAX_BUFFERED_BYTES = MAX_HEAD_BYTES + 65_536 + MAX_PIECE_BYTES

_MAX_KEPT = 8
_HEADERS = frozenset(
    (
        *("content-type", "content-length", "transfer-encoding", "connection", "date", "location", "allow", "vary"),
        *("retry-after", "www-authenticate", "x-request-id"),
    )
)


class _Errors(logging.Handler):
    """Errors that the adapter logs: it survived them, but a handler of it failed."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


class Machine:
    """One adapter for many runs, so that what a run leaves behind shows."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.loop.set_exception_handler(self._escaped)
        self._raised: list[BaseException] = []
        self._errors = _Errors()
        logger = logging.getLogger("ollama_adapter")
        logger.addHandler(self._errors)
        logger.propagate = False
        self._log = io.StringIO()
        self.requests: list[dict[str, Any]] = []  # of the last run, as the adapter logged them
        settings = Settings(
            server=ServerSettings(max_head_bytes=MAX_HEAD_BYTES, max_body_bytes=MAX_BODY_BYTES),
            vllm=VllmSettings(
                aliases=[OWN_MODEL, "lab-plain", "lab-tools"], context_length=2048, capabilities=["completion", "tools"]
            ),
            vision=VisionSettings(url="http://127.0.0.1:9", models=[VISION_MODEL]),
        )
        self.application = Application(settings, AccessLog(self._log))
        self.application.will_listen_on(["127.0.0.1"])
        self.clients = Clients(settings.server, self.application)

    def run(
        self, pieces: Sequence[bytes], answer: Callable[[Request], Reply], *, ends: bool = False, drains: bool = False
    ) -> list[Answer]:
        """One connection of a client, from its beginning to its end.

        :param answer: what the upstreams do.
        :param ends: the client closes its side after the last piece.
        :param drains: the adapter is told to end while the connection is open.
        :return: what the client got.
        :raises Finding: the adapter broke a promise.
        """
        self.loop.answer = answer
        self._log.seek(0)
        self._log.truncate()
        return self.loop.run_until_complete(self._run(pieces, ends=ends, drains=drains))

    async def _run(self, pieces: Sequence[bytes], *, ends: bool, drains: bool) -> list[Answer]:
        loop = self.loop
        connection = self.clients.connection()
        transport = Transport(connection, loop)
        connection.connection_made(transport)
        for piece in pieces:
            if transport.is_paused:
                await loop.settle()
            if not transport.is_reading():
                break
            connection.data_received(piece)
            self._check_memory(connection)
            await asyncio.sleep(0)
        if ends and not transport.is_over:
            await loop.settle()
            if not connection.eof_received():
                transport.close()
        await loop.settle()
        if drains:
            self.clients.drain()
            await loop.settle()
        self.clients.is_draining = False
        await self._pass_time(transport)
        self._check_nothing_is_left()
        self.requests = requests = [json.loads(line) for line in self._log.getvalue().split("\n") if line]
        answers = read_answers(bytes(transport.written), [request["method"] for request in requests])
        self._check_answers(answers, requests, cut=transport.was_aborted or ends)
        return answers

    async def _pass_time(self, transport: Transport) -> None:
        """Let every limit pass: of the upstreams first, then of the client, who gets two seconds to read a refusal."""
        for _ in range(4):
            now = self.loop.time() + _FAR_AHEAD_S
            self.application.sweep(now)
            await self.loop.settle()
            self.clients.sweep(now)
            await self.loop.settle()
        if not transport.is_over:
            raise Finding("a connection outlives all its limits")

    def _check_memory(self, connection: ClientConnection) -> None:
        held = len(connection._buffer)
        if held > _MAX_BUFFERED_BYTES:
            raise Finding(f"a connection holds too much: {held} bytes")

    def _check_nothing_is_left(self) -> None:
        if self._raised:
            raise self._raised.pop()
        if self._errors.records:
            record = self._errors.records.pop()
            self._errors.records.clear()
            raise record.exc_info[1] if record.exc_info and record.exc_info[1] else Finding(record.getMessage())
        if self.clients.connections:
            self.clients.connections.clear()
            raise Finding("a connection is kept in the list after its end")
        vision = self.application.vision_upstream
        assert vision is not None
        active = vision.active_calls + sum(
            backend.upstream.active_calls for backend in self.application.catalogue.backends
        )
        if active:
            self.application.close()
            raise Finding(f"calls are kept after their end: {active}")
        # A few stay, kept for the next request: the adapter asks its upstreams things of its own.
        self.loop.upstreams = [upstream for upstream in self.loop.upstreams if not upstream.is_over]
        if len(self.loop.upstreams) > _MAX_KEPT:
            raise Finding(f"connections to upstreams pile up: {len(self.loop.upstreams)}")

    @staticmethod
    def _check_answers(answers: list[Answer], requests: list[dict[str, Any]], *, cut: bool) -> None:
        for position, answer in enumerate(answers):
            if not answer.is_complete and not cut and answer.status != 100:
                raise Finding(f"an answer has no end: {answer}")
            is_passed_on = position < len(requests) and requests[position].get("backend") == "vision"
            is_head = position < len(requests) and requests[position]["method"] == "HEAD"
            path = str(requests[position]["path"]) if position < len(requests) else ""
            if not is_passed_on and not path.startswith("/v1/"):  # those have headers of OpenAI's and Anthropic's
                _check_headers(answer)
            if answer.is_complete and not is_passed_on and not is_head:
                check_body(answer)

    def _escaped(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self._raised.append(error if isinstance(error, BaseException) else Finding(str(context.get("message"))))

    def close(self) -> None:
        """End the loop, and whatever a run that went wrong has left on it."""
        self.application.close()
        logging.getLogger("ollama_adapter").removeHandler(self._errors)
        self.loop.run_until_complete(self._end_tasks())
        self.loop.close()

    @staticmethod
    async def _end_tasks() -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _check_headers(answer: Answer) -> None:
    """No header but the adapter's own: another one came out of the request.

    :raises Finding: there is one.
    """
    foreign = {name for name in answer.headers if name not in _HEADERS and not name.startswith("access-control-")}
    if foreign:
        raise Finding(f"a header that a client made up: {sorted(foreign)} in {answer}")
