"""The HTTP server: health, the API that the product's checks use, the way through to the data source, and the pages."""

from __future__ import annotations

import base64
import binascii
import json
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from . import asking, provisioning
from .database import Database
from .page import page
from .settings import Settings
from .version import VERSION

PROXY = "/api/datasources/proxy/uid/"
WIDTH = 1600  # of a window that says none: `?width=`, which is the stand-in's own


@dataclass(frozen=True)
class Reply:
    """What is answered."""

    status: int
    content: bytes
    kind: str = "application/json; charset=UTF-8"
    location: str = ""


def as_json(status: int, value: Any) -> Reply:
    return Reply(status, json.dumps(value).encode())


class Grafana:
    """What a request gets, without its transport."""

    def __init__(self, settings: Settings) -> None:
        """Raises ProvisioningError where Grafana would not start."""
        self.settings = settings
        self.database = Database(settings.data, settings.admin_user, settings.admin_password)
        provisioning.sources(settings.provisioning)
        provisioning.dashboards(settings.provisioning)

    def answer(self, method: str, target: str, authorization: str, body: bytes) -> Reply:
        """The reply to a request for a path with its query."""
        parts = urlsplit(target)
        path, query = parts.path, {key: values[-1] for key, values in parse_qs(parts.query).items()}
        if path == "/api/health":
            return as_json(200, {"database": "ok", "version": VERSION, "commit": "stand-in of the lab"})
        user = self._user(authorization)
        if user is None and (authorization or not self.settings.anonymous):
            if path.startswith("/api/"):
                return as_json(401, {"message": "Invalid username or password" if authorization else "Unauthorized"})
            if path == "/login":
                return Reply(200, b"Grafana (stand-in of the lab): its API takes basic auth", "text/plain")
            return Reply(302, b"", location="/login")
        if path.startswith(PROXY):
            return self._proxied(method, target.removeprefix(PROXY), body)
        if method != "GET":
            return as_json(404 if user else 403, {"message": "Not found" if user else "Access denied"})
        if path.startswith("/api/"):
            return self._api(path, user)
        return self._page(path, query)

    def _user(self, authorization: str) -> str | None:
        """Who asks: a login whose password is right, or nobody."""
        kind, _, given = authorization.partition(" ")
        try:
            login, _, password = base64.b64decode(given).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return login if kind == "Basic" and self.database.knows(login, password) else None

    def _api(self, path: str, user: str | None) -> Reply:
        boards = {one.uid: one for one in provisioning.dashboards(self.settings.provisioning)}
        if path == "/api/user":
            return (
                as_json(200, {"login": user, "isGrafanaAdmin": True})
                if user
                else as_json(401, {"message": "Unauthorized"})
            )
        if path == "/api/search":
            found = [
                {"uid": uid, "title": one.content["title"], "url": f"/d/{uid}", "type": "dash-db",
                 "tags": one.content.get("tags", []), "folderTitle": one.folder}
                for uid, one in boards.items()
            ]  # fmt: skip
            return as_json(200, found)
        if path == "/api/datasources":
            if user is None:
                return as_json(403, {"message": "Access denied"})
            found = [
                {"uid": one.uid, "name": one.name, "type": "prometheus", "url": one.url, "access": "proxy",
                 "isDefault": one.is_default, "readOnly": True}
                for one in provisioning.sources(self.settings.provisioning)
            ]  # fmt: skip
            return as_json(200, found)
        uid = path.removeprefix("/api/dashboards/uid/")
        if uid in boards:
            meta = {"provisioned": True, "canSave": False, "folderTitle": boards[uid].folder, "url": f"/d/{uid}"}
            return as_json(200, {"dashboard": boards[uid].content, "meta": meta})
        return as_json(404, {"message": "Dashboard not found" if uid != path else "Not found"})

    def _proxied(self, method: str, target: str, body: bytes) -> Reply:
        uid, _, rest = target.partition("/")
        source = next((one for one in provisioning.sources(self.settings.provisioning) if one.uid == uid), None)
        if source is None:
            return as_json(404, {"message": "Unable to find datasource"})
        asked = urllib.request.Request(f"{source.url.rstrip('/')}/{rest}", body or None, method=method)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=30) as answer:
                return Reply(answer.status, answer.read())
        except urllib.error.HTTPError as problem:
            return Reply(problem.code, problem.read())
        except OSError as problem:
            return as_json(502, {"message": str(problem)})

    def _page(self, path: str, query: dict[str, str]) -> Reply:
        boards = {one.uid: one for one in provisioning.dashboards(self.settings.provisioning)}
        if path == "/":
            home = self.settings.home
            uid = json.loads(home.read_text(encoding="utf-8"))["uid"] if home else next(iter(boards), "")
        else:
            uid = path.removeprefix("/d/").partition("/")[0]
        if uid not in boards:
            return Reply(404, b"Dashboard not found", "text/plain")
        shown = boards[uid].content["time"]
        try:
            span = asking.span_of(query.get("from", shown["from"]), query.get("to", shown["to"]))
            width = int(query.get("width", WIDTH))
        except ValueError as problem:
            return Reply(400, str(problem).encode(), "text/plain")
        text = page(boards[uid], provisioning.sources(self.settings.provisioning), span, width)
        return Reply(200, text.encode(), "text/html; charset=UTF-8")


def serve(settings: Settings) -> None:
    """Serve until the process is ended. Raises ProvisioningError or OSError before that."""
    grafana = Grafana(settings)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            reply = grafana.answer(self.command, self.path, self.headers.get("Authorization", ""), body)
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.kind)
            self.send_header("Content-Length", str(len(reply.content)))
            if reply.location:
                self.send_header("Location", reply.location)
            self.end_headers()
            self.wfile.write(reply.content)

        do_GET = do_POST = do_PUT = do_DELETE = answer

        def log_message(self, format: str, *args: Any) -> None:
            """The real one logs no request either."""

    server = ThreadingHTTPServer((settings.address, settings.port), Handler)
    server.daemon_threads = True
    print(
        f'logger=http.server level=info msg="HTTP Server Listen" address={settings.address}:{settings.port}',
        file=sys.stderr,
    )
    Path(settings.data, "log").mkdir(exist_ok=True)
    server.serve_forever()
