"""Transports that lead nowhere: what the adapter writes is kept, what it should read is fed by the harness."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import h11

from tests.fuzz.findings import Finding


class Transport(asyncio.Transport):
    """One end of a connection. Calls the protocol back from the loop, as a real transport does."""

    def __init__(self, protocol: asyncio.Protocol, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__({"peername": ("127.0.0.1", 50_000)})
        self._protocol = protocol
        self._loop = loop
        self.written = bytearray()
        self.has_sent_eof = False
        self.is_over = False  # closed, or aborted
        self.was_aborted = False
        self.is_paused = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not isinstance(data, bytes):
            raise Finding(f"write of {type(data).__name__}")
        if self.has_sent_eof and data and not self.is_over:
            raise Finding("bytes written after the end of the stream: asyncio raises RuntimeError")
        if not self.is_over:
            self.written += data

    def write_eof(self) -> None:
        self.has_sent_eof = True

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        if not self.is_over:
            self.is_over = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        if not self.is_over:
            self.was_aborted = True
        self.close()

    def is_closing(self) -> bool:
        return self.is_over

    def is_reading(self) -> bool:
        return not self.is_paused and not self.is_over

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False


@dataclass
class Request:
    """A request as it reached the upstream."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass
class Reply:
    """What the upstream does: these bytes, in these pieces, then the end of the stream or silence."""

    pieces: Sequence[bytes] = field(default_factory=list)
    ends: bool = False


class UpstreamTransport(Transport):
    """The upstream's side: reads requests with h11, which refuses what is not HTTP, and answers."""

    def __init__(
        self, protocol: asyncio.Protocol, loop: asyncio.AbstractEventLoop, answer: Callable[[Request], Reply]
    ) -> None:
        super().__init__(protocol, loop)
        self._answer = answer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=2**20)
        self._request: Request | None = None
        self._unsent: list[bytes] = []
        self._ends = False
        self.requests: list[Request] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.is_over:
            return
        # Go takes raw bytes above 0x7f in a target, h11 does not; what they mean for framing is the same: nothing.
        self._http.receive_data(bytes(data).translate(_ASCII) if self._request is None else bytes(data))
        try:
            self._read()
        except h11.RemoteProtocolError as error:
            raise Finding(f"the adapter sent the upstream what is no request: {error}: {bytes(data)[:300]!r}") from None

    def resume_reading(self) -> None:
        super().resume_reading()
        self._loop.call_soon(self._feed)

    def _read(self) -> None:
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Request):
                headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
                self._request = Request(event.method.decode(), event.target.decode(), headers)
            elif isinstance(event, h11.Data) and self._request is not None:
                self._request.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage) and self._request is not None:
                self.requests.append(self._request)
                reply = self._answer(self._request)
                self._request = None
                self._unsent += reply.pieces
                self._ends = reply.ends
                # The answer of the harness is raw bytes, so h11 is told of one of its own.
                self._http.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                self._http.send(h11.EndOfMessage())
                if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
                    self._http.start_next_cycle()
                self._loop.call_soon(self._feed)
            else:
                return

    def _feed(self) -> None:
        if self.is_over or self.is_paused:
            return
        if self._unsent:
            self._protocol.data_received(self._unsent.pop(0))
            self._loop.call_soon(self._feed)
        elif self._ends:
            self.close()


_ASCII = bytes(byte if byte < 0x80 else 0x7E for byte in range(256))


class Loop(asyncio.SelectorEventLoop):
    """An event loop without a network: connections lead to the harness."""

    def __init__(self) -> None:
        super().__init__()
        self.upstreams: list[UpstreamTransport] = []
        self.answer: Callable[[Request], Reply] = lambda request: Reply(ends=True)

    async def create_connection(self, protocol_factory: Any, *_: Any, **__: Any) -> Any:
        protocol = protocol_factory()
        transport = UpstreamTransport(protocol, self, lambda request: self.answer(request))
        self.upstreams.append(transport)
        protocol.connection_made(transport)
        return transport, protocol

    async def settle(self) -> None:
        """Run until nothing is left but timers.

        :raises Finding: it never gets there.
        """
        for _ in range(100_000):
            await asyncio.sleep(0)
            if not self._ready:  # type: ignore[attr-defined]
                return
        raise Finding("the loop never comes to rest")
