"""A threaded HTTP/1.1 server for read-only sites: ranges, conditional requests, access log, faults on request."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TextIO
from urllib.parse import parse_qsl, unquote, urlsplit

from lab.mirror.faults import Fault, FaultBook, FaultError
from lab.mirror.replies import RangeError, Reply, Request, Site, is_unchanged, text, wanted_range

CHUNK_BYTES = 256 * 1024
# A client that sends nothing for so long is gone.
IDLE_TIMEOUT_S = 120.0
PHRASES = {status.value: status.phrase for status in HTTPStatus}


class AccessLog:
    """One line a request: time, site, client, method, path, status, bytes sent, range asked for."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._lock = threading.Lock()

    def write(self, *parts: object) -> None:
        """Add a line; a request is never failed because the log cannot be written."""
        line = " ".join([time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), *map(str, parts)])
        with self._lock:
            try:
                print(line, file=self._stream, flush=True)
            except (OSError, ValueError):
                return


class MirrorServer(ThreadingHTTPServer):
    """One site on one address and port; port 0 takes a free one (see `server_port`)."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, address: str, port: int, site: Site, faults: FaultBook, log: AccessLog) -> None:
        self.site, self.faults, self.log = site, faults, log
        super().__init__((address, port), Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no event; anything else is logged with its cause."""
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            self.log.write(self.site.name, client_address, f"error: {error!r}")


class Handler(BaseHTTPRequestHandler):
    """Reads a request, asks the site, sends what it answers."""

    server: MirrorServer
    protocol_version = "HTTP/1.1"
    timeout = IDLE_TIMEOUT_S

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._refuse_writing()

    def do_PUT(self) -> None:
        self._refuse_writing()

    def do_DELETE(self) -> None:
        self._refuse_writing()

    def log_message(self, format: str, *args: object) -> None:
        """The server's own access log is written after the answer, where the number of bytes is known."""

    def _refuse_writing(self) -> None:
        self.close_connection = True  # the body was not read
        request = Request(self.command, self.path, {}, {})
        self._send(request, text(405, "a mirror is read-only: GET and HEAD", Allow="GET, HEAD"), None)

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        path, headers = unquote(parts.path), {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, path, dict(parse_qsl(parts.query)), headers)
        fault: Fault | None = None
        try:
            fault = self.server.faults.find(self.server.site.name, self.command, path)
            if fault and fault.delay_s:
                time.sleep(fault.delay_s)
            if fault and fault.status:
                reply = text(fault.status, f"{fault.status}: a fault of the lab (faults.json)")
            elif ".." in path.split("/"):
                reply = text(400, "a path of a mirror has no ..")
            else:
                reply = self.server.site.answer(request)
        except FaultError as error:
            reply = text(500, str(error))
        self._send(request, reply, fault)

    def _send(self, request: Request, reply: Reply, fault: Fault | None) -> None:
        status, start, end = reply.status, 0, reply.size_bytes
        headers = {"Content-Type": reply.content_type, **reply.headers}
        if reply.etag:
            headers["ETag"] = f'"{reply.etag}"'
        if status == 200:
            headers["Accept-Ranges"] = "bytes"
            try:
                if is_unchanged(request, reply):
                    status, end = 304, 0
                elif part := wanted_range(request, reply, end):
                    headers["Content-Range"] = f"bytes {part[0]}-{part[1] - 1}/{end}"
                    status, (start, end) = 206, part
            except RangeError as error:
                headers["Content-Range"] = str(error)
                status, end = 416, 0
        if fault and fault.truncate_after is not None:
            end = min(end, start + fault.truncate_after)
        if status != 304:
            headers["Content-Length"] = str(end - start)
        self.send_response_only(status, PHRASES.get(status, "Lab"))
        self.send_header("Date", formatdate(usegmt=True))
        for name, value in headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        sent = 0
        try:
            if self.command != "HEAD" and status != 304:
                for piece in _body(reply.body, start, end, fault):
                    self.wfile.write(piece)
                    sent += len(piece)
        finally:
            if sent < end - start and self.command != "HEAD":
                self.close_connection = True  # what was promised cannot follow any more
            asked = request.headers.get("range", "-")
            self.server.log.write(
                self.server.site.name, self.client_address[0], self.command, self.path, status, sent, asked
            )


def _body(body: bytes | Path, start: int, end: int, fault: Fault | None) -> Iterator[bytes]:
    """The bytes from start to end, spoilt as the fault says."""
    stop = end if fault is None or fault.close_after is None else min(end, start + fault.close_after)
    rate = fault.bytes_per_s if fault else None
    step = CHUNK_BYTES if rate is None else max(1, min(CHUNK_BYTES, rate // 10))
    for position, piece in _pieces(body, start, stop, step):
        if fault and fault.corrupt_at is not None and position <= fault.corrupt_at < position + len(piece):
            spoilt = bytearray(piece)
            spoilt[fault.corrupt_at - position] ^= 0xFF
            piece = bytes(spoilt)
        yield piece
        if rate:
            time.sleep(len(piece) / rate)


def _pieces(body: bytes | Path, start: int, stop: int, step: int) -> Iterator[tuple[int, bytes]]:
    if isinstance(body, bytes):
        for position in range(start, stop, step):
            yield position, body[position : min(position + step, stop)]
        return
    with body.open("rb") as stream:
        stream.seek(start)
        position = start
        while position < stop and (piece := stream.read(min(step, stop - position))):
            yield position, piece
            position += len(piece)
