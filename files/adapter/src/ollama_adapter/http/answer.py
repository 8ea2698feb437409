"""Heads of answers, in the order in which Go's server writes them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import lru_cache
from http import HTTPStatus

from .head import Refusal

JSON = b"application/json; charset=utf-8"
NDJSON = b"application/x-ndjson"
EVENTS = b"text/event-stream"
TEXT = b"text/plain"

# Up to here Go's server counts the body before it sends the head; beyond it sends chunks.
COUNTED_BODY_BYTES = 2048

_REASONS = {status.value: status.phrase for status in HTTPStatus} | {413: "Request Entity Too Large", 499: ""}
_date_second = -1
_date = b""


@lru_cache
def _status_line(status: int, http10: bool) -> bytes:
    """`HTTP/1.1 200 OK`, line end included."""
    return b"HTTP/1.%d %d %b\r\n" % (0 if http10 else 1, status, _REASONS.get(status, "Status").encode())


def date() -> bytes:
    """The value of the Date header, made once a second."""
    global _date_second, _date
    now = int(time.time())
    if now != _date_second:
        _date_second = now
        _date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(now)).encode()
    return _date


def head(
    status: int,
    content_type: bytes,
    extra: Iterable[tuple[bytes, bytes]] = (),
    *,
    framing: bytes,
    http10: bool,
    close: bool,
) -> bytes:
    """A complete head. `framing` is a header line with its line end, or nothing."""
    if close:  # a Connection: keep-alive, which Ollama writes on some streams, would contradict it
        extra = [header for header in extra if header[0] != b"Connection"]
    if content_type:
        extra = sorted([*extra, (b"Content-Type", content_type)])
    lines = b"".join([b"%b: %b\r\n" % header for header in extra])
    closing = b"Connection: close\r\n" if close and not http10 else b""
    return b"%b%bDate: %b\r\n%b%b\r\n" % (_status_line(status, http10), lines, date(), framing, closing)


def refusal(error: Refusal) -> bytes:
    """The whole answer to a request that was not understood; the body ends with the connection."""
    status = error.status.encode()
    return b"HTTP/1.1 %b\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n%b" % (status, status)
