"""Request bodies on the wire: how many of the bytes that came belong to the body, and which of them are its content."""

from __future__ import annotations

import re

from .http_head import Refusal

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?")
_MAX_LINE_BYTES = 4096
_MAX_TRAILER_BYTES = 8192


class LengthBody:
    """A body of known length."""

    def __init__(self, length: int) -> None:
        self._left = length

    @property
    def is_complete(self) -> bool:
        """Whether all of it has come."""
        return not self._left

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Split bytes from the network into content and what follows the body."""
        content = data[: self._left]
        self._left -= len(content)
        return content, data[len(content) :]


class ChunkedBody:
    """A body in chunks (RFC 9112, 7.1). Extensions and trailers are read and dropped."""

    def __init__(self) -> None:
        self._buffer = b""
        self._left = 0  # bytes of the current chunk that have not come
        self._state = "size"
        self._trailer_bytes = 0

    @property
    def is_complete(self) -> bool:
        """Whether the last chunk and the trailer have come."""
        return self._state == "complete"

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Split bytes from the network into content and what follows the body.

        :raises Refusal: the framing is broken; nothing after this point can be trusted.
        """
        self._buffer += data
        content = []
        while self._buffer and self._state != "complete":
            if self._state == "data":
                piece = self._buffer[: self._left]
                content.append(piece)
                self._buffer = self._buffer[len(piece) :]
                self._left -= len(piece)
                if not self._left:
                    self._state = "data end"
                continue
            line = self._line()
            if line is None:
                break
            self._take(line)
        rest = b""
        if self._state == "complete":
            rest, self._buffer = self._buffer, b""
        return b"".join(content), rest

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\n")
        if end < 0:
            if len(self._buffer) > _MAX_LINE_BYTES:
                raise Refusal("400 Bad Request")
            return None
        line, self._buffer = self._buffer[:end], self._buffer[end + 1 :]
        # A bare LF as line end is where parsers differ; inside a chunked body it is refused.
        if not line.endswith(b"\r"):
            raise Refusal("400 Bad Request")
        return line[:-1]

    def _take(self, line: bytes) -> None:
        if self._state == "data end":
            if line:
                raise Refusal("400 Bad Request")
            self._state = "size"
        elif self._state == "size":
            match = _SIZE_LINE.fullmatch(line)
            if match is None:
                raise Refusal("400 Bad Request")
            self._left = int(match.group(1), 16)
            self._state = "data" if self._left else "trailer"
        elif not line:
            self._state = "complete"
        else:
            self._trailer_bytes += len(line)
            if self._trailer_bytes > _MAX_TRAILER_BYTES:
                raise Refusal("431 Request Header Fields Too Large")
