"""A client that reports exactly what it saw. The framing is read by h11, which is strict about it."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable

import h11

from tests.soak.accounting import Ending, Observation
from tests.soak.load import Manner, Request

SLOW_READ_BYTES, SLOW_PAUSE_S = 2_048, 0.05
READ_BYTES = 65_536
MAX_IDLE_CONNECTIONS = 4
MAX_IDLE_S = 5.0  # far below the adapter's own limit: who closes first is then no question


class Connection:
    """One connection to the adapter."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.http = h11.Connection(h11.CLIENT)
        self.idle_since = 0.0

    def close(self, *, resets: bool = False) -> None:
        """Close it; with `resets` the other side gets a RST (SO_LINGER with no time, socket(7))."""
        if resets:
            sock: socket.socket = self.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class Client:
    """Sends requests to one address, and keeps a few connections open for the next ones."""

    def __init__(self, address: str, port: int, hang_s: float) -> None:
        """:param hang_s: how long nothing may come until that is a hang."""
        self._address, self._port, self._hang_s = address, port, hang_s
        self._idle: list[Connection] = []
        self.retries = 0

    def close(self) -> None:
        """Close what is open."""
        while self._idle:
            self._idle.pop().close()

    async def send(
        self, request: Request, manner: Manner, request_id: str, begun: Callable[[], None] = lambda: None
    ) -> Observation:
        """Send one request and see what comes of it; `begun` is called with the first bytes of the answer's body.

        A connection that was left open may be closed by the other side just when it is used again. Every HTTP client
        then tries once more on a new one (RFC 9112, 9.3.1), if nothing has come back yet, and so does this one.
        """
        connection = self._take_idle() if manner.reuses else None
        if connection is not None:
            seen = await self._exchange(connection, request, manner, request_id, begun)
            if seen.ending is not Ending.CUT or seen.status is not None:
                return seen
            self.retries += 1
        try:
            connection = await asyncio.wait_for(self._connect(manner), self._hang_s)
        except asyncio.TimeoutError:
            return Observation(Ending.UNREACHABLE, f"no connection after {self._hang_s:.0f} s")
        except OSError as error:
            return Observation(Ending.UNREACHABLE, str(error))
        return await self._exchange(connection, request, manner, request_id, begun)

    def _take_idle(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.reader.at_eof() and time.monotonic() - connection.idle_since < MAX_IDLE_S:
                return connection
            connection.close()
        return None

    async def _connect(self, manner: Manner) -> Connection:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            if manner.is_slow:  # before the connection: it decides how much the other side may send ahead
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_READ_BYTES)
            await asyncio.get_running_loop().sock_connect(sock, (self._address, self._port))
            limit = SLOW_READ_BYTES if manner.is_slow else READ_BYTES
            return Connection(*await asyncio.open_connection(sock=sock, limit=limit))
        except BaseException:
            sock.close()
            raise

    async def _exchange(
        self, connection: Connection, request: Request, manner: Manner, request_id: str, begun: Callable[[], None]
    ) -> Observation:
        reading = _Reading(connection, manner, self._hang_s, begun)
        try:
            connection.writer.write(self._bytes(connection, request, request_id))
            await asyncio.wait_for(connection.writer.drain(), self._hang_s)
            seen = await reading.to_the_end()
        except asyncio.TimeoutError:
            seen = reading.observation(Ending.HANG, f"nothing for {self._hang_s:.0f} s")
        except OSError as error:
            seen = reading.observation(Ending.CUT, str(error) or type(error).__name__)
        except h11.RemoteProtocolError as error:
            seen = reading.observation(Ending.CUT if reading.is_at_end else Ending.GARBLED, str(error))
        finally:
            self._keep_or_close(connection, manner)
        return seen

    def _bytes(self, connection: Connection, request: Request, request_id: str) -> bytes:
        headers = [
            ("Host", f"{self._address}:{self._port}"),
            ("X-Request-Id", request_id),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(request.body))),
        ]
        head = connection.http.send(h11.Request(method=request.method, target=request.path, headers=headers)) or b""
        body = connection.http.send(h11.Data(data=request.body)) or b"" if request.body else b""
        return head + body + (connection.http.send(h11.EndOfMessage()) or b"")

    def _keep_or_close(self, connection: Connection, manner: Manner) -> None:
        http = connection.http
        is_free = http.our_state is h11.DONE and http.their_state is h11.DONE and not http.trailing_data[0]
        if is_free and manner.reuses and not manner.is_slow and len(self._idle) < MAX_IDLE_CONNECTIONS:
            http.start_next_cycle()
            connection.idle_since = time.monotonic()
            self._idle.append(connection)
        else:
            connection.close(resets=manner.drops and manner.resets)


class _Reading:
    """Reads one answer."""

    def __init__(self, connection: Connection, manner: Manner, hang_s: float, begun: Callable[[], None]) -> None:
        self._begun = begun
        self._connection = connection
        self._manner = manner
        self._hang_s = hang_s
        self._deadline: float | None = None
        if manner.drop_after_s is not None:
            self._deadline = time.monotonic() + manner.drop_after_s
        self._status: int | None = None
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self.is_at_end = False

    def observation(self, ending: Ending, detail: str = "") -> Observation:
        """What was seen until now."""
        return Observation(ending, detail, self._status, self._headers, bytes(self._body))

    async def to_the_end(self) -> Observation:
        """Read until the answer is complete or this client goes away.

        Raises TimeoutError, OSError, and RemoteProtocolError for what is not HTTP or ends too early.
        """
        http = self._connection.http
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                data = await self._more()
                if data is None:
                    when = "before the answer" if self._status is None else f"after {len(self._body)} bytes"
                    return self.observation(Ending.DROPPED, when)
                self.is_at_end = not data
                http.receive_data(data)
            elif isinstance(event, h11.Response):
                self._status = event.status_code
                self._headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
            elif isinstance(event, h11.Data):
                self._begun()
                self._body += event.data
                limit = self._manner.drop_after_bytes
                if limit is not None and len(self._body) >= limit:
                    return self.observation(Ending.DROPPED, f"after {len(self._body)} bytes")
            elif isinstance(event, h11.EndOfMessage):
                return self.observation(Ending.COMPLETE)
            elif isinstance(event, h11.ConnectionClosed):
                return self.observation(Ending.CUT, "the connection was closed")

    async def _more(self) -> bytes | None:
        """Some bytes, none at the end; None when it is time to go."""
        timeout_s, goes = self._hang_s, False
        if self._deadline is not None:
            left_s = self._deadline - time.monotonic()
            if left_s <= 0:
                return None
            goes = left_s < timeout_s
            timeout_s = min(timeout_s, left_s)
        if self._manner.is_slow:
            await asyncio.sleep(SLOW_PAUSE_S)
        try:
            size = SLOW_READ_BYTES if self._manner.is_slow else READ_BYTES
            return await asyncio.wait_for(self._connection.reader.read(size), timeout_s)
        except asyncio.TimeoutError:
            if goes:
                return None
            raise
