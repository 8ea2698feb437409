"""One line of JSON per request on standard output, where systemd's journal picks it up. Nothing per chunk."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any, TextIO

import msgspec

from ..http.exchange import Exchange

_encoder = msgspec.json.Encoder()


class AccessLog:
    """Writes the lines."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._waiting: list[str] = []

    def write(self, exchange: Exchange) -> None:
        """Write the line of an exchange that is over. Lines of one turn of the loop leave in one write."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.append(_line("request", fields_of(exchange)))

    def event(self, event: str, **fields: Any) -> None:
        """Write a line. A reader of standard output that is gone is no reason to stop serving."""
        self._waiting.append(_line(event, fields))
        self._flush()

    def _flush(self) -> None:
        lines, self._waiting = "".join(self._waiting), []
        try:
            self._stream.write(lines)
            self._stream.flush()
        except OSError:
            pass


def _line(event: str, fields: dict[str, Any]) -> str:
    return _encoder.encode({"event": event, **fields}).decode() + "\n"


def fields_of(exchange: Exchange) -> dict[str, Any]:
    """What the line of an exchange says; empty fields are left out."""
    now = time.monotonic_ns()
    fields: dict[str, Any] = {
        "method": exchange.head.method,
        "path": exchange.head.path,
        "status": exchange.status,
        "duration_ms": round((now - exchange.received_ns) / 1e6, 3),
        "client": exchange.client,
        "request_id": exchange.request_id,
    }
    optional: dict[str, Any] = {
        "model": exchange.model,
        "backend": exchange.backend,
        "prompt_tokens": exchange.prompt_tokens,
        "output_tokens": exchange.output_tokens,
        "error": exchange.error,
    }
    if exchange.first_byte_ns:
        optional["first_byte_ms"] = round((exchange.first_byte_ns - exchange.received_ns) / 1e6, 3)
    fields.update({name: value for name, value in optional.items() if value})
    return fields
