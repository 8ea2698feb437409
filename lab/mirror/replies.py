"""What a site answers with, and the HTTP rules for parts of files and for unchanged files."""

from __future__ import annotations

import hashlib
import json
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path
from typing import Protocol

# Debian's archive and its signatures go out as opaque bytes, as the real mirrors send them.
OPAQUE = "application/octet-stream"


@dataclass(frozen=True)
class Request:
    """One request as a site sees it: the path is decoded and has neither `..` nor a query."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]  # names in lower case


@dataclass(frozen=True)
class Reply:
    """A status, headers, and the body as bytes or as a file."""

    status: int = 200
    body: bytes | Path = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    etag: str | None = None

    @property
    def size_bytes(self) -> int:
        return len(self.body) if isinstance(self.body, bytes) else self.body.stat().st_size


class Site(Protocol):
    """What listens on one port. A site decides, the server does the HTTP."""

    @property
    def name(self) -> str:
        """As `faults.json` and the access log call it."""

    def answer(self, request: Request) -> Reply:
        """The whole answer to a GET or HEAD; the server cuts out ranges and drops the body for HEAD."""


def text(status: int, message: str, **headers: str) -> Reply:
    """A line of plain text; underscores in header names stand for dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, f"{message}\n".encode(), headers=named)


def as_json(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """A JSON body without blanks."""
    body = json.dumps(value, separators=(",", ":")).encode()
    return Reply(status, body, "application/json; charset=utf-8", headers or {})


def not_found(path: str) -> Reply:
    """404 in plain text, naming the path."""
    return text(404, f"not found: {path}")


def file(path: Path, *, content_type: str | None = None, etag: str | None = None) -> Reply:
    """A file with ETag and Last-Modified; without `etag` the tag is made of size and time of change."""
    found = path.stat()
    headers = {"Last-Modified": formatdate(found.st_mtime, usegmt=True)}
    tag = etag or hashlib.sha1(f"{found.st_size}-{found.st_mtime_ns}".encode()).hexdigest()
    guess = content_type or mimetypes.guess_type(path.name)[0] or OPAQUE
    return Reply(200, path, guess, headers, tag)


def inside(root: Path, relative: str) -> Path | None:
    """The regular file at `relative` below `root`, or None; a path cannot leave the root, links included."""
    path = (root / relative.lstrip("/")).resolve()
    return path if path.is_relative_to(root.resolve()) and path.is_file() else None


def is_unchanged(request: Request, reply: Reply) -> bool:
    """May the answer be 304 (RFC 9110, 13.1)? If-None-Match decides, else If-Modified-Since (apt sends that)."""
    if wanted := request.headers.get("if-none-match"):
        tags = {tag.strip().removeprefix("W/").strip('"') for tag in wanted.split(",")}
        return "*" in tags or (reply.etag or "") in tags
    since, modified = request.headers.get("if-modified-since"), reply.headers.get("Last-Modified")
    if not since or not modified:
        return False
    try:
        return parsedate_to_datetime(modified) <= parsedate_to_datetime(since)
    except (TypeError, ValueError):
        return False


class RangeError(ValueError):
    """The requested part lies outside the file."""


def wanted_range(request: Request, reply: Reply, size_bytes: int) -> tuple[int, int] | None:
    """First and one past the last byte to send, or None for all of it.

    One range is served; several, or none that can be read, get the whole file, which RFC 9110 14.2 allows.
    An If-Range that no longer fits also gets the whole file. Raises RangeError if the range starts past the end.
    """
    header = request.headers.get("range", "")
    unit, _, spec = header.partition("=")
    if unit.strip() != "bytes" or "," in spec:
        return None
    condition = request.headers.get("if-range")
    if condition and condition.strip('"') != reply.etag and condition != reply.headers.get("Last-Modified"):
        return None
    first, dash, last = spec.strip().partition("-")
    if not dash or not (first or last) or not all(part.isdigit() for part in (first, last) if part):
        return None
    if not first:
        return max(0, size_bytes - int(last)), size_bytes
    start, end = int(first), min(int(last) + 1, size_bytes) if last else size_bytes
    if start >= size_bytes or end <= start:
        raise RangeError(f"bytes */{size_bytes}")
    return start, end
