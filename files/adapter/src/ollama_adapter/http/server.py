"""The side of the clients: connections, framing, limits. What is done with a request is the application's business."""

from __future__ import annotations

import asyncio
import fcntl
import secrets
import sys
import termios
from typing import Protocol, cast

from ..settings import ServerSettings
from . import answer as http_answer
from .body import ChunkedBody, LengthBody
from .exchange import Exchange
from .head import Refusal, end_of_head, parse_head

_LINGER_S = 2.0
_FIRST_REQUEST_WITHIN_S = 1.0
_MAX_PIPELINED_BYTES = 65_536


class Application(Protocol):
    """What the connections call."""

    def begin(self, exchange: Exchange) -> None:
        """A head has come. Either answer it, or set `exchange.receiver` to get the body."""

    def ended(self, exchange: Exchange) -> None:
        """The exchange is over, one way or another: write the log line."""


class Clients:
    """All connections of clients, and the factory of new ones."""

    def __init__(self, settings: ServerSettings, application: Application) -> None:
        self.settings = settings
        self.application = application
        self.connections: set[ClientConnection] = set()
        self.is_draining = False
        self._id_prefix = secrets.token_hex(5)
        self._id_count = 0

    def connection(self) -> ClientConnection:
        """A protocol for a new connection."""
        return ClientConnection(self)

    def next_request_id(self) -> str:
        """An id that no other request of this host has."""
        self._id_count += 1
        return f"{self._id_prefix}-{self._id_count}"

    def sweep(self, now: float) -> None:
        """Called once a second: ends connections that were too slow, or idle too long."""
        for connection in list(self.connections):
            connection.check_time(now)

    def drain(self) -> None:
        """From now on each answer is the last one on its connection, and says so."""
        self.is_draining = True

    def close_idle(self) -> None:
        """Take no further requests; idle connections end now, busy ones after their answer.

        A connection on which nothing has come yet was made a moment ago: its request is on its way: that is awaited.
        """
        for connection in list(self.connections):
            connection.close_if_idle(spares_new=True)
        asyncio.get_running_loop().call_later(_FIRST_REQUEST_WITHIN_S, self._close_new)

    def _close_new(self) -> None:
        for connection in list(self.connections):
            connection.close_if_idle()

    def abort(self, reason: str) -> None:
        """End what is left. A stream gets a last line that says why."""
        for connection in list(self.connections):
            connection.abort(reason)


class ClientConnection(asyncio.Protocol):
    """One connection of a client. Requests are answered one after the other; a second one waits unparsed."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._settings = clients.settings
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._searched = 0
        self._body: LengthBody | ChunkedBody | None = None
        self._exchange: Exchange | None = None
        self._is_lingering = False
        self._is_new = True  # nothing has come yet
        self._is_reading_paused = False
        self._wants_pause = False
        self._is_processing = False
        self._since = 0.0  # of the state that has a time limit
        self._stalled_since = 0.0
        self.peer = ""

    @property
    def is_draining(self) -> bool:
        """The process is about to end: answers say that the connection closes."""
        return self._clients.is_draining

    @property
    def is_idle(self) -> bool:
        """No request is being answered."""
        return self._exchange is None

    # Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.peer = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else ""
        self._since = self._loop.time()
        self._clients.connections.add(self)
        if len(self._clients.connections) > self._settings.max_connections:
            self._refuse(Refusal("503 Service Unavailable: too many connections"))

    def data_received(self, data: bytes) -> None:
        if self._is_lingering:
            return
        if self._body is None and not self._buffer and self._exchange is None:
            self._since = self._loop.time()  # of the first byte of a head: a trickle does not move it
        elif self._body is not None:
            self._since = self._loop.time()
        self._is_new = False
        self._buffer = self._buffer + data if self._buffer else data
        self._process()

    def connection_lost(self, exc: Exception | None) -> None:
        self._clients.connections.discard(self)
        self._transport = None
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.gone()
            self._clients.application.ended(exchange)

    def pause_writing(self) -> None:
        """The client reads slower than the answer comes: the upstream waits, nothing is queued here."""
        self._stalled_since = self._loop.time()
        if self._exchange is not None:
            self._exchange.congested(True)

    def resume_writing(self) -> None:
        self._stalled_since = 0.0
        if self._exchange is not None:
            self._exchange.congested(False)

    # Called by the exchange

    def write(self, data: bytes) -> None:
        """Send bytes."""
        if self._transport is not None:
            self._transport.write(data)

    def drop(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def pause_reading(self, is_paused: bool) -> None:
        """The receiver of the body cannot keep up, or has caught up."""
        self._wants_pause = is_paused
        self._apply_pause()

    def answered(self, exchange: Exchange) -> None:
        """The answer is written; go on with the next request, or end."""
        if exchange is not self._exchange:
            return
        self._exchange = None
        self._clients.application.ended(exchange)
        self._since = self._loop.time()
        if exchange.close_after or self.is_draining:
            if exchange.is_body_complete and not self._buffer and self._transport is not None:
                self._transport.close()
            else:
                self._linger()
            return
        if self._buffer and not self._is_processing:
            self._loop.call_soon(self._process)
        self._apply_pause()

    # Called by `Clients`

    def check_time(self, now: float) -> None:
        """End the connection where something takes too long."""
        settings, waited = self._settings, now - self._since
        if self._is_lingering:
            if waited > _LINGER_S:
                self.drop()
        elif self._stalled_since and now - self._stalled_since > settings.stall_timeout_s:
            self.drop()
        elif self._body is not None:
            if waited > settings.body_timeout_s and not self._wants_pause:
                self._refuse(Refusal("408 Request Timeout"))
        elif self._exchange is None and self._buffer:
            if waited > settings.head_timeout_s:
                self._refuse(Refusal("408 Request Timeout"))
        elif self._exchange is None and waited > settings.idle_timeout_s and self._transport is not None:
            self._transport.close()

    def close_if_idle(self, spares_new: bool = False) -> None:
        """End the connection unless it is in the middle of something, or new."""
        if spares_new and self._is_new:
            return
        if self._exchange is None and not self._buffer and self._transport is not None and not self._has_unread():
            self._transport.close()

    def _has_unread(self) -> bool:
        """Whether a request has come that was not read yet: a close would take it away without a word."""
        sock = self._transport.get_extra_info("socket") if self._transport is not None else None
        if sock is None:
            return False
        waiting = fcntl.ioctl(sock.fileno(), termios.FIONREAD, bytes(4))
        return int.from_bytes(waiting, sys.byteorder) > 0

    def abort(self, reason: str) -> None:
        """End the connection; an answer that is on its way is told why."""
        exchange = self._exchange
        if exchange is not None:
            if exchange.call is not None:
                exchange.call.abort()
            exchange.close_after = True
            exchange.respond_error(503, reason)
        elif self._transport is not None:
            self._transport.close()

    # Requests

    def _process(self) -> None:
        """Work through what has come: heads while no request is being answered, bodies as they come."""
        if self._is_processing:
            return
        self._is_processing = True
        try:
            while self._buffer and not self._is_lingering and self._transport is not None:
                if self._body is not None:
                    self._read_body(self._body)
                elif self._exchange is not None or not self._read_head():
                    break
        except Refusal as error:
            self._refuse(error)
        finally:
            self._is_processing = False
        self._apply_pause()

    def _read_head(self) -> bool:
        if not self._searched:
            self._buffer = self._buffer.lstrip(b"\r\n")
        end = end_of_head(self._buffer, self._searched)
        if end < 0 or end > self._settings.max_head_bytes:
            if max(end, len(self._buffer)) > self._settings.max_head_bytes:
                raise Refusal("431 Request Header Fields Too Large")
            self._searched = len(self._buffer)
            return False
        head = parse_head(self._buffer[:end])
        self._buffer, self._searched = self._buffer[end:], 0
        exchange = self._exchange = Exchange(self, head, self._request_id(head.header(b"x-request-id")))
        if head.is_chunked:
            self._body = ChunkedBody()
        elif head.content_length:
            self._body = LengthBody(head.content_length)
        self._clients.application.begin(exchange)
        if self._body is not None and not exchange.is_over and head.expects_continue:
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    def _read_body(self, body: LengthBody | ChunkedBody) -> None:
        data, self._buffer = self._buffer, b""
        content, self._buffer = body.feed(data)
        exchange = self._exchange
        if exchange is None:  # answered before its body had come
            self._body = None if body.is_complete else body
            return
        if content and exchange.receiver is not None:
            exchange.receiver.body_piece(content)
        if body.is_complete:
            self._body = None
            exchange.is_body_complete = True
            if exchange.receiver is not None and not exchange.is_over:
                exchange.receiver.body_end()

    def _request_id(self, given: str) -> str:
        """The client's request id if it has a sane one, else a new one."""
        if given and len(given) <= 128 and given.isascii() and given.isprintable() and " " not in given:
            return given
        return self._clients.next_request_id()

    def _refuse(self, error: Refusal) -> None:
        """Answer what is no request, or no longer one, and end the connection."""
        exchange, self._exchange = self._exchange, None
        if exchange is None or not exchange.is_started:
            self.write(http_answer.refusal(error))
        if exchange is not None:
            exchange.gone()
            exchange.status, exchange.error = int(error.status[:3]), error.status
            self._clients.application.ended(exchange)
        self._linger()

    def _linger(self) -> None:
        """Close in two steps: what the client still sends is read and dropped for a while, because closing with unread
        bytes resets the connection and can destroy the answer before the client has read it."""
        self._is_lingering = True
        self._buffer, self._body = b"", None
        self._since = self._loop.time()
        self._apply_pause()
        if self._transport is not None and self._transport.can_write_eof():
            self._transport.write_eof()

    def _apply_pause(self) -> None:
        is_full = self._body is None and len(self._buffer) > _MAX_PIPELINED_BYTES and self._exchange is not None
        wanted = not self._is_lingering and (self._wants_pause or is_full)
        if wanted == self._is_reading_paused or self._transport is None or self._transport.is_closing():
            return
        self._is_reading_paused = wanted
        if wanted:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
