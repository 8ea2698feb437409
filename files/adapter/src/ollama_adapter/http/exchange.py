"""One request and its answer, as the handlers see them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from . import answer as http_answer
from .error_shapes import NATIVE, ErrorShape
from .head import RequestHead

if TYPE_CHECKING:
    from ..upstream.client import Call
    from .server import ClientConnection

Headers = Iterable[tuple[bytes, bytes]]


class BodyReceiver(Protocol):
    """Who gets the body of a request."""

    def body_piece(self, data: bytes) -> None:
        """Some bytes of the body."""

    def body_end(self) -> None:
        """The body is complete."""


class Exchange:
    """One request and its answer.

    A handler answers once: with `respond`, or with `start`, any number of `send`, and `finish`. `call` is the upstream
    request behind the answer: it is paused while the client is slow, and aborted when the client is gone.
    """

    def __init__(self, connection: ClientConnection, head: RequestHead, request_id: str) -> None:
        self._connection = connection
        self._is_chunked = False
        self._can_add_line = False
        self._line_end = b"\n"
        self._unsent = b""
        self.head = head
        self.request_id = request_id
        self.route = ""  # the path as the table of routes has it; "" where it has none
        self.parameter = ""  # of the path, where the route has one
        self.received_ns = time.monotonic_ns()
        self.receiver: BodyReceiver | None = None
        self.call: Call | None = None
        self.extra_headers: list[tuple[bytes, bytes]] = []
        self.error_shape: ErrorShape = NATIVE
        self.close_after = not head.keep_alive
        self.is_started = False
        self.is_over = False
        self.is_body_complete = not head.has_body
        # for the log
        self.status = 0
        self.model = ""
        self.backend = ""
        self.error = ""
        self.first_byte_ns = 0
        self.prompt_tokens = 0
        self.output_tokens = 0

    @property
    def client(self) -> str:
        """The client's address."""
        return self._connection.peer

    def respond(self, status: int, body: bytes, content_type: bytes = http_answer.JSON, headers: Headers = ()) -> None:
        """The whole answer at once."""
        if self.is_over:
            return
        self.status = status
        self._is_chunked = False
        counted = len(body) <= http_answer.COUNTED_BODY_BYTES
        is_head = self.head.method == "HEAD"
        if status == 204:
            framing, payload = b"", b""
        elif counted:
            framing, payload = b"Content-Length: %d\r\n" % len(body), body
        elif self.head.is_http10 or is_head:
            framing, payload = b"", body
        else:
            framing, payload = b"Transfer-Encoding: chunked\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        self._close_if_unread()
        head = self._head(status, content_type, headers, framing)
        self._connection.write(head if is_head else head + payload)
        self._end()

    def respond_error(self, status: int, message: str, headers: Headers = ()) -> None:
        """An error, in the shape of the route. Where a stream of lines or events has begun it is the last of them; any
        other answer is cut."""
        self.error = message
        shape = self.error_shape
        if not self.is_started or self._unsent:
            self._unsent = b""
            self.respond(status, shape.body(status, message), shape.content_type, headers)
        elif self._can_add_line and not self.is_over:
            self.finish(shape.event(message))
        else:
            self.cut()

    def start(self, status: int, content_type: bytes, headers: Headers = (), framing: bytes | None = None) -> None:
        """Begin an answer that comes in pieces. The head leaves with the first of them.

        :param framing: the header line that says where the body ends; chunks if not given.
        """
        self.status = status
        self.is_started = True
        is_events = content_type.startswith(http_answer.EVENTS)
        self._can_add_line = framing is None and (is_events or content_type.startswith(http_answer.NDJSON))
        self._line_end = b"\n\n" if is_events else b"\n"
        if framing is None:
            self._is_chunked = not self.head.is_http10
            framing = b"Transfer-Encoding: chunked\r\n" if self._is_chunked else b""
        self._close_if_unread()
        self._unsent = self._head(status, content_type, headers, framing)

    def send(self, data: bytes) -> None:
        """Send a piece of the body, one line of a stream for instance: in a chunk of its own, as Ollama does."""
        if self.is_over or not data:
            return
        self._can_add_line = self._can_add_line and data.endswith(self._line_end)
        if self._is_chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if self._unsent:
            data, self._unsent = self._unsent + data, b""
            self.first_byte_ns = time.monotonic_ns()
        self._connection.write(data)

    def send_lines(self, lines: list[bytes]) -> None:
        """Send several lines that came together: each in its chunk, all in one write."""
        if len(lines) == 1 or not self._is_chunked:
            self.send(b"".join(lines))
        elif lines and not self.is_over:
            data = b"".join([b"%x\r\n%b\r\n" % (len(line), line) for line in lines])
            if self._unsent:
                data, self._unsent = self._unsent + data, b""
                self.first_byte_ns = time.monotonic_ns()
            self._connection.write(data)

    def finish(self, last: bytes = b"") -> None:
        """End an answer that came in pieces."""
        if self.is_over:
            return
        if last or self._unsent or self._is_chunked:
            chunk = b"%x\r\n%b\r\n" % (len(last), last) if last and self._is_chunked else last
            self._connection.write(self._unsent + chunk + (b"0\r\n\r\n" if self._is_chunked else b""))
            self._unsent = b""
        self._end()

    def cut(self) -> None:
        """End the connection in the middle of an answer that cannot be completed, so that nobody takes it for whole."""
        if not self.is_over:
            self.is_over = True
            self._connection.drop()

    def pause_body(self, is_paused: bool) -> None:
        """Stop or go on reading the request's body: the upstream is slower than the client."""
        self._connection.pause_reading(is_paused)

    def read_body(self, limit: int, done: Callable[[bytes], None]) -> None:
        """Collect the body and call `done` with it; a larger one is answered 413."""
        self.receiver = BufferedBody(self, limit, done)
        if self.is_body_complete:
            done(b"")

    # Called by the connection

    def gone(self) -> None:
        """The client went away: whatever was being done for it stops."""
        if not self.is_over:
            self.is_over = True
            self.status = 499
            self.error = self.error or "client gone"
        if self.call is not None:
            self.call.abort()
        self._let_go()

    def congested(self, is_congested: bool) -> None:
        """The client reads slower than the answer comes, or has caught up."""
        if self.call is not None:
            self.call.pause(is_congested)

    def _close_if_unread(self) -> None:
        if not self.is_body_complete or self._connection.is_draining:
            self.close_after = True

    def _head(self, status: int, content_type: bytes, headers: Headers, framing: bytes) -> bytes:
        if not framing and status not in (204, 304) and self.head.method != "HEAD":
            self.close_after = True
        return http_answer.head(
            status,
            content_type,
            (*self.extra_headers, *headers),
            framing=framing,
            http10=self.head.is_http10,
            close=self.close_after,
        )

    def _end(self) -> None:
        self.is_over = True
        self._connection.answered(self)
        self._let_go()

    def _let_go(self) -> None:
        """Nobody waits for the garbage collector: receiver and call refer to this exchange, and hold the bodies."""
        self.receiver = None
        self.call = None


class BufferedBody:
    """Collects a body in memory, up to a limit."""

    def __init__(self, exchange: Exchange, limit: int, done: Callable[[bytes], None]) -> None:
        self._exchange = exchange
        self._limit = limit
        self._done = done
        self._pieces: list[bytes] = []
        self.size = 0

    def body_piece(self, data: bytes) -> None:
        """Keep it."""
        self.size += len(data)
        if self.size > self._limit:
            self._refuse()
        else:
            self._pieces.append(data)

    def body_end(self) -> None:
        """Hand it over."""
        self._done(self.so_far())

    def so_far(self) -> bytes:
        """What has come."""
        if len(self._pieces) > 1:
            self._pieces = [b"".join(self._pieces)]
        return self._pieces[0] if self._pieces else b""

    def _refuse(self) -> None:
        self._pieces.clear()
        self._exchange.respond_error(413, f"request body larger than {self._limit} bytes (server.max_body_bytes)")


class DiscardedBody:
    """Reads past a body that nobody wants; a large one is not read to its end, as in Go's server."""

    LIMIT = 262_144

    def __init__(self, exchange: Exchange, done: Callable[[], None]) -> None:
        self._exchange = exchange
        self._done = done
        self._left = self.LIMIT
        if exchange.is_body_complete or (exchange.head.content_length or 0) > self.LIMIT:
            done()

    def body_piece(self, data: bytes) -> None:
        """Drop it."""
        self._left -= len(data)
        if self._left < 0 and not self._exchange.is_over:
            self._done()

    def body_end(self) -> None:
        """Now the answer can go out."""
        self._done()
