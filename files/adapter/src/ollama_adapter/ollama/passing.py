"""Requests passed on to Ollama Vision, and their answers passed back: byte for byte, nothing held."""

from __future__ import annotations

import re

from ..http.exchange import Exchange
from ..upstream.client import Call, Failure, Limits, Upstream

# RFC 9110 7.6.1, and those that the adapter deals with itself: the origin check, the 100 Continue. Host becomes the
# upstream's, because an Ollama on loopback refuses foreign names.
_OWN_HEADERS = frozenset(
    b"connection keep-alive proxy-connection te trailer upgrade http2-settings host origin expect content-length "
    b"transfer-encoding x-request-id".split()
)
_OWN_ANSWER_HEADERS = frozenset((b"connection", b"keep-alive", b"date", b"content-length", b"transfer-encoding"))

_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_PLAIN_MEMBER = rb"\s*" + _STRING + rb"\s*:\s*(?:true|false|null|-?[0-9][0-9.eE+\-]*|" + _STRING + rb")\s*,"
_MODEL = re.compile(rb"\s*\{(?:" + _PLAIN_MEMBER + rb')*?\s*"model"\s*:\s*"([^"\\]*)"', re.IGNORECASE)


def peek_model(body_start: bytes) -> str | None:
    """The model that the beginning of a JSON body names, if only plain members stand before it.

    This lets a body of many megabytes be passed on before it has arrived; None means wait for the whole of it.
    """
    match = _MODEL.match(body_start)
    return match.group(1).decode("utf-8", "replace") if match else None


class Passing:
    """One request on its way to Ollama Vision and back. It is the receiver of the body and the sink of the answer."""

    def __init__(
        self, exchange: Exchange, upstream: Upstream, limits: Limits, *, withholds_token: bool = False
    ) -> None:
        """:param withholds_token: the Authorization header is for the adapter, and is not passed on."""
        self._exchange = exchange
        self._upstream = upstream
        self._limits = limits
        self._call: Call | None = None
        self._is_chunked = False
        exchange.backend = "vision"
        # A token that opens the adapter is nobody else's business.
        self._dropped = _OWN_HEADERS | {b"authorization", b"x-api-key"} if withholds_token else _OWN_HEADERS

    def send_whole(self, body: bytes) -> None:
        """Pass on a request whose body has come."""
        headers = self._request_headers()
        head = self._exchange.head
        method = head.method.encode()
        self._call = self._upstream.send(method, head.target, self, self._limits, headers=headers, body=body)
        self._call.keeps_chunks = True
        self._exchange.call = self._call

    def send_streaming(self, body_start: bytes) -> None:
        """Pass on a request whose body is still coming: it follows as it comes."""
        head = self._exchange.head
        self._is_chunked = head.is_chunked
        length = b"Content-Length: %d\r\n" % (head.content_length or 0)
        headers = self._request_headers() + (b"Transfer-Encoding: chunked\r\n" if head.is_chunked else length)
        method = head.method.encode()
        self._call = self._upstream.send(method, head.target, self, self._limits, headers=headers, body=None)
        self._call.keeps_chunks = True
        self._exchange.call = self._call
        self._exchange.receiver = self
        self.body_piece(body_start)

    # The receiver of the request's body

    def body_piece(self, data: bytes) -> None:
        """More of the body."""
        if self._call is not None and data:
            self._call.send_body(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)

    def body_end(self) -> None:
        """The body is complete."""
        if self._call is not None and self._is_chunked:
            self._call.send_body(b"0\r\n\r\n")

    # The sink of the answer

    def started(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """The head of the answer."""
        content_type = b""
        framing = None
        kept = []
        for name, value in headers:
            lower = name.lower()
            if lower == b"content-length":
                framing = b"Content-Length: %b\r\n" % value
            elif lower == b"content-type":
                content_type = value
            elif lower not in _OWN_ANSWER_HEADERS:
                kept.append((name, value))
        if status in (204, 304):
            framing = b""
        self._exchange.start(status, content_type, kept, framing)

    def piece(self, data: bytes) -> None:
        """More of the answer."""
        self._exchange.send(data)

    def ended(self) -> None:
        """The answer is complete."""
        self._call = None  # which refers to this object
        self._exchange.finish()

    def failed(self, failure: Failure) -> None:
        """Say so."""
        self._call = None
        headers = [(b"Retry-After", b"5")] if failure.is_unreachable else []
        self._exchange.respond_error(503 if failure.is_unreachable else 502, failure.reason, headers)

    def writable(self, is_writable: bool) -> None:
        """The upstream cannot keep up with the body, or has caught up."""
        self._exchange.pause_body(not is_writable)

    def _request_headers(self) -> bytes:
        lines = [b"%b: %b\r\n" % header for header in self._exchange.head.headers if header[0] not in self._dropped]
        lines.append(b"X-Request-Id: %b\r\n" % self._exchange.request_id.encode())
        return b"".join(lines)
