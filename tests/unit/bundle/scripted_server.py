"""An HTTP server whose answers a test writes down: what the network does to a download."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Seen:
    """One request, header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Say:
    """One answer. promised: Content-Length when it is not that of the body; the connection closes then."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    promised: int | None = None


Answer = Callable[[Seen], Say]


@dataclass
class Scripted:
    """The server's address, and what it was asked."""

    url: str
    seen: list[Seen]


@contextmanager
def serving(answer: Answer) -> Iterator[Scripted]:
    """A server on loopback that answers with `answer`."""
    seen: list[Seen] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            request = Seen(self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
            seen.append(request)
            said = answer(request)
            length = len(said.body) if said.promised is None else said.promised
            self.send_response(said.status)
            for name, value in {**said.headers, "Content-Length": str(length)}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(said.body)
            if said.promised is not None:
                self.close_connection = True

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield Scripted(f"http://127.0.0.1:{server.server_port}", seen)
        finally:
            server.shutdown()
