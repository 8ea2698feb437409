"""A client that sends bytes and reads one answer, without any idea of what is allowed."""

from __future__ import annotations

import json
import socket
from typing import Any

from tests.contract.recorded import Answer

TIMEOUT_S = 240.0  # a real vLLM beside a busy lab has taken more than half a minute


class Wire:
    """One connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self._buffer = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def more(self) -> bool:
        """Read what is there; False at the end of the stream."""
        data = self.socket.recv(65_536)
        self._buffer += data
        return bool(data)

    def is_closed(self) -> bool:
        """Wait for the other side's end of the stream, dropping what comes before it."""
        try:
            while self.more():
                self._buffer = b""
        except ConnectionResetError:
            return True
        return True

    def until(self, end: bytes) -> bytes:
        """Read up to and including these bytes; what there is where the stream ends first."""
        while end not in self._buffer:
            if not self.more():
                rest, self._buffer = self._buffer, b""
                return rest
        position = self._buffer.index(end) + len(end)
        data, self._buffer = self._buffer[:position], self._buffer[position:]
        return data

    def exactly(self, count: int) -> bytes:
        """Read this many bytes."""
        while len(self._buffer) < count and self.more():
            pass
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def rest(self) -> bytes:
        """Read to the end of the stream."""
        while self.more():
            pass
        data, self._buffer = self._buffer, b""
        return data

    def head(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """Read a head: the status line and the headers."""
        lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        headers = [line.partition(": ") for line in lines[1:] if line]
        return lines[0], tuple((name, value) for name, _, value in headers)

    def chunk(self) -> bytes:
        """Read a chunk of a body; empty for the last."""
        size = int(self.until(b"\r\n") or b"0", 16)
        data = self.exactly(size)
        self.exactly(2)
        return data

    def answer(self, method: str = "GET") -> Answer:
        """Read one whole answer."""
        status_line, headers = self.head()
        answer = Answer(status_line, headers, None, "")
        chunks: int | None = None
        if method == "HEAD" or " 204 " in status_line:
            body = b""
        elif " 100 " in status_line:
            body = self.rest()
        elif answer.header("transfer-encoding") == ["chunked"]:
            pieces = []
            while piece := self.chunk():
                pieces.append(piece)
            body, chunks = b"".join(pieces), len(pieces)
        elif answer.header("content-length"):
            body = self.exactly(int(answer.header("content-length")[0]))
        else:
            body = self.rest()
        return Answer(status_line, headers, chunks, body.decode("utf-8", "backslashreplace"))


def ask(port: int, request: bytes, method: str = "GET") -> Answer:
    """Send one request on a connection of its own and read the answer."""
    with Wire(port) as wire:
        wire.send(request)
        return wire.answer(method)


def post(port: int, path: str, body: Any, headers: str = "") -> Answer:
    """Send a JSON body and read the answer."""
    return ask(port, request(path, body, headers), "POST")


def request(path: str, body: Any, headers: str = "", method: str = "POST") -> bytes:
    """The bytes of a request with a JSON body, or with bytes as they are."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(data)}\r\n{headers}\r\n"
    return head.encode() + data


def get(port: int, path: str, headers: str = "") -> Answer:
    """A GET request."""
    return ask(port, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n".encode())
