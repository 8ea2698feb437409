"""Which routes there are, and what Ollama answers for those there are not (ollama-api 1.1 and 1.2). Pure decisions."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

# Path -> methods in the order in which Ollama's Allow header has them -> action.
_TABLE: dict[str, dict[str, str]] = {
    "/": {"HEAD": "root", "GET": "root"},
    "/health": {"HEAD": "health", "GET": "health"},
    "/ready": {"HEAD": "ready", "GET": "ready"},
    "/metrics": {"GET": "metrics"},
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
    "/api/me": {"POST": "me"},
    "/api/signout": {"POST": "sign_out"},
    "/api/experimental/web_search": {"POST": "web_search"},
    "/api/experimental/web_fetch": {"POST": "web_fetch"},
    "/api/experimental/model-recommendations": {"GET": "recommendations"},
    "/v1/chat/completions": {"POST": "v1_chat"},
    "/v1/completions": {"POST": "v1_completions"},
    "/v1/embeddings": {"POST": "v1_embeddings"},
    "/v1/responses": {"POST": "v1_responses"},
    "/v1/messages": {"POST": "v1_messages"},
    "/v1/audio/transcriptions": {"POST": "v1_transcriptions"},
    "/v1/systemone": {"POST": "v1_systemone"},
    "/v1/models": {"GET": "v1_models"},
}

# The same for paths whose last segment is a parameter.
_WITH_PARAMETER: dict[str, dict[str, str]] = {
    "/api/blobs/": {"HEAD": "blob", "POST": "upload"},
    "/api/user/keys/": {"DELETE": "sign_out"},
    "/v1/models/": {"GET": "v1_model"},
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
    "v1_chat": ("model",),
    "v1_completions": ("model",),
    "v1_embeddings": ("model",),
    "v1_responses": ("model",),
    "v1_messages": ("model",),
    "v1_systemone": ("model",),
}


@dataclass(frozen=True)
class Found:
    """The route exists."""

    action: str
    route: str = ""
    parameter: str = ""


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
    methods, parameter = _methods_of(path)
    if not methods:
        without_slash = path.rstrip("/")
        if path != without_slash and method in _methods_of(without_slash)[0]:
            return _redirect(301 if method == "GET" else 307, method, without_slash)
        return Fallback(404, b"text/plain", b"404 page not found")
    action = methods.get(method)
    if action is None:
        return Fallback(405, b"text/plain", b"405 method not allowed", ((b"Allow", ", ".join(methods).encode()),))
    return Found(action, path.removesuffix(parameter) if parameter else path, parameter)


def _methods_of(path: str) -> tuple[dict[str, str], str]:
    """The methods of a path, and the value of its parameter."""
    if path in _TABLE:
        return _TABLE[path], ""
    parent, _, last = path.rpartition("/")
    methods = _WITH_PARAMETER.get(f"{parent}/")
    return (methods, last) if methods and last else ({}, "")


def allowed_methods(path: str) -> str:
    """The methods of a path, for the Allow header of a preflight; "" for an unknown one."""
    return ", ".join(_methods_of(path)[0])


def _clean(path: str) -> str:
    cleaned = posixpath.normpath("/" + path.lstrip("/"))
    return cleaned + "/" if path.endswith("/") and cleaned != "/" else cleaned


def _redirect(status: int, method: str, path: str) -> Fallback:
    # The path came unescaped: a line break in it would begin a header of the client's own making (found by fuzzing).
    location = quote(path, safe="/:@!$&'()*+,;=~-._")
    headers = ((b"Location", location.encode()),)
    if method != "GET":
        return Fallback(status, b"", b"", headers)
    text = "Moved Permanently" if status == 301 else "Temporary Redirect"
    return Fallback(
        status, b"text/html; charset=utf-8", f'<a href="{escape(location)}">{text}</a>.\n\n'.encode(), headers
    )
