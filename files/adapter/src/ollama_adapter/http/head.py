"""The head of an HTTP/1.x request: bytes in, a checked head out. Refusals are worded as Go's net/http words them.

Written by hand, and not with httptools as the upstream side, because llhttp takes a request that offers `Upgrade: h2c`
(Java's HttpClient does, by default) for the end of HTTP and drops its body. The rules are those of RFC 9112, on the
strict side wherever two readers could disagree about where a request ends.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote_to_bytes

_END = re.compile(rb"\n\r?\n")
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VERSION = re.compile(rb"HTTP/([0-9])\.([0-9])")
_TARGET = re.compile(rb"[\x21-\x7e\x80-\xff]+")
_HEADER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
_HOST = re.compile(rb"[A-Za-z0-9\-._~!$&'()*+,;=:%\[\]]*")
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_MEANINGFUL = frozenset((b"host", b"connection", b"content-length", b"transfer-encoding", b"expect"))
_MAX_HEADERS = 128
# Clients repeat themselves: what was read from a line is kept, for short lines and a bounded number of them.
_REMEMBERED_LINES = 1024
_REMEMBERED_BYTES = 128
_MAX_CONTENT_LENGTH_DIGITS = 18


class Refusal(Exception):
    """A request that is answered in plain text, after which the connection ends.

    `status` is what follows the version in the status line, and the body too: so does Go.
    """

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


@dataclass(slots=True)
class RequestHead:
    """A request without its body."""

    method: str
    target: bytes
    path: str
    is_http10: bool
    headers: list[tuple[bytes, bytes]]  # names in lower case
    content_length: int | None
    is_chunked: bool
    keep_alive: bool
    expects_continue: bool

    @property
    def has_body(self) -> bool:
        """Whether bytes of a body follow."""
        return self.is_chunked or bool(self.content_length)

    def header(self, name: bytes) -> str:
        """The value of a header, the first if there are several, "" if there is none."""
        for key, value in self.headers:
            if key == name:
                return value.decode("latin-1")
        return ""


def end_of_head(data: bytes | bytearray, start: int = 0) -> int:
    """The position after the empty line that ends a head, -1 while it has not come. Looks from `start` on."""
    match = _END.search(data, max(start - 3, 0))
    return match.end() if match else -1


def parse_head(head: bytes) -> RequestHead:
    """Read a head, its final empty line included.

    :raises Refusal: anything that is not a request this server understands in exactly one way.
    """
    request_line, *lines = head.replace(b"\r\n", b"\n").rstrip(b"\n").split(b"\n")
    is_short = len(request_line) <= _REMEMBERED_BYTES
    method, target, path, is_http10 = (_short_request_line if is_short else _request_line)(request_line)
    headers = [_short_header(line) if len(line) <= _REMEMBERED_BYTES else header_of(line) for line in lines]
    if len(headers) > _MAX_HEADERS:
        raise Refusal("431 Request Header Fields Too Large")
    found: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        if name in _MEANINGFUL:
            found.setdefault(name, []).append(value)
    _check_host(found.get(b"host", []), is_http10)
    content_length, is_chunked = _framing(found, is_http10)
    closes = is_http10
    if b"connection" in found:
        options = b",".join(found[b"connection"]).lower().split(b",")
        closes = is_http10 or b"close" in [option.strip() for option in options]
    return RequestHead(
        method=method,
        target=target,
        path=path,
        is_http10=is_http10,
        headers=headers,
        content_length=content_length,
        is_chunked=is_chunked,
        keep_alive=not closes,
        expects_continue=not is_http10 and found.get(b"expect", [b""])[0].lower() == b"100-continue",
    )


def header_of(line: bytes) -> tuple[bytes, bytes]:
    """Name, in lower case, and value of a header line without its end.

    :raises Refusal: it is none.
    """
    match = _HEADER.fullmatch(line)
    if match is not None:
        return match.group(1).lower(), match.group(2).rstrip(b" \t")
    # A line that begins with a blank would continue the one before; RFC 9112 5.2 lets a server refuse that.
    name, colon, _ = line.partition(b":")
    if not colon:
        raise Refusal("400 Bad Request")
    raise Refusal(f"400 Bad Request: invalid header {'value' if _TOKEN.fullmatch(name) else 'name'}")


_short_header = lru_cache(_REMEMBERED_LINES)(header_of)


def _request_line(line: bytes) -> tuple[str, bytes, str, bool]:
    parts = line.split(b" ")
    if len(parts) != 3 or not _TOKEN.fullmatch(parts[0]) or not _TARGET.fullmatch(parts[1]):
        raise Refusal("400 Bad Request")
    version = _VERSION.fullmatch(parts[2])
    if version is None:
        raise Refusal("400 Bad Request: malformed HTTP version")
    if version.group(1) != b"1":
        raise Refusal("505 HTTP Version Not Supported: unsupported protocol version")
    return parts[0].decode(), parts[1], _path(parts[1]), version.group(2) == b"0"


_short_request_line = lru_cache(_REMEMBERED_LINES)(_request_line)


def _check_host(hosts: list[bytes], is_http10: bool) -> None:
    if not hosts and not is_http10:
        raise Refusal("400 Bad Request: missing required Host header")
    if len(hosts) > 1:
        raise Refusal("400 Bad Request")
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise Refusal("400 Bad Request: malformed Host header")


def _framing(found: dict[bytes, list[bytes]], is_http10: bool) -> tuple[int | None, bool]:
    """Where the body ends. Both framings at once, or one twice, is how requests are smuggled: refused."""
    lengths = found.get(b"content-length", [])
    encodings = found.get(b"transfer-encoding", [])
    if encodings:
        if lengths or len(encodings) > 1 or is_http10:
            raise Refusal("400 Bad Request")
        if encodings[0].lower() != b"chunked":
            raise Refusal("501 Not Implemented: unsupported transfer encoding")
        return None, True
    if not lengths:
        return None, False
    text = lengths[0]
    if len(lengths) > 1 or not text.isdigit() or len(text) > _MAX_CONTENT_LENGTH_DIGITS:
        raise Refusal("400 Bad Request")
    return int(text), False


def _path(target: bytes) -> str:
    """The path of a request target, unescaped, without the query. `*` and authority forms are no path here."""
    path = target
    if not path.startswith(b"/"):
        scheme, separator, rest = path.partition(b"://")
        if not separator or scheme.lower() not in (b"http", b"https"):
            if path == b"*":
                return "*"
            raise Refusal("400 Bad Request")
        path = b"/" + rest.partition(b"/")[2]
    path = path.partition(b"?")[0].partition(b"#")[0]
    if b"%" in path:
        if _BAD_ESCAPE.search(path):
            raise Refusal("400 Bad Request")
        path = unquote_to_bytes(path)
    return path.decode("utf-8", "replace")
