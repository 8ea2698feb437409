"""The mock upstream: answers as vLLM does, from prebuilt bytes, so that it is faster than any proxy before it.

    python -m bench.mock --port 18100

Callbacks on uvloop, no task per request. `bench/plan.py` says how a prompt asks for an answer.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
from functools import lru_cache
from typing import cast

import uvloop

from bench import frames
from bench.plan import BURST, SILENT, STEPS, BadPlan, Plan, parse, plan_in

CONTEXT = 8192
_FIXED = b"date: Mon, 23 Nov 2026 11:27:40 GMT\r\nserver: uvicorn\r\n"
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\n" + _FIXED + b"content-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
_END = b"0\r\n\r\n"
_GOLDEN = 0.618033988749895  # successive multiples of it, modulo 1, fill an interval evenly


def chunk(data: bytes) -> bytes:
    """An HTTP chunk. vLLM's server writes one per event."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def answer(body: bytes, status: bytes = b"200 OK", content_type: bytes = b"application/json") -> bytes:
    """A whole answer."""
    return b"HTTP/1.1 %b\r\n%bcontent-length: %d\r\ncontent-type: %b\r\n\r\n%b" % (
        status, _FIXED, len(body), content_type, body,
    )  # fmt: skip


def fixed_answers() -> dict[bytes, bytes]:
    """What other routes say, by method and path."""
    model = {
        "id": frames.SERVED_MODEL, "object": "model", "created": 1795496611, "owned_by": "vllm",
        "root": "/models/llm", "parent": None, "max_model_len": CONTEXT,
    }  # fmt: skip
    tokenized = {"count": 2, "max_model_len": CONTEXT, "tokens": [1, 2], "token_strs": None}
    return {
        b"GET /v1/models": answer(json.dumps({"object": "list", "data": [model]}).encode()),
        b"GET /health": answer(b""),
        b"GET /version": answer(b'{"version":"0.32.0"}'),
        b"POST /tokenize": answer(json.dumps(tokenized).encode()),
    }


class Parts:
    """The pieces that answers of one plan are written in."""

    def __init__(self, plan: Plan, *, usage: bool) -> None:
        events = frames.stream(plan.tokens, usage=usage)
        self.plan = plan
        self.opening = _STREAM_HEAD + chunk(events.first)
        self.tokens = [chunk(event) for event in events.tokens]
        *others, done = [event + b"\n\n" for event in events.last.removesuffix(b"\n\n").split(b"\n\n")]
        self.closing = b"".join(chunk(event) for event in [*others, done]) + _END
        self.all = self.opening + b"".join(self.tokens) + self.closing


@lru_cache(maxsize=256)
def parts_of(found: bytes, usage: bool) -> Parts:
    """The pieces for the plan that was found in a prompt."""
    return Parts(parse(found), usage=usage)


@lru_cache(maxsize=256)
def whole_of(found: bytes) -> bytes:
    """The answer for the plan that was found in a prompt."""
    return answer(frames.whole(parse(found).tokens))


class Clock:
    """Ticks that all streams of one interval share."""

    def __init__(self, loop: asyncio.AbstractEventLoop, interval_s: float) -> None:
        self._loop = loop
        self._interval_s = interval_s
        self._streams: set[Connection] = set()
        self._next = 0.0

    def join(self, stream: Connection) -> None:
        """From the next tick on, the stream gets one token a tick."""
        self._streams.add(stream)
        if len(self._streams) == 1:
            self._next = self._loop.time() + self._interval_s
            self._loop.call_at(self._next, self._tick)

    def leave(self, stream: Connection) -> None:
        """No more ticks."""
        self._streams.discard(stream)

    def _tick(self) -> None:
        for stream in list(self._streams):
            if not stream.write_next():
                self._streams.discard(stream)
        if self._streams:
            self._next += self._interval_s
            self._loop.call_at(self._next, self._tick)


class Mock:
    """What the connections share."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.fixed = fixed_answers()
        self.clocks: dict[int, Clock] = {}
        self.count = 0

    def clock(self, interval_ms: int) -> Clock:
        """The clock of this interval."""
        if interval_ms not in self.clocks:
            self.clocks[interval_ms] = Clock(self.loop, interval_ms / 1000)
        return self.clocks[interval_ms]


class Connection(asyncio.Protocol):
    """One connection of a proxy, or of the load generator itself."""

    def __init__(self, mock: Mock) -> None:
        self._mock = mock
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._parts: Parts | None = None
        self._position = 0
        self._next = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._parts is not None:
            self._mock.clock(self._parts.plan.interval_ms).leave(self)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            length = _content_length(head)
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            self._respond(head[: head.find(b" HTTP/")], body)

    def write_next(self) -> bool:
        """Write the next token; False after the last one, or when the proxy is gone."""
        parts = self._parts
        if self._transport is None or parts is None:
            return False
        token = parts.tokens[self._position]
        self._position += 1
        if self._position < len(parts.tokens):
            self._transport.write(token)
            return True
        self._transport.write(token + parts.closing)
        self._parts = None
        return False

    def _respond(self, request: bytes, body: bytes) -> None:
        assert self._transport is not None
        if request != b"POST /v1/chat/completions":
            missing = answer(b'{"detail":"Not Found"}', b"404 Not Found")
            self._transport.write(self._mock.fixed.get(request, missing))
            return
        try:
            found = plan_in(body)
            if b'"stream":true' not in body and b'"stream": true' not in body:
                self._transport.write(whole_of(found))
                return
            parts = parts_of(found, b"include_usage" in body)
        except BadPlan as error:
            text = json.dumps({"error": {"message": str(error), "type": "BadRequestError", "code": 400}})
            self._transport.write(answer(text.encode(), b"400 Bad Request"))
            return
        pace = parts.plan.pace
        if pace == BURST:
            self._transport.write(parts.all)
            return
        self._transport.write(parts.opening)
        self._parts, self._position = parts, 0
        if pace == SILENT:
            self._transport.write(parts.tokens[0])
        elif pace == STEPS:
            self._mock.clock(parts.plan.interval_ms).join(self)
        else:
            self._mock.count += 1
            phase = self._mock.count * _GOLDEN % 1
            self._next = self._mock.loop.time() + phase * parts.plan.interval_ms / 1000
            self._mock.loop.call_at(self._next, self._spread)

    def _spread(self) -> None:
        parts = self._parts
        if parts is not None and self.write_next():
            self._next += parts.plan.interval_ms / 1000
            self._mock.loop.call_at(self._next, self._spread)


def _content_length(head: bytes) -> int:
    lowered = head.lower()
    start = lowered.find(b"\r\ncontent-length:")
    if start < 0:
        return 0
    return int(lowered[start + 17 :].split(b"\r\n", 1)[0])


async def serve(port: int) -> None:
    """Serve until the process is ended."""
    mock = Mock()
    server = await mock.loop.create_server(lambda: Connection(mock), "127.0.0.1", port, backlog=4096)
    gc.collect()
    gc.freeze()
    gc.disable()
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.mock", description="The mock upstream of the benchmark.")
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
