"""Which routes there are, and what Ollama answers for those there are not (ollama-api 1.1 and 1.2). Pure decisions."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from html import escape

# Path -> methods in the order in which Ollama's Allow header has them -> action.
_TABLE: dict[str, dict[str, str]] = {
    "/": {"HEAD": "root", "GET": "root"},
    "/health": {"HEAD": "health", "GET": "health"},
    "/ready": {"HEAD": "ready", "GET": "ready"},
    "/api/version": {"HEAD": "version", "GET": "version"},
    "/api/status": {"GET": "status"},
    "/api/tags": {"HEAD": "tags", "GET": "tags"},
    "/api/ps": {"GET": "ps"},
    "/api/show": {"POST": "show"},
    "/api/generate": {"POST": "generate"},
    "/api/chat": {"POST": "chat"},
    "/api/embed": {"POST": "embed"},
    "/api/embeddings": {"POST": "embeddings"},
    "/api/pull": {"POST": "pull"},
    "/api/push": {"POST": "push"},
    "/api/create": {"POST": "create"},
    "/api/copy": {"POST": "copy"},
    "/api/delete": {"DELETE": "delete"},
    "/v1/chat/completions": {"POST": "v1"},
    "/v1/completions": {"POST": "v1"},
    "/v1/embeddings": {"POST": "v1"},
    "/v1/responses": {"POST": "v1"},
    "/v1/messages": {"POST": "v1"},
}

# Actions whose body names a model, and the fields that may name it.
MODEL_FIELDS: dict[str, tuple[str, ...]] = {
    "show": ("model", "name"),
    "generate": ("model",),
    "chat": ("model",),
    "embed": ("model",),
    "embeddings": ("model",),
    "pull": ("model", "name"),
    "push": ("model", "name"),
    "create": ("model", "name"),
    "copy": ("source",),
    "delete": ("model", "name"),
    "v1": ("model",),
}


@dataclass(frozen=True)
class Found:
    """The route exists."""

    action: str


@dataclass(frozen=True)
class Fallback:
    """The route does not exist: status, Content-Type, body and headers of the answer."""

    status: int
    content_type: bytes
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


def find(method: str, path: str) -> Found | Fallback:
    """Decide what a request is."""
    if "//" in path or "/./" in path or "/../" in path or path.endswith(("/.", "/..")):
        return _redirect(307, method, _clean(path))
    methods = _TABLE.get(path)
    if methods is None:
        without_slash = path.rstrip("/")
        if path != without_slash and method in _TABLE.get(without_slash, ()):
            return _redirect(301 if method == "GET" else 307, method, without_slash)
        return Fallback(404, b"text/plain", b"404 page not found")
    action = methods.get(method)
    if action is None:
        return Fallback(405, b"text/plain", b"405 method not allowed", ((b"Allow", ", ".join(methods).encode()),))
    return Found(action)


def allowed_methods(path: str) -> str:
    """The methods of a path, for the Allow header of a preflight; "" for an unknown one."""
    return ", ".join(_TABLE.get(path, ()))


def _clean(path: str) -> str:
    cleaned = posixpath.normpath("/" + path.lstrip("/"))
    return cleaned + "/" if path.endswith("/") and cleaned != "/" else cleaned


def _redirect(status: int, method: str, location: str) -> Fallback:
    headers = ((b"Location", location.encode()),)
    if method != "GET":
        return Fallback(status, b"", b"", headers)
    text = "Moved Permanently" if status == 301 else "Temporary Redirect"
    return Fallback(
        status, b"text/html; charset=utf-8", f'<a href="{escape(location)}">{text}</a>.\n\n'.encode(), headers
    )
