"""The load generator's side of HTTP: connections with callbacks, no task per request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter_ns
from typing import cast

from bench.frames import FIRST

MARK = b'"content":"'  # in every event and line that has text, of every target; see `Expected`
_SPACED_MARK = b'"content": "'  # as the standard library's JSON writes it
_FIRST = FIRST.encode()
_END = b"\r\n0\r\n\r\n"


@dataclass(frozen=True)
class Expected:
    """How the right answer looks from outside.

    Answers are decoded and compared once, before the measuring; then it is enough to count.
    """

    marks: int
    is_spaced: bool

    @property
    def mark(self) -> bytes:
        """What is counted."""
        return _SPACED_MARK if self.is_spaced else MARK


def dechunked(body: bytes) -> bytes:
    """The content of a body in chunks, as far as it goes."""
    pieces, position = [], 0
    while (end := body.find(b"\r\n", position)) > 0:
        size = int(body[position:end].split(b";", 1)[0], 16)
        pieces.append(body[end + 2 : end + 2 + size])
        position = end + 4 + size
    return b"".join(pieces)


def count_marks(body: bytes, expected_mark: bytes) -> int:
    """How often the mark is in a body that came in chunks."""
    return dechunked(body).count(expected_mark)


class Client(asyncio.Protocol):
    """One connection. `ask` sends a request; `done` is called when the answer is complete, or cannot become so."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._done: Callable[[Client], None] | None = None
        self._expected = Expected(0, False)
        self._on_marks: Callable[[int, int], None] | None = None
        self._pieces: list[bytes] = []
        self._has_head = False
        self._is_chunked = False
        self._length = 0
        self._size = 0
        self._tail = b""
        self._status = b""
        self.marks = 0
        self.asked_ns = 0
        self.first_ns = 0  # when the first token had come; 0: not yet
        self.is_right = False  # the last answer was the expected one
        self.is_closed = False
        self.problem = ""

    def ask(
        self,
        request: bytes,
        expected: Expected,
        done: Callable[[Client], None],
        on_marks: Callable[[int, int], None] | None = None,
    ) -> None:
        """Send a request.

        :param on_marks: called with the time and the number of marks, at every read that has some.
        """
        assert self._transport is not None
        self._done, self._expected, self._on_marks = done, expected, on_marks
        self._pieces, self._has_head, self._size, self._tail = [], False, 0, b""
        self.marks, self.first_ns, self.is_right, self.problem = 0, 0, False, ""
        self.asked_ns = perf_counter_ns()
        self._transport.write(request)

    def close(self) -> None:
        """End the connection, in the middle of an answer if there is one; `done` is not called."""
        self._done = None
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport, self.is_closed = None, True
        if self._done is not None:
            self.problem = f"the connection was closed in the middle of an answer: {self._received()[-300:]!r}"
            self._finish()

    def data_received(self, data: bytes) -> None:
        if self._done is None:
            return
        self._pieces.append(data)
        if not self._has_head:
            data = b"".join(self._pieces)
            end = data.find(b"\r\n\r\n")
            if end < 0:
                return
            self._read_head(data[:end])
            data = data[end + 4 :]
            self._pieces = [data]
        self._size += len(data)
        mark = self._expected.mark
        joined = self._tail + data
        self._tail = joined[1 - len(mark) :]  # one byte too short to hold a mark that was counted
        found = joined.count(mark)
        if found:
            self.marks += found
            if self._on_marks is not None:
                self._on_marks(perf_counter_ns(), found)
        if not self.first_ns and _FIRST in joined:
            self.first_ns = perf_counter_ns()
        if joined.endswith(_END) if self._is_chunked else self._size >= self._length:
            self._check()
            self._finish()

    def _read_head(self, head: bytes) -> None:
        self._has_head = True
        self._status = head[9:12]
        lowered = head.lower()
        self._is_chunked = b"transfer-encoding: chunked" in lowered
        _, found, rest = lowered.partition(b"\r\ncontent-length:")
        self._length = int(rest.split(b"\r\n", 1)[0]) if found else 0

    def _check(self) -> None:
        if self._status == b"200":
            marks = self.marks
            if marks != self._expected.marks and self._is_chunked:
                marks = count_marks(b"".join(self._pieces), self._expected.mark)  # one was cut by a chunk's frame
            self.is_right = marks == self._expected.marks
        if not self.is_right:
            self.problem = f"status {self._status.decode()}, {self.marks} marks: {self._received()[-300:]!r}"

    def _received(self) -> bytes:
        return b"".join(self._pieces)

    def _finish(self) -> None:
        done, self._done = self._done, None
        self._pieces = []
        if done is not None:
            done(self)


async def connect(port: int, count: int) -> list[Client]:
    """Open connections."""
    loop = asyncio.get_running_loop()
    clients = []
    for _ in range(count):
        _, client = await loop.create_connection(Client, "127.0.0.1", port)
        clients.append(client)
    return clients
