"""A client that costs little, so that what is measured is the host: httpx took so much of two busy cores that answers which were
there waited half a minute for it. Nothing is tried again, and a kept connection is used as pools use it: the last one back first,
unless it was closed meanwhile.
"""

from __future__ import annotations

import asyncio
import json

import httptools


class NoAnswer(Exception):
    """The text says why: "refused", "reset", "closed" or the name of the error."""


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._parser: httptools.HttpResponseParser = httptools.HttpResponseParser(self)
        self._body = b""
        self.is_usable = True  # for a further request

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of the answer. Raises NoAnswer."""
        if self._transport is None:
            raise NoAnswer("closed")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._answer
        finally:
            self._answer = None

    def close(self) -> None:
        """End it."""
        self.is_usable = False
        if self._transport is not None:
            self._transport.abort()

    # Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"no HTTP: {error}")
            self.close()

    def eof_received(self) -> None:
        self._fail("closed")

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._fail(cause(exc) if exc else "closed")

    def _fail(self, why: str) -> None:
        self.is_usable = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(NoAnswer(why))

    # Called by the parser

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        body, self._body = self._body, b""
        self.is_usable = self.is_usable and self._parser.should_keep_alive()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((self._parser.get_status_code(), body))
        self._parser = httptools.HttpResponseParser(self)


class Client:
    """Asks one port."""

    def __init__(self, address: str, port: int, *, keeps: bool) -> None:
        """:param keeps: connections are used again; else each request has its own."""
        self._address, self._port, self._keeps = address, port, keeps
        self._idle: list[Connection] = []

    async def ask(self, path: str, body: object = None) -> tuple[int, bytes]:
        """GET, or POST of a body as JSON; status and body of the answer. Raises NoAnswer."""
        connection = self._take_idle() or await self._connect()
        try:
            answer = await connection.ask(self._request(path, body))
        except BaseException:
            connection.close()
            raise
        if self._keeps and connection.is_usable:
            self._idle.append(connection)
        else:
            connection.close()
        return answer

    def close(self) -> None:
        """End what is kept."""
        while self._idle:
            self._idle.pop().close()

    def _take_idle(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
            connection.close()
        return None

    async def _connect(self) -> Connection:
        try:
            _, made = await asyncio.get_running_loop().create_connection(Connection, self._address, self._port)
        except OSError as error:
            raise NoAnswer(cause(error)) from error
        return made

    def _request(self, path: str, body: object) -> bytes:
        data = b"" if body is None else json.dumps(body).encode()
        method = "GET" if body is None else "POST"
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._address}:{self._port}\r\n"
        framing = f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n" if data else ""
        return f"{head}{framing}\r\n".encode() + data


def cause(error: Exception) -> str:
    """In a word, what became of a connection."""
    known: dict[type[Exception], str] = {ConnectionRefusedError: "refused", ConnectionResetError: "reset"}
    return known.get(type(error), f"{type(error).__name__}: {error}")
