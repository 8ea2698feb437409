"""Request bodies on the wire: how many of the bytes that came belong to the body, and which of them are its content."""

from __future__ import annotations

import re

from .head import Refusal, header_of

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
        self._line_start = b""  # of a line that has not come to its end
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
        data = self._line_start + data
        content = []
        position = 0  # moved on instead of cutting `data`, which would cost the square of the number of chunks
        while position < len(data) and self._state != "complete":
            if self._state == "data":
                piece = data[position : position + self._left]
                content.append(piece)
                position += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._state = "data end"
                continue
            end = data.find(b"\n", position)
            if (len(data) if end < 0 else end) - position > _MAX_LINE_BYTES:
                raise Refusal("400 Bad Request")
            if end < 0:
                break
            # A bare LF as line end is where parsers differ; inside a chunked body it is refused.
            if data[position:end][-1:] != b"\r":
                raise Refusal("400 Bad Request")
            self._take(data[position : end - 1])
            position = end + 1
        rest = data[position:]
        self._line_start = b"" if self._state == "complete" else rest
        return b"".join(content), rest if self._state == "complete" else b""

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
            header_of(line)
