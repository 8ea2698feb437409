"""One HTTP/1.1 connection, with callbacks, so that the time of a piece is the time it came. On two busy cores httpx added
half a minute to answers that were there (tests/outage/client.py).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter_ns
from typing import cast
from urllib.parse import urlsplit

import httptools

from bench.host.apis import NoRightAnswer

OnBody = Callable[[bytes, int], None]


class WireError(NoRightAnswer):
    """No whole answer."""


@dataclass(frozen=True)
class Base:
    """Where a server is: the parts of its base URL."""

    url: str
    host: str
    port: int
    is_tls: bool
    prefix: str


def base_of(url: str) -> Base:
    """The parts of `http://host:port/prefix`.

    :raises ValueError: it is no such URL; the text says why.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is not a URL like http://host:11434")
    if parts.query or parts.fragment or parts.username:
        raise ValueError(f"{url!r}: a base URL has no query, fragment or user")
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{url!r}: {error}") from None
    is_tls = parts.scheme == "https"
    return Base(url.rstrip("/"), parts.hostname, port or (443 if is_tls else 80), is_tls, parts.path.rstrip("/"))


class Connection(asyncio.Protocol):
    """A connection that takes one request at a time."""

    def __init__(self, base: Base, key: str) -> None:
        self._base, self._key = base, key
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._done: asyncio.Future[int] | None = None
        self._on_body: OnBody | None = None
        self._has_begun = False  # a byte of the present answer has come
        self._has_head = False
        self._is_framed = False  # its head says where its body ends
        self._now = 0
        self.is_usable = False

    async def ask(self, method: str, path: str, body: bytes, on_body: OnBody) -> int:
        """Send a request and hand the pieces of its body to `on_body`, each with the time it came. The status.

        :raises WireError: there was no whole answer.
        """
        transport = self._transport
        if transport is None or not self.is_usable:
            raise WireError("closed", "the connection was closed")
        self._parser = httptools.HttpResponseParser(self)
        self._on_body, self._has_begun, self._is_framed, self._has_head = on_body, False, False, False
        self._done = asyncio.get_running_loop().create_future()
        host = f"[{self._base.host}]" if ":" in self._base.host else self._base.host
        key = f"Authorization: Bearer {self._key}\r\n" if self._key else ""
        head = (
            f"{method} {self._base.prefix}{path} HTTP/1.1\r\nHost: {host}:{self._base.port}\r\n{key}"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nAccept: */*\r\nUser-Agent: bench-host\r\n\r\n"
        )
        transport.write(head.encode("latin-1") + body)
        try:
            return await self._done
        except asyncio.CancelledError:
            self.close()  # in the middle of an answer: of no further use
            raise
        finally:
            self._done = self._on_body = None

    def close(self) -> None:
        """End it."""
        self.is_usable = False
        if self._transport is not None:
            self._transport.abort()

    # Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self.is_usable = cast(asyncio.Transport, transport), True

    def data_received(self, data: bytes) -> None:
        if self._parser is None or self._done is None:
            self.close()  # nobody asked for this
            return
        self._now, self._has_begun = perf_counter_ns(), True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail("not-http", str(error))
            self.close()

    def eof_received(self) -> None:
        self._ended()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended(exc)
        self._transport = None

    # Called by the parser

    def on_header(self, name: bytes, value: bytes) -> None:
        self._is_framed |= name.lower() in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        self._has_head = True

    def on_body(self, piece: bytes) -> None:
        if self._on_body is not None:
            self._on_body(piece, self._now)

    def on_message_complete(self) -> None:
        assert self._parser is not None
        if not self._parser.should_keep_alive():
            self.close()
        if self._done is not None and not self._done.done():
            self._done.set_result(self._parser.get_status_code())

    def _ended(self, why: Exception | None = None) -> None:
        self.is_usable = False
        said = f" ({why})" if why else ""
        if self._has_head and not self._is_framed and not why:
            self.on_message_complete()  # a body without a length ends with its connection
        elif self._has_begun:
            self._fail("broken-stream", f"the connection was closed in the middle of the answer{said}")
        else:
            self._fail("closed", f"the connection was closed before the answer{said}")

    def _fail(self, kind: str, detail: str) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(WireError(kind, detail))


async def connected(base: Base, key: str) -> Connection:
    """A new connection.

    :raises WireError: there is none.
    """
    loop = asyncio.get_running_loop()
    context = ssl.create_default_context() if base.is_tls else None
    try:
        made = await loop.create_connection(lambda: Connection(base, key), base.host, base.port, ssl=context)
    except ConnectionRefusedError as error:
        raise WireError("refused", str(error)) from None
    except ssl.SSLError as error:
        raise WireError("tls", str(error)) from None
    except socket.gaierror as error:
        raise WireError("unknown-name", f"{base.host}: {error.strerror}") from None
    except OSError as error:
        # With several addresses asyncio folds the errors into one without a number.
        kind = "refused" if "refused" in str(error).lower() else "unreachable"
        raise WireError(kind, str(error)) from None
    return made[1]


class Client:
    """Asks one server, over a connection that is kept between requests."""

    def __init__(self, base: Base, key: str = "") -> None:
        self.base, self._key = base, key
        self._connection: Connection | None = None

    async def ask(self, method: str, path: str, body: bytes, on_body: OnBody, timeout_s: float) -> int:
        """The status of the answer, its body by `on_body`. A kept connection that the server has closed is replaced once.

        :raises WireError: there was no whole answer, or not in time.
        """
        try:
            return await asyncio.wait_for(self._ask(method, path, body, on_body), timeout_s)
        except asyncio.TimeoutError:
            raise WireError("timeout", f"no whole answer within {timeout_s:g} s") from None

    async def _ask(self, method: str, path: str, body: bytes, on_body: OnBody) -> int:
        kept = self._connection
        if kept is not None and kept.is_usable:
            try:
                return await kept.ask(method, path, body, on_body)
            except WireError as error:
                if error.kind != "closed":
                    raise
        self._connection = await connected(self.base, self._key)
        return await self._connection.ask(method, path, body, on_body)

    async def fetch(self, method: str, path: str, body: bytes = b"", timeout_s: float = 15.0) -> tuple[int, bytes]:
        """Status and whole body. Raises WireError."""
        pieces: list[bytes] = []
        status = await self.ask(method, path, body, lambda piece, _: pieces.append(piece), timeout_s)
        return status, b"".join(pieces)

    def close(self) -> None:
        """End its connection."""
        if self._connection is not None:
            self._connection.close()
