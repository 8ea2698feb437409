"""HTTP as Ollama's Go server speaks it: content types, streams, redirects, refused methods, and the end on SIGTERM."""

from __future__ import annotations

import json
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from . import loaded, requests
from .api import Api
from .requests import Refusal
from .settings import Settings
from .store import Store
from .version import VERSION

JSON = "application/json; charset=utf-8"
NDJSON = "application/x-ndjson"
# Pull answers without the charset when it does not stream, as recorded.
BARE_JSON_ROUTES = {"/api/pull"}


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    # As Go does; without it the body of an answer waits 40 ms for the client's acknowledgement of its head.
    disable_nagle_algorithm = True
    server: OllamaServer

    def __getattr__(self, name: str) -> Any:
        # Every method reaches the router, which knows 404 from 405.
        if re.fullmatch(r"do_[A-Z]+", name):
            return self._serve
        raise AttributeError(name)

    def log_message(self, format: str, *args: object) -> None:
        """One line a request goes to stderr, from `_serve`."""

    def _serve(self) -> None:
        body = self._read_body()
        path = unquote(urlsplit(self.path).path)
        started = time.perf_counter()
        status = self._route(path, body)
        spent = f"{(time.perf_counter() - started) * 1000:.3f}ms"
        stamp = time.strftime("%Y/%m/%d - %H:%M:%S")
        line = f'[GIN] {stamp} | {status} | {spent:>13} | {self.client_address[0]:>15} | {self.command:<8} "{path}"'
        print(line, file=sys.stderr, flush=True)

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _route(self, path: str, body: bytes) -> int:
        routes = self.server.api.routes
        known = sorted(method for method, route in routes if route == path)
        method = "GET" if self.command == "HEAD" and path != "/api/ps" else self.command
        if path == "/":
            if method == "GET":
                return self._send(200, b"Ollama is running", "text/plain; charset=utf-8")
            return self._send(405, b"405 method not allowed", "text/plain", {"Allow": "HEAD, GET"})
        if path.endswith("/") and any(route == path.rstrip("/") for _, route in routes):
            return self._redirect(path.rstrip("/"))
        if not known:
            return self._send(404, b"404 page not found", "text/plain")
        if method not in known:
            allowed = "HEAD, GET" if known == ["GET"] and path != "/api/ps" else ", ".join(known)
            return self._send(405, b"405 method not allowed", "text/plain", {"Allow": allowed})
        try:
            fields = requests.decode(body, path.rsplit("/", 1)[1]) if method != "GET" else {}
            result = routes[method, path](fields)
        except Refusal as refusal:
            kind = "application/json" if path in BARE_JSON_ROUTES and refusal.status == 500 else JSON
            return self._send(refusal.status, _encode({"error": refusal.message}), kind)
        if result is None:
            return self._send(200, b"", None)
        if isinstance(result, Mapping):
            return self._send(200, _encode(result), "application/json" if path in BARE_JSON_ROUTES else JSON)
        return self._stream(result)

    def _redirect(self, target: str) -> int:
        if self.command in ("GET", "HEAD"):
            body = f'<a href="{target}">Moved Permanently</a>.\n\n'.encode()
            return self._send(301, body, "text/html; charset=utf-8", {"Location": target})
        return self._send(307, b"", None, {"Location": target})

    def _send(self, status: int, body: bytes, kind: str | None, headers: Mapping[str, str] | None = None) -> int:
        self.send_response_only(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if kind is not None:
            self.send_header("Content-Type", kind)
        self.send_header("Date", self.date_time_string())
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        return status

    def _stream(self, lines: Iterator[Mapping[str, Any]]) -> int:
        is_chunked = self.request_version != "HTTP/1.0"
        self.send_response_only(200)
        self.send_header("Content-Type", NDJSON)
        self.send_header("Date", self.date_time_string())
        if is_chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.close_connection = True
        self.end_headers()
        for line in lines:
            data = _encode(line) + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data) if is_chunked else data)
        if is_chunked:
            self.wfile.write(b"0\r\n\r\n")
        return 200


def _encode(value: Mapping[str, Any]) -> bytes:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    # Go's encoder escapes these three.
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode()


class OllamaServer(ThreadingHTTPServer):
    """The listening server; a client that goes away in the middle is no event."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], api: Api) -> None:
        self.api = api
        super().__init__(address, Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, (ConnectionError, TimeoutError)):
            print(f"error: {client_address}: {error!r}", file=sys.stderr, flush=True)


def serve(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; status 0 then, 1 if the port is taken."""
    store = Store(settings.models)
    (store.root / "blobs").mkdir(parents=True, exist_ok=True)
    (store.root / "manifests").mkdir(exist_ok=True)
    if not settings.noprune:
        store.prune()
    keep_alive = loaded.from_environment(settings.keep_alive)
    api = Api(store, loaded.Memory(settings.max_loaded), keep_alive, settings.context_length)
    try:
        server = OllamaServer((settings.host, settings.port), api)
    except OSError as error:
        reason = "address already in use" if error.errno == 98 else (error.strerror or str(error)).lower()
        print(f"Error: listen tcp {settings.host}:{settings.port}: bind: {reason}", file=sys.stderr)
        return 1
    # `shutdown` waits for the loop, so it may not run in the loop's own thread, which is where signals arrive.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    listening = f"Listening on {settings.host}:{settings.port} (version {VERSION}, stand-in of the lab)"
    print(listening, file=sys.stderr, flush=True)
    server.serve_forever(poll_interval=0.05)
    server.server_close()
    return 0
