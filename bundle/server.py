"""A finished bundle over HTTP, read-only, as the settings of `mirrors` expect it: index, hub, registry, archives, packages.

Only what the manifest lists is served. One range is understood, as downloads that go on need it.
"""

from __future__ import annotations

import html
import json
import posixpath
import re
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from packaging.utils import canonicalize_name

from bundle import hub, manifest
from bundle.artefacts import BLOCK_BYTES
from bundle.errors import BundleError
from bundle.manifest import Manifest
from bundle.ollama import MANIFEST_TYPE
from bundle.python_index import WHEELS

OPAQUE = "application/octet-stream"
IDLE_TIMEOUT_S = 120


@dataclass(frozen=True)
class Reply:
    """What to send. body: bytes, or a file of the bundle."""

    status: int
    body: bytes | Path
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    etag: str = ""


@dataclass(frozen=True)
class Shelf:
    """The bundle in `folder` (resolved): from a path to what is answered."""

    folder: Path
    manifest: Manifest

    def answer(self, path: str) -> Reply:
        """The reply to a GET or HEAD of `path`, decoded and without its query."""
        # apt asks for `./package.deb` of a flat repository, as its list says.
        name = posixpath.normpath(f"/{path}").lstrip("/")
        if not name:
            systems = ", ".join(sorted(self.manifest.hosts))
            return _text(200, f"a bundle of {self.manifest.made} for {systems}: {len(self.manifest.files)} files\n")
        if name == "python/simple" or name.startswith("python/simple/"):
            return self._simple(name.removeprefix("python/simple").lstrip("/"))
        if name.startswith("hub/"):
            return self._hub(name.removeprefix("hub/"))
        if name == "v2":
            return Reply(200, b"{}", "application/json")
        if name.startswith("v2/"):
            return self._registry(name)
        if found := re.fullmatch(r"(.*)/by-hash/SHA256/([0-9a-f]{64})", name):
            return self._by_hash(found[1], found[2])
        return self._file(name)

    def _file(
        self, name: str, content_type: str = OPAQUE, headers: Mapping[str, str] | None = None, etag: str = ""
    ) -> Reply:
        entry = self.manifest.files.get(name)
        file = self.folder / name
        if entry is None or not file.is_file() or not file.resolve().is_relative_to(self.folder):
            return _text(404, f"the bundle has no {name}\n")
        return Reply(200, file, content_type, headers or {}, etag or entry.sha256)

    def _by_hash(self, folder: str, digest: str) -> Reply:
        """apt asks for an index by its content; the bundle has it by its name."""
        for name, entry in self.manifest.files.items():
            if entry.sha256 == digest and name.rpartition("/")[0] == folder:
                return self._file(name)
        return _text(404, f"the bundle has no {folder}/by-hash/SHA256/{digest}\n")

    @cached_property
    def _projects(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in sorted(self.manifest.files):
            if name.startswith(f"{WHEELS}/"):
                wheel = name.rpartition("/")[2]
                found.setdefault(canonicalize_name(wheel.split("-")[0]), []).append(name)
        return found

    def _simple(self, project: str) -> Reply:
        """A page of the package index (PEP 503), made of the wheels that are there."""
        if not project:
            links = [f'<a href="{name}/">{name}</a>' for name in self._projects]
        elif project != canonicalize_name(project):
            return Reply(301, b"", headers={"Location": f"/python/simple/{canonicalize_name(project)}/"})
        elif project not in self._projects:
            return _text(404, f"the bundle has no wheel of {project}\n")
        else:
            links = [self._link(name) for name in self._projects[project]]
        page = "".join(f"{link}<br/>\n" for link in links)
        head = '<!DOCTYPE html>\n<html><head><meta name="pypi:repository-version" content="1.0"><title>bundle</title></head>'
        return Reply(200, f"{head}<body>\n{page}</body></html>\n".encode(), "text/html; charset=utf-8")

    def _link(self, name: str) -> str:
        wheel = name.rpartition("/")[2]
        return f'<a href="/{quote(name)}#sha256={self.manifest.files[name].sha256}">{html.escape(wheel)}</a>'

    def _hub(self, name: str) -> Reply:
        """What huggingface_hub 2.4 asks: a revision, its tree, a file."""
        if found := re.fullmatch(r"api/models/([^/]+/[^/]+)/revision/(\w+)", name):
            return self._file(f"{hub.folder(*found.groups())}/{hub.INFO}", "application/json")
        if found := re.fullmatch(r"api/models/([^/]+/[^/]+)/tree/(\w+)", name):
            return self._file(f"{hub.folder(*found.groups())}/{hub.TREE}", "application/json")
        if found := re.fullmatch(r"([^/]+/[^/]+)/resolve/(\w+)/(.+)", name):
            return self._hub_file(found[1], found[2], found[3])
        return _text(404, f"the bundle answers for revisions only, not for {name}\n")

    def _hub_file(self, repository: str, revision: str, path: str) -> Reply:
        base = hub.folder(repository, revision)
        tree = self.folder / base / hub.TREE
        entries: list[dict[str, Any]] = (
            json.loads(tree.read_bytes()) if f"{base}/{hub.TREE}" in self.manifest.files else []
        )
        entry = next((one for one in entries if one["path"] == path), None)
        if entry is None:
            code = "EntryNotFound" if entries else "RevisionNotFound"
            return Reply(
                404, b"{}", "application/json", {"X-Error-Code": code, "X-Error-Message": f"not in the bundle: {path}"}
            )
        large = entry.get("lfs")
        etag = large["oid"] if large else entry["oid"]
        linked = {"X-Linked-Size": str(entry["size"]), "X-Linked-Etag": f'"{etag}"'} if large else {}
        return self._file(f"{base}/files/{path}", OPAQUE, {"X-Repo-Commit": revision, **linked}, etag)

    def _registry(self, name: str) -> Reply:
        if "/manifests/" in name:
            return self._file(name, MANIFEST_TYPE)
        return self._file(name.replace("/blobs/sha256:", "/blobs/sha256-"))


def _text(status: int, message: str) -> Reply:
    return Reply(status, message.encode())


def wanted_range(header: str, size: int) -> tuple[int, int] | None:
    """First byte and one past the last, of a file with `size` bytes; None for all of it. Raises ValueError past the end.

    Several ranges, or none that can be read, get the whole file, which RFC 9110 14.2 allows.
    """
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", header.strip())
    if found is None or found.groups() == ("", ""):
        return None
    if size == 0:
        return None
    if not found[1]:
        if int(found[2]) == 0:
            raise ValueError(f"bytes */{size}")
        return max(0, size - int(found[2])), size
    start, end = int(found[1]), min(int(found[2]) + 1, size) if found[2] else size
    if start >= end:
        raise ValueError(f"bytes */{size}")
    return start, end


class Server(ThreadingHTTPServer):
    """The bundle in `folder` at an address; port 0 takes a free one (see `server_port`). Raises BundleError, OSError."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: str, port: int, folder: Path) -> None:
        self._folder, self._lock = folder, threading.Lock()
        self._read_at, self._shelf = self._time(), Shelf(folder, self._manifest())
        super().__init__((address, port), Handler)

    @property
    def shelf(self) -> Shelf:
        """The bundle as its manifest says now; while `make` is at work in it, as it was before."""
        with self._lock:
            now = self._time()
            if now and now != self._read_at:
                self._read_at, self._shelf = now, Shelf(self._folder, self._manifest())
            return self._shelf

    def _time(self) -> int:
        try:
            return (self._folder / manifest.NAME).stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def _manifest(self) -> Manifest:
        made = manifest.read(self._folder)
        if made is None:
            raise BundleError(str(self._folder), "is not finished", "run make again")
        return made

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no event."""
        problem = sys.exc_info()[1]
        if not isinstance(problem, ConnectionError | TimeoutError):
            print(f"{client_address}: {problem!r}", file=sys.stderr, flush=True)


class Handler(BaseHTTPRequestHandler):
    """Reads a request, asks the shelf, sends what it answers."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = IDLE_TIMEOUT_S

    def do_GET(self) -> None:
        self._send(self.server.shelf.answer(unquote(urlsplit(self.path).path)))

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """The line is written after the answer, with the bytes that were sent."""

    def _send(self, reply: Reply) -> None:
        status, body = reply.status, reply.body
        size = len(body) if isinstance(body, bytes) else body.stat().st_size
        start, end, headers = 0, size, {"Content-Type": reply.content_type, **reply.headers}
        if isinstance(body, Path):
            headers |= {
                "Accept-Ranges": "bytes", "ETag": f'"{reply.etag}"',
                "Last-Modified": formatdate(body.stat().st_mtime, usegmt=True),
            }  # fmt: skip
            try:
                if part := self._part(size, reply.etag, headers["Last-Modified"]):
                    status, (start, end) = 206, part
                    headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
            except ValueError as problem:
                status, end, headers["Content-Range"] = 416, 0, str(problem)
        self.send_response_only(status, HTTPStatus(status).phrase)
        for name, value in {**headers, "Date": formatdate(usegmt=True), "Content-Length": str(end - start)}.items():
            self.send_header(name, value)
        self.end_headers()
        sent = self._body(body, start, end) if self.command == "GET" else 0
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        print(f"{now} {self.client_address[0]} {self.command} {ascii(self.path)[1:-1]} {status} {sent}", flush=True)

    def _part(self, size: int, etag: str, modified: str) -> tuple[int, int] | None:
        condition = self.headers.get("If-Range", "")
        if condition and condition.strip('"') != etag and condition != modified:
            return None
        return wanted_range(self.headers.get("Range", ""), size)

    def _body(self, body: bytes | Path, start: int, end: int) -> int:
        if isinstance(body, bytes):
            self.wfile.write(body)
            return len(body)
        sent = 0
        with body.open("rb") as file:
            file.seek(start)
            while sent < end - start and (block := file.read(min(BLOCK_BYTES, end - start - sent))):
                self.wfile.write(block)
                sent += len(block)
        return sent
