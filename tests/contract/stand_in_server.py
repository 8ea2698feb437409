"""An HTTP server on a thread of its own, which keeps what it received: what the stand-ins have in common."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import threading
from dataclasses import dataclass
from typing import Any


@dataclass
class Received:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The decoded body."""
        return json.loads(self.body)


class StandInServer:
    """An HTTP server on a thread of its own. Subclasses answer."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.connections = 0
        self.running = 0  # streams being written
        self.sent = 0  # pieces of streams written so far
        self.gone = 0  # clients that left in the middle
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    def __enter__(self) -> Any:
        self._thread.start()
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_listening()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def listen(self) -> None:
        """Start listening, on the same port as before if there was one."""

        async def start() -> None:
            self._server = await asyncio.start_server(self._connection, "127.0.0.1", self.port, limit=2**20)
            self.port = self._server.sockets[0].getsockname()[1]

        asyncio.run_coroutine_threadsafe(start(), self._loop).result(10)

    def stop_listening(self) -> None:
        """Go down: nothing listens, and what was connected is cut."""

        async def stop() -> None:
            if self._server is not None:
                # What has been accepted becomes a connection first: asyncio leaks the socket of one that it accepts
                # while its server closes (3.11).
                for listening in self._server.sockets:
                    self._loop.remove_reader(listening.fileno())
                await asyncio.sleep(0.02)
                self._server.close()
                self._server = None
            for writer in list(self._writers):
                writer.transport.abort()
            await asyncio.sleep(0.01)
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result(10)

    async def respond(self, request: Received, writer: asyncio.StreamWriter, is_first: bool) -> bool:
        """Answer a request; False closes the connection."""
        raise NotImplementedError

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            for number in itertools.count():
                request = await read_request(reader)
                if request is None:
                    break
                self.received.append(request)
                if not await self.respond(request, writer, number == 0):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            with contextlib.suppress(Exception):
                writer.close()


async def read_request(reader: asyncio.StreamReader) -> Received | None:
    """Read a request, None at the end of the connection."""
    head = await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""
    if not head:
        return None
    lines = head.decode("latin-1").split("\r\n")
    method, path, _ = lines[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
    body = b""
    if headers.get("transfer-encoding") == "chunked":
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, path, headers, body)


def head(status: int, content_type: str, framing: str) -> bytes:
    """The head of an answer, as uvicorn writes it."""
    kind = f"content-type: {content_type}\r\n" if content_type else ""
    fixed = "date: Mon, 23 Nov 2026 11:27:40 GMT\r\nserver: uvicorn\r\n"
    return f"HTTP/1.1 {status} X\r\n{fixed}{kind}{framing}\r\n\r\n".encode()
