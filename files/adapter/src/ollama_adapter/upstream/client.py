"""The HTTP client of the upstreams: kept connections, callbacks, no task per request.

vLLM closes a connection that was idle for 5 s, so an idle one is used for less than that; a request that still meets a
closing connection is sent once more, but only where not one byte of an answer has come.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, cast
from urllib.parse import urlsplit

import httptools

IDLE_S = 4.0  # vllm-http 6: VLLM_HTTP_TIMEOUT_KEEP_ALIVE is 5 s
_MAX_IDLE = 256
_CONNECT_ATTEMPTS = 2

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """Why an answer did not come, or did not come to its end."""

    reason: str
    is_unreachable: bool = False  # there was no connection: the upstream is down, starting, or being restarted


class Sink(Protocol):
    """Who gets an answer. Exactly one of `ended` and `failed` is the last call, unless the call is aborted."""

    def started(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """The head has come."""

    def piece(self, data: bytes) -> None:
        """Some bytes of the body have come."""

    def ended(self) -> None:
        """The answer is complete."""

    def failed(self, failure: Failure) -> None:
        """There will be nothing more."""

    def writable(self, is_writable: bool) -> None:
        """The upstream takes more of a streamed request body, or asks for a pause."""


class Limits(NamedTuple):
    """How long to wait, in seconds: for the head of the answer, and between its bytes."""

    first_byte_s: float
    gap_s: float


class Sender(Protocol):
    """Takes requests: an `Upstream`, or a `Pool` of them."""

    def send(
        self,
        method: bytes,
        target: bytes,
        sink: Sink,
        limits: Limits,
        *,
        headers: bytes = b"",
        body: bytes | None = b"",
    ) -> Call:
        """Send a request.

        :param headers: further header lines, each with its line end.
        :param body: None: `headers` say how the body is framed, and it follows through `Call.send_body`.
        """
        raise NotImplementedError


class Call:
    """One request on its way. Made by `Sender.send`."""

    def __init__(self, sink: Sink, line: bytes, rest: bytes, limits: Limits, *, is_complete: bool) -> None:
        """:param line: the request line; the upstream's own headers go between it and the `rest`."""
        self.sink = sink
        self.line = line
        self.rest = rest
        self.limits = limits
        self.is_complete = is_complete  # False: a body follows through `send_body`, so the request cannot be repeated
        self.has_answer_bytes = False
        self.has_head = False
        self.is_over = False
        self.is_bound = False  # to one upstream: nobody takes it over
        self.tried: list[Upstream] = []  # those that could not be reached
        self.is_paused = False
        self.keeps_chunks = False  # the sink gets each HTTP chunk of the answer by itself
        self.seen_at = 0.0
        self.connection: _Connection | None = None

    def abort(self) -> None:
        """Give up: the connection is closed, which makes vLLM stop generating. The sink hears nothing more."""
        if self.is_over:
            return
        self.is_over = True
        if self.connection is not None:
            self.connection.drop()

    def pause(self, is_paused: bool) -> None:
        """Stop or go on reading: the client is slower than the upstream."""
        self.is_paused = is_paused
        if self.connection is not None and not self.is_over:
            self.connection.pause(is_paused)

    def send_body(self, data: bytes) -> None:
        """Send a piece of a streamed body, or keep it until there is a connection."""
        if self.connection is None:
            self.rest += data
        elif not self.is_over:
            self.connection.write(data)


def new_call(method: bytes, target: bytes, sink: Sink, limits: Limits, *, headers: bytes, body: bytes | None) -> Call:
    """A request to dispatch. Parameters as in `Sender.send`."""
    length = b"" if body is None or (not body and method == b"GET") else b"Content-Length: %d\r\n" % len(body)
    rest = b"%b%b\r\n%b" % (headers, length, body or b"")
    return Call(sink, b"%b %b HTTP/1.1\r\n" % (method, target), rest, limits, is_complete=body is not None)


class Upstream:
    """An HTTP server to send requests to."""

    def __init__(self, name: str, url: str, connect_timeout_s: float, *, authorization: bytes = b"") -> None:
        """:param name: how error messages call it."""
        parts = urlsplit(url)
        self.name = name
        self.url = url.rstrip("/")
        self._host = parts.hostname or ""
        self._port = parts.port or 80
        self._connect_timeout_s = connect_timeout_s
        key_line = b"Authorization: Bearer %b\r\n" % authorization if authorization else b""
        self.own_headers = b"Host: %b\r\n%b" % (parts.netloc.encode(), key_line)
        # Asked when there is no connection for a call; True takes the call over.
        self.take_over: Callable[[Upstream, Call], bool] = lambda upstream, call: False
        self.failed_connections = 0  # how often it could not be reached
        self._idle: list[_Connection] = []
        self._active: set[Call] = set()
        self._connecting: set[asyncio.Task[None]] = set()

    @property
    def active_calls(self) -> int:
        """Requests on their way."""
        return len(self._active)

    def send(
        self,
        method: bytes,
        target: bytes,
        sink: Sink,
        limits: Limits,
        *,
        headers: bytes = b"",
        body: bytes | None = b"",
    ) -> Call:
        """See `Sender`."""
        call = new_call(method, target, sink, limits, headers=headers, body=body)
        call.is_bound = True
        self.dispatch(call)
        return call

    def dispatch(self, call: Call) -> None:
        """Send a request that has not been sent, or that another upstream could not be reached for."""
        call.seen_at = time.monotonic()
        self._active.add(call)
        # A body that is streamed cannot be sent twice, so it gets a connection that cannot be stale.
        connection = self._take_idle() if call.is_complete else None
        if connection is not None:
            connection.begin(call)
        else:
            self._connect(call)

    def sweep(self, now: float) -> None:
        """Called once a second: closes what was idle too long, ends what was silent too long."""
        for connection in [other for other in self._idle if now - other.idle_since > IDLE_S]:
            self._idle.remove(connection)
            connection.close()
        for call in list(self._active):
            limit = call.limits.gap_s if call.has_head else call.limits.first_byte_s
            if call.is_over:
                self._active.discard(call)
            elif now - call.seen_at > limit and not (call.is_paused and call.has_head):
                what = "was silent for" if call.has_head else "did not answer within"
                self.fail(call, Failure(f"{self.name} {what} {limit:g} s"))

    def close(self) -> None:
        """End every connection."""
        for task in self._connecting:
            task.cancel()
        for call in list(self._active):
            call.abort()
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    # Called by the connections

    def release(self, call: Call, connection: _Connection, *, reusable: bool) -> None:
        """The answer to a call is complete."""
        self._active.discard(call)
        if reusable and len(self._idle) < _MAX_IDLE:
            connection.idle_since = time.monotonic()
            self._idle.append(connection)
        else:
            connection.close()

    def forget(self, connection: _Connection) -> None:
        """A connection was lost."""
        if connection in self._idle:
            self._idle.remove(connection)

    def lost(self, call: Call, connection: _Connection, reason: str) -> None:
        """The connection of a call was lost before the answer was complete."""
        if call.is_over:
            self._active.discard(call)
        elif connection.was_reused and not call.has_answer_bytes and call.is_complete:
            call.connection = None
            self._connect(call)
        else:
            self.fail(call, Failure(reason))

    def fail(self, call: Call, failure: Failure) -> None:
        """End a call that was not answered."""
        self._active.discard(call)
        if not call.is_over:
            call.abort()
            call.sink.failed(failure)

    def _take_idle(self) -> _Connection | None:
        now = time.monotonic()
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable and now - connection.idle_since < IDLE_S:
                return connection
            connection.close()
        return None

    async def _connected(self) -> _Connection:
        """A new connection.

        Tried twice, in half of the time each: where this process itself was held up, the connection and the end of the
        time have both come when it goes on, and the loop looks at its clock first (seen in a soak on busy cores).
        """
        loop = asyncio.get_running_loop()
        for attempt in range(_CONNECT_ATTEMPTS):
            connecting = loop.create_connection(lambda: _Connection(self), self._host, self._port)
            try:
                return (await asyncio.wait_for(connecting, self._connect_timeout_s / _CONNECT_ATTEMPTS))[1]
            except (asyncio.TimeoutError, TimeoutError):
                if attempt + 1 == _CONNECT_ATTEMPTS:
                    raise
        raise AssertionError("there is at least one attempt")

    def _connect(self, call: Call) -> None:
        task = asyncio.get_running_loop().create_task(self._connect_for(call))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect_for(self, call: Call) -> None:
        try:
            protocol = await self._connected()
        except (asyncio.TimeoutError, TimeoutError):
            reason = f"no connection within {self._connect_timeout_s:g} s"
        except OSError as error:
            reason = "connection refused" if isinstance(error, ConnectionRefusedError) else str(error)
        else:
            if call.is_over:
                protocol.close()
                self._active.discard(call)
            else:
                protocol.begin(call)
            return
        self.failed_connections += 1
        self._active.discard(call)
        if call.is_over or (call.is_complete and not call.is_bound and self.take_over(self, call)):
            return
        self.fail(call, Failure(f"{self.name} is not reachable at {self.url}: {reason}", is_unreachable=True))


class _Connection(asyncio.Protocol):
    """One connection to an upstream."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._call: Call | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._is_framed = False
        self._pieces: list[bytes] = []  # of a body, out of one read
        self.was_reused = False
        self.idle_since = 0.0

    @property
    def is_usable(self) -> bool:
        """Whether another request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    # Called by the upstream and its calls

    def begin(self, call: Call) -> None:
        """Send a request on this connection."""
        self.was_reused = self.idle_since > 0
        self._call = call
        call.connection = self
        if call.is_paused:
            self.pause(True)
        self.write(b"".join((call.line, self._upstream.own_headers, call.rest)))

    def write(self, data: bytes) -> None:
        """Send bytes."""
        if self._transport is not None:
            self._transport.write(data)

    def pause(self, is_paused: bool) -> None:
        """Stop or go on reading."""
        if self._transport is None or self._transport.is_closing():
            return
        if is_paused:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.close()

    def drop(self) -> None:
        """End the connection at once, in the middle of whatever it does."""
        if self._transport is not None:
            self._transport.abort()

    # Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; the callbacks below run inside."""
        call = self._call
        if call is None or call.is_over:
            self.drop()
            return
        call.has_answer_bytes = True
        call.seen_at = time.monotonic()
        try:
            self._parser.feed_data(data)
            if self._pieces:
                self._hand_over(call)
        except httptools.HttpParserCallbackError:
            _log.exception("the handler of an answer of %s failed", self._upstream.name)
            self._upstream.fail(call, Failure("internal error"))
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._upstream.fail(call, Failure(f"{self._upstream.name} did not answer in HTTP: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._upstream.forget(self)
        call, self._call = self._call, None
        if call is None:
            return
        if call.has_head and not self._is_framed and exc is None and not call.is_over:
            call.is_over = True  # a body without framing ends with its connection
            self._upstream.release(call, self, reusable=False)
            call.sink.ended()
            return
        self._upstream.lost(call, self, f"{self._upstream.name} closed the connection before the answer was complete")

    def pause_writing(self) -> None:
        if self._call is not None:
            self._call.sink.writable(False)

    def resume_writing(self) -> None:
        if self._call is not None:
            self._call.sink.writable(True)

    # Called by the parser

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        headers, self._headers = self._headers, []
        if self._call is None or status < 200:
            return
        self._is_framed = status in (204, 304) or any(
            name.lower() in (b"content-length", b"transfer-encoding") for name, _ in headers
        )
        self._call.has_head = True
        self._call.sink.started(status, headers)

    def on_body(self, data: bytes) -> None:
        # Called once per HTTP chunk, which is once per token. What one read brought is handed over, and so written to
        # the client, at once: a burst of 512 tokens took 4,900 writes for 17 reads before (measured).
        self._pieces.append(data)

    def on_message_complete(self) -> None:
        call = self._call
        if call is None:
            return
        if self._pieces:
            self._hand_over(call)
        if not call.has_head:
            return  # 100 Continue
        self._call = None
        if call.is_over:
            self.drop()
            return
        call.is_over = True
        if call.is_paused:
            self.pause(False)
        self._upstream.release(call, self, reusable=bool(self._parser.should_keep_alive()) and self.is_usable)
        call.sink.ended()

    def _hand_over(self, call: Call) -> None:
        pieces, self._pieces = self._pieces, []
        if not call.has_head:
            return  # a body behind 100 Continue, or a status below 100: no part of the answer, which is still to come
        for piece in pieces if call.keeps_chunks else (b"".join(pieces),):
            if not call.is_over:
                call.sink.piece(piece)
